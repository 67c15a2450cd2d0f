"""The slot for a judge: somebody who decides the answers that the rules leave open.

Rules first: an answer the headline scorer finds right stays right, a talk without an answer stays wrong, and neither
is ever asked about. The judge gets the question, the accepted answers and the reply; where it gives no verdict the
talk is unscored, out of numerator and denominator, and counted. Who judges is written into the scorer's version. No
judge is made here.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from eval.metrics.base import Heard, Metric, Reading, evidence
from eval.metrics.channels import TITLES, ContentChannel, transcript_of
from eval.metrics.qa import QA_TEXT, by_alias, read_answer
from eval.metrics.qa_window import answer_of


class AnswerVerdict(NamedTuple):
    """Whether an answer is right; None: the judge gave no verdict, for the reason in `why`."""

    right: bool | None
    why: str


class OpenAnswer(NamedTuple):
    """What a judge is asked about: a reply in which the rules affirm no accepted answer."""

    question: str
    accepted: tuple[str, ...]
    answer: str


class AnswerJudge(Protocol):
    """Decides whether a reply gives one of the accepted answers."""

    @property
    def source(self) -> str: ...

    def __call__(self, question: str, accepted: Sequence[str], answer: str) -> AnswerVerdict: ...


def judged_name(way: ContentChannel) -> str:
    """The metric of rules and a judge together."""
    return f"qa.{way}.judged"


def open_answer(heard: Heard, way: ContentChannel) -> OpenAnswer | None:
    """What the rules leave open in a talk; None where they decide."""
    sample, transcript = heard.sample, transcript_of(heard, way)
    if not sample.answers or transcript is None:
        return None
    answer = answer_of(heard, transcript)
    if answer.silence is not None or by_alias(answer.text, sample.answers, sample.text).right:
        return None
    return OpenAnswer(sample.text, sample.answers, answer.text)


def judged(judge: AnswerJudge, way: ContentChannel) -> Metric:
    """A metric by rules, then by this judge."""

    def read(heard: Heard) -> list[Reading]:
        sample, transcript = heard.sample, transcript_of(heard, way)
        if not sample.answers:
            return []
        by_rule = read_answer(heard, way, by_alias, sample.answers)
        asked = open_answer(heard, way)
        if asked is None or transcript is None:
            return [by_rule]
        verdict = judge(*asked)
        span = answer_of(heard, transcript).span
        shown = (*by_rule.evidence, evidence("verdict", "agent", span, judge.source, verdict.why))
        if verdict.right is None:
            return [Reading(None, "unscored", verdict.why or "the judge gave no verdict", None, shown)]
        return [Reading(float(verdict.right), "judged_right" if verdict.right else "judged_wrong", None, None, shown)]

    info = msgspec.structs.replace(
        QA_TEXT.info,
        name=judged_name(way),
        version=f"1+{judge.source}",
        title=f"Right answers, {TITLES[way]} (rules, then judge)",
        definition=f"qa.{way}, and where that is 0 for an answer, the verdict of {judge.source}.",
    )
    return Metric(info, read, QA_TEXT.applies)
