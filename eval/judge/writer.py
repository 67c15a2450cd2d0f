"""A language model as the writer of better replies: in the place of a faulty one, of none, or of one that broke off.

Every reply of the model is JSON of one shape; what is not is asked for once more and then has no use. What the model
copies of the talk is not believed: `original` is what was said, and a completed reply begins with what was said.
"""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from eval.judge.ask import Question
from eval.judge.critic import transcript, turns_of
from eval.judge.desk import Desk
from eval.judge.prompts import load_prompt, quoted
from eval.judge.verdicts import Unreadable, read_json
from protocols.contracts import Line, Verdict
from protocols.errors import InputError

T = TypeVar("T")


class Rewrite(msgspec.Struct, frozen=True):
    """A better reply, as a judge proposes it."""

    original: str
    improved: str
    explanation: str
    how_much_better: int  # 0-3


class _Answer(msgspec.Struct):
    reply: str
    explanation: str


class _Rest(msgspec.Struct):
    whole: bool
    rest: str


class JudgeWriter:
    """The Rewriter and Answerer contracts over a judge. Raises Unjudged where nothing usable could be had."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rewrite, self._answer, self._finish = (load_prompt(name) for name in ("rewrite", "reply", "finish"))
        prompts = ",".join(prompt.id for prompt in (self._rewrite, self._answer, self._finish))
        self.source = f"{desk.judge.source}:{prompts}"

    def rewrite(self, talk: Sequence[Line], fault: Verdict) -> Rewrite:
        """A better reply in the place of a faulty turn."""
        turns = turns_of(talk)
        if not 1 <= fault.turn <= len(turns):
            raise InputError(f"there is no turn {fault.turn} in a talk with {len(turns)} agent turns")
        original = turns[fault.turn - 1].text
        values = {
            "talk": transcript(talk),
            "turn": str(fault.turn),
            "axis": fault.axis,
            "evaluation": quoted(fault.evaluation),
            "original": quoted(original),
        }
        given = self._desk.answer(Question(self._rewrite, values, _read_rewrite))
        return msgspec.structs.replace(given, original=original)

    def answer(self, talk: Sequence[Line]) -> str | None:
        """The reply that never came; None where the user said nothing."""
        if not any(line.channel == "user" for line in talk):
            return None
        return self._desk.answer(Question(self._answer, {"talk": transcript(talk)}, _read_answer))

    def complete(self, said: str) -> str | None:
        """A reply with the rest it did not get to; None where it is whole."""
        if not said.strip():
            return None
        rest = self._desk.answer(Question(self._finish, {"said": quoted(said)}, _read_rest))
        return f"{said.rstrip()} {rest}" if rest else None


def _read_rewrite(reply: str) -> Rewrite:
    made = read_json(reply, Rewrite)
    if not 0 <= made.how_much_better <= 3:
        raise Unreadable("how_much_better must be 0, 1, 2 or 3")
    return msgspec.structs.replace(made, improved=_spoken(made.improved, "improved"))


def _read_answer(reply: str) -> str:
    return _spoken(read_json(reply, _Answer).reply, "reply")


def _read_rest(reply: str) -> str:
    """The rest of a reply; empty if it was whole."""
    said = read_json(reply, _Rest)
    return "" if said.whole else _spoken(said.rest, "rest")


def _spoken(text: str, key: str) -> str:
    """Text that a voice can say; Unreadable for what nobody can, such as nothing, or a stage direction."""
    if not any(letter.isalnum() for letter in text):
        raise Unreadable(f'"{key}" must not be empty')
    if any(letter in text for letter in "[](){}*#<>"):
        raise Unreadable(f'"{key}" must hold only words that are spoken: no brackets and no signs of layout')
    return " ".join(text.split())
