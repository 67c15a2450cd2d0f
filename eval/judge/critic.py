"""A language model as a Critic: seven axes, one per question, one verdict per turn of the agent.

The axes and the shape of the answer are those of Wu et al. (2025, arXiv 2506.21463, section 3); the prompts are our
own. Turns are the agent's lines, numbered from 1 in the order they begin. A judge's -1 becomes None: it does not apply.
Language models are weak on times, so what it says of interruption and silence is best measured as well.
"""

from collections.abc import Iterable, Sequence

import msgspec

from eval.judge.ask import Question
from eval.judge.desk import Desk
from eval.judge.prompts import Prompt, load_prompt
from eval.judge.verdicts import Unreadable, read_json
from protocols.contracts import Line, Verdict
from protocols.errors import unknown_name

AXES = ("helpfulness", "safety", "factuality", "instruction", "tone", "interruption", "unresponsiveness")


class _Said(msgspec.Struct):
    """One object of a judge's list."""

    turn: int
    evaluation: str
    score: int
    problematic: bool


class JudgeCritic:
    """The Critic contract over a judge."""

    def __init__(self, desk: Desk, prompt: Prompt | None = None) -> None:
        self._desk = desk
        self._prompt = prompt or load_prompt("critic")
        self._by_axis = {axis: self._prompt.for_axis(axis) for axis in self._prompt.axes}
        self.axes = tuple(self._prompt.axes)
        self.source = f"{desk.judge.source}:{self._prompt.id}"

    def judge(self, talk: Sequence[Line], axis: str) -> list[Verdict]:
        n = len(turns_of(talk))
        if axis not in self._by_axis:
            raise unknown_name("axis", axis, self.axes)
        if not n:
            return []  # it needs no judge
        values = {"talk": transcript(talk), "turns": str(n)}
        return self._desk.answer(Question(self._by_axis[axis], values, lambda reply: _read_verdicts(reply, axis, n)))


def transcript(talk: Iterable[Line]) -> str:
    """A talk as a judge reads it: [start:end] Speaker: text, in order of start, the agent's turns numbered."""
    lines, turn = [], 0
    for line in sorted(talk, key=lambda line: (line.start, line.end)):
        turn += line.channel == "agent"
        speaker = f"Agent (turn {turn})" if line.channel == "agent" else "User"
        lines.append(f"[{line.start:.2f}:{line.end:.2f}] {speaker}: {' '.join(line.text.split())}")
    return "\n".join(lines)


def turns_of(talk: Iterable[Line]) -> list[Line]:
    """The agent's lines in the order of their numbers."""
    return sorted((line for line in talk if line.channel == "agent"), key=lambda line: (line.start, line.end))


def _read_verdicts(reply: str, axis: str, n: int) -> list[Verdict]:
    said = read_json(reply, list[_Said])
    if [item.turn for item in said] != list(range(1, n + 1)):
        raise Unreadable(f"the list must hold turns 1 to {n}, each once and in order")
    if any(not -1 <= item.score <= 4 for item in said):
        raise Unreadable("every score must be an integer from -1 to 4")
    return [
        Verdict(item.turn, axis, None if item.score == -1 else item.score, item.problematic, item.evaluation)
        for item in said
    ]
