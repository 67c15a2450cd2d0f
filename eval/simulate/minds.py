"""What a simulated user says next: a script, or a language model that plays a person with a goal.

A mind is a pure function of the talk so far, so that a thought can be dropped and had again when the agent goes on
speaking after all. What it knows of the agent is text, heard by whatever ears it was given.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from eval.judge.ask import Judge, Question
from eval.judge.prompts import Prompt, quoted
from eval.judge.verdicts import Unreadable, read_json
from eval.simulate.scenario import Scenario
from protocols.errors import InputError, SystemUnreachable, Unjudged
from protocols.records import Channel

LONGEST = 40  # words in one turn of a language model


class Said(NamedTuple):
    """A line of the talk as the user knows it."""

    channel: Channel
    text: str


class Move(NamedTuple):
    """What the user says next, and which of the planned turns it is."""

    turn: int
    text: str


class Mind(Protocol):
    def next(self, turn: int, talk: Sequence[Said]) -> Move | None:
        """The first move from planned turn `turn` on; None if the user has nothing more to say.

        Raises Unjudged where no words could be had, which ends the talk, and SystemUnreachable, which ends the run.
        """
        ...


class ScriptMind:
    """The turns of a scenario in order; those whose words were not heard are said otherwise, or left out."""

    def __init__(self, scenario: Scenario) -> None:
        self._turns = scenario.turns

    def next(self, turn: int, talk: Sequence[Said]) -> Move | None:
        reply = talk[-1].text if talk and talk[-1].channel == "agent" else ""
        for number in range(turn, len(self._turns)):
            step = self._turns[number]
            text = step.say if not step.heard or any(_holds(reply, words) for words in step.heard) else step.otherwise
            if text is not None:
                return Move(number, text)
        return None


def _holds(text: str, words: str) -> bool:
    """Whether `words` stand in the text one after the other; case and punctuation do not matter."""
    plain, wanted = (" ".join(re.findall(r"[^\W_]+", given.casefold())) for given in (text, words))
    return f" {wanted} " in f" {plain} "


class _Reply(msgspec.Struct, forbid_unknown_fields=True):
    say: str
    done: bool


class ModelMind:
    """A language model behind any OpenAI-compatible endpoint. `name`: the talk's, so that equal talks may differ."""

    def __init__(self, judge: Judge, prompt: Prompt, scenario: Scenario, name: str, most: int) -> None:
        self._judge, self._prompt, self._scenario, self._name, self._most = judge, prompt, scenario, name, most

    def next(self, turn: int, talk: Sequence[Said]) -> Move | None:
        if turn >= self._most:
            return None
        s = self._scenario
        goal = s.goal or " Then: ".join(step.say.replace("|", "") for step in s.turns)
        lines = "\n".join(f"{'You' if line.channel == 'user' else 'Assistant'}: {quoted(line.text)}" for line in talk)
        values = {
            "goal": quoted(goal),
            "persona": quoted(s.persona or "nobody in particular"),
            "details": "\n".join(f"- {quoted(d)}" for d in s.details) or "(none)",
            "talk": lines or "(nothing yet)",
            "turn": str(turn + 1),
            "most": str(self._most),
            "name": self._name,
        }
        try:
            (reply,) = self._judge.ask([Question(self._prompt, values, _read)])
        except InputError as error:  # a refused key or an unknown model: no other talk would fare better
            raise SystemUnreachable(str(error).replace("the judge", "the simulated user's model")) from error
        if isinstance(reply, Unjudged):
            raise Unjudged(f"the simulated user has no words: {reply}")
        return None if reply.done and not reply.say.strip() else Move(turn, " ".join(reply.say.split()))


def _read(text: str) -> _Reply:
    reply = read_json(text, _Reply)
    said = reply.say.strip()
    if not any(c.isalnum() for c in said) and not reply.done:
        raise Unreadable('"say" must hold words that can be spoken, unless "done" is true')
    if len(said.split()) > LONGEST:
        raise Unreadable(f'"say" has {len(said.split())} words; people say at most {LONGEST} at once')
    if re.search(r"[*#_<>\[\]{}|]", said):
        raise Unreadable('"say" is spoken aloud: no markup, brackets or bars')
    return reply
