"""A study's questions as claims beside those of benchmarks: one family, one correction, one forest.

A scale's figures are raters' own means; a choice's are shares of votes, ties as half, so that their difference is twice
the distance from one half. The question a preregistration named is the primary claim where a claims file names none.
"""

from collections.abc import Iterator

import numpy as np

from analysis.estimates import Estimate, Interval
from analysis.paired import Comparison
from analysis.preference import Preference
from analysis.report.claims import Pending
from analysis.report.measure import Measured
from analysis.report.people import People
from analysis.report.plan import HUMAN, ClaimsPlan, Role
from analysis.report.questions import MARGIN, SHARE_MARGIN, Choice, Scale
from analysis.tables import Paired
from protocols.records import MetricInfo

NOTHING = np.zeros(0)


def scale_card(question: str) -> MetricInfo:
    return MetricInfo(
        f"{HUMAN}{question}", "1", f"Rated {question.replace('_', ' ')}", "points", "continuous", "higher", MARGIN,
        f"Raters' mean answers to {question!r}.", "No value without raters who rated both arms.",
    )  # fmt: skip


def choice_card(question: str) -> MetricInfo:
    title = "Preference" if question == "preference" else f"Preference ({question.replace('_', ' ')})"
    return MetricInfo(
        f"{HUMAN}{question}", "1", title, "share", "binary", "higher", 2 * SHARE_MARGIN,
        f"Share of votes in {question!r}, ties as half.", "No value without votes between the two arms.",
    )  # fmt: skip


def cards(people: People | None) -> dict[str, MetricInfo]:
    """Every question that can be claimed."""
    if people is None:
        return {}
    made = [*(scale_card(s.question) for s in people.scales), *(choice_card(c.question) for c in people.choices)]
    return {card.name: card for card in made}


def pending(people: People | None, plan: ClaimsPlan) -> Iterator[Pending]:
    """A comparison for every question and arm."""
    if people is None:
        return
    primary = people.promise.primary if people.promise is not None else None
    for scale in people.scales:
        card = scale_card(scale.question)
        yield Pending(scale.b, scale.a, _scale(scale, card), _role(card, plan, primary))
    for choice in people.choices:
        card = choice_card(choice.question)
        yield Pending(choice.b, choice.a, _choice(choice, card), _role(card, plan, primary))


def _role(card: MetricInfo, plan: ClaimsPlan, primary: str | None) -> Role:
    named = plan.role(card)
    if plan.primary is None and primary is not None and card.name == HUMAN + primary and named != "harm":
        return "primary"
    return named


def _scale(scale: Scale, card: MetricInfo) -> Measured:
    counts = [
        {str(level): n for level, n in zip(scale.levels, of, strict=True) if n}
        for of in (scale.counts_a, scale.counts_b)
    ]
    return _measured(card, scale.result.by_rater, *counts)


def _choice(choice: Choice, card: MetricInfo) -> Measured:
    r = choice.result
    counts = [
        {name: n for name, n in (("chosen", won), ("tie", r.ties), ("not chosen", lost)) if n}
        for won, lost in ((r.losses, r.wins), (r.wins, r.losses))
    ]
    return _measured(card, _votes(r), *counts)


def _measured(card: MetricInfo, found: Comparison | None, a: dict[str, int], b: dict[str, int]) -> Measured:
    empty = Paired(NOTHING, NOTHING, (), (), 0, 0, 0, a, b)  # the figures are the study's own
    return Measured(card, empty, found, (), None, None)


def _votes(made: Preference) -> Comparison:
    """Share of votes for B against that for A."""
    b = made.half_ties
    a = _moved(b, -1, 1.0)
    difference = _moved(b, 2, -1.0)
    inside = None if difference.low is None or difference.high is None else Interval(difference.low, difference.high)
    return Comparison(
        a, b, difference, made.p, "sign flips of raters' sums", made.wins, made.losses,
        _twice(made.standard_error), _twice(made.detectable), resampled=inside,
    )  # fmt: skip


def _twice(x: float | None) -> float | None:
    return None if x is None else 2 * x


def _moved(e: Estimate, scale: int, shift: float) -> Estimate:
    """scale x + shift with its interval."""
    ends = [None if x is None else scale * x + shift for x in (e.low, e.high)]
    low, high = ends if scale > 0 else ends[::-1]
    return Estimate(scale * e.value + shift, low, high, e.n, e.n_clusters, e.why)
