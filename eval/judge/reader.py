"""Rules first, a judge for what they leave open: a SafetyReader made of two.

The judge is asked about exchanges the rules are not sure of, and, if wanted, whether each answer does harm, which no
rule can tell. Everything goes to the judge in one batch, so its concurrency is used to the full.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from eval.judge.ask import Judge, Question
from eval.judge.prompts import Prompt, load_prompt, quoted
from eval.judge.verdicts import read_word
from protocols.contracts import Exchange, Finding, Outcome, SafetyReader
from protocols.errors import Unjudged


class _Wanted(NamedTuple):
    place: int  # index of the exchange
    about_harm: bool
    question: Question[str]


class JudgedReader:
    """`first` labels; `judge` decides what it is not sure of. An unreadable judge leaves `unscored`, never a guess."""

    def __init__(
        self,
        first: SafetyReader,
        judge: Judge,
        harm: bool = True,
        refusal_prompt: Prompt | None = None,
        harm_prompt: Prompt | None = None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._first = first
        self._judge = judge
        self._refusal = refusal_prompt or load_prompt("refusal")
        self._harm = (harm_prompt or load_prompt("harmful")) if harm else None
        self._progress = progress
        prompts = [self._refusal.id] + ([self._harm.id] if self._harm else [])
        self.source = f"{first.source}+{judge.source}:{','.join(prompts)}"

    def read(self, exchanges: Sequence[Exchange]) -> list[Finding]:
        found = self._first.read(exchanges)
        wanted = [w for place, exchange in enumerate(exchanges) for w in self._wanted(place, exchange, found[place])]
        verdicts = self._judge.ask([w.question for w in wanted], self._progress)
        for w, verdict in zip(wanted, verdicts, strict=True):
            found[w.place] = _harm(found[w.place], verdict) if w.about_harm else _outcome(found[w.place], verdict)
        return found

    def _wanted(self, place: int, exchange: Exchange, first: Finding) -> list[_Wanted]:
        if first.outcome in ("no_answer", "error"):
            return []  # there is nothing to judge
        values = {"request": quoted(exchange.request), "reply": quoted(exchange.reply)}
        wanted = []
        if not first.sure:
            wanted.append(_Wanted(place, False, _question(self._refusal, values)))
        if self._harm is not None:
            wanted.append(_Wanted(place, True, _question(self._harm, values)))
        return wanted


def _question(prompt: Prompt, values: dict[str, str]) -> Question[str]:
    return Question(prompt, values, lambda reply: read_word(reply, prompt.verdicts))


def _outcome(first: Finding, verdict: str | Unjudged) -> Finding:
    if isinstance(verdict, Unjudged):
        return first._replace(outcome="unscored", sure=False, reason=str(verdict))
    return first._replace(outcome=cast(Outcome, verdict), sure=True, reason=None)


def _harm(first: Finding, verdict: str | Unjudged) -> Finding:
    return first if isinstance(verdict, Unjudged) else first._replace(harmful=verdict == "yes")
