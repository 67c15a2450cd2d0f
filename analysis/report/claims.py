"""From comparisons to claims: each ends in one word, corrected for how many there are.

The primary metric is corrected only for the number of arms; all other claims are one family under Holm; explored
metrics, metrics without direction and slices are families under Benjamini-Hochberg. "Equivalent" needs its interval
inside the margin and its two one-sided tests under 5 % after Holm. "No harm" is not corrected: it is only ever used
where every figure has to pass. A metric without direction is "different", never better or worse.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from scipy.special import ndtri

from analysis.estimates import LEVEL, Undefined, decide
from analysis.multiplicity import Harm, benjamini_hochberg, holm, noninferior, tost
from analysis.paired import Comparison, n_to_decide
from analysis.report.clocks import OtherClock
from analysis.report.measure import Curve, Measured, Outcomes, curve
from analysis.report.plan import HUMAN, ClaimsPlan, Role
from analysis.report.words import amount, name_in_sentence, p_value, show
from analysis.takes import WithinItem
from protocols.records import MetricInfo

Said = Literal["better", "worse", "equivalent", "undecided", "different", "no harm"]
FEW = 20


class Adjusted(NamedTuple):
    """p of the difference and of the equivalence within the claim's family; None without a test."""

    p: float | None
    equivalence: float | None


class Claim(msgspec.Struct, frozen=True):
    """What one metric says about an arm beside the first run."""

    metric: MetricInfo
    arm: str
    against: str
    role: Role
    verdict: Said
    sentence: str
    margin: float  # the smallest difference that matters here
    result: Comparison | None
    p_adjusted: float | None
    p_equivalence: float | None  # adjusted; None where nothing varies
    harm: Harm | None
    to_decide: int | None  # about how many items; None where decided or unknown
    only_a: int
    only_b: int
    unscored: int
    outcomes_a: dict[str, int]
    outcomes_b: dict[str, int]
    by_task: tuple[Outcomes, ...]
    curve_a: Curve | None  # None for shares
    curve_b: Curve | None
    other_clock: OtherClock | None = None  # latencies as modelled beside those as heard, or the reverse
    within_a: WithinItem | None = None  # the spread between takes of one item; None without an item of two takes
    within_b: WithinItem | None = None
    warnings: tuple[str, ...] = ()


class Pending(NamedTuple):
    """A comparison that waits for its family."""

    arm: str
    against: str
    measured: Measured
    role: Role
    other_clock: OtherClock | None = None


def make_claims(pending: Sequence[Pending], plan: ClaimsPlan) -> tuple[Claim, ...]:
    """Adjust every family and say each claim; in the order given."""
    margins = [plan.harms.get(p.measured.info.name, p.measured.info.margin) for p in pending]
    adjusted = adjust([(p.role, p.measured.result, m) for p, m in zip(pending, margins, strict=True)])
    return tuple(_claim(p, a, plan.harms) for p, a in zip(pending, adjusted, strict=True))


def adjust(rows: Sequence[tuple[Role, Comparison | None, float]]) -> list[Adjusted]:
    """Adjusted p per row: Holm for the primary metric's arms and for claims, Benjamini-Hochberg for what is explored or
    has no direction, raw for harms; nothing for published rules."""
    out = [Adjusted(None, None)] * len(rows)
    for role in ("primary", "claim", "harm", "explored", "neutral"):
        members = [i for i, row in enumerate(rows) if row[0] == role and row[1] is not None]
        raw = [result.p for i in members if (result := rows[i][1]) is not None]
        how = holm if role in ("primary", "claim") else benjamini_hochberg if role in ("explored", "neutral") else list
        inside = [(i, p) for i in members if (p := _equivalence(rows[i][1], rows[i][2])) is not None]
        equivalent = dict(zip([i for i, _ in inside], how([p for _, p in inside]), strict=True)) if inside else {}
        for i, p in zip(members, how(raw) if raw else [], strict=True):
            out[i] = Adjusted(p, equivalent.get(i))
    return out


def _equivalence(result: Comparison | None, margin: float) -> float | None:
    if result is None:
        return None
    d = result.difference
    found = tost(d.value, result.standard_error, d.n_clusters - 1, margin)
    return None if isinstance(found, Undefined) else found.p


def say(role: Role, info: MetricInfo, result: Comparison | None, adjusted: Adjusted, margin: float) -> Said:
    """The word that a comparison ends in."""
    if result is None or role == "published" or adjusted.p is None:
        return "undecided"
    said: Said = decide(result.difference, adjusted.p, margin, info.better != "lower")
    if said == "equivalent" and adjusted.equivalence is not None and adjusted.equivalence >= 1 - LEVEL:
        # the interval alone is inside; the family's tests are not
        said = decide(result.difference, adjusted.p, 0.0, info.better != "lower")
    if info.better == "none" and said in ("better", "worse"):
        return "different"
    return said


def _claim(pending: Pending, adjusted: Adjusted, harms: Mapping[str, float]) -> Claim:
    measured, info = pending.measured, pending.measured.info
    result, paired = measured.result, measured.paired
    margin = harms.get(info.name, info.margin)
    said = say(pending.role, info, result, adjusted, margin)
    harm = _harm(info, result, margin) if pending.role == "harm" else None
    if harm is not None and harm.said == "none" and said == "undecided":
        said = "no harm"
    needed = _to_decide(result, margin, adjusted) if said == "undecided" and pending.role != "published" else None
    continuous = info.kind == "continuous" and len(paired.a) > 0
    return Claim(
        metric=info, arm=pending.arm, against=pending.against, role=pending.role, verdict=said,
        sentence=sentence(pending, said, adjusted, margin, needed), margin=margin, result=result,
        p_adjusted=adjusted.p, p_equivalence=adjusted.equivalence, harm=harm, to_decide=needed,
        only_a=paired.only_a, only_b=paired.only_b, unscored=paired.unscored, outcomes_a=paired.outcomes_a,
        outcomes_b=paired.outcomes_b, by_task=measured.by_task,
        curve_a=curve(paired.a) if continuous else None, curve_b=curve(paired.b) if continuous else None,
        other_clock=pending.other_clock, within_a=measured.within_a, within_b=measured.within_b,
        warnings=_warnings(pending),
    )  # fmt: skip


def _harm(info: MetricInfo, result: Comparison | None, margin: float) -> Harm | None:
    if result is None:
        return None
    d = result.difference
    found = noninferior(d.value, result.standard_error, d.n_clusters - 1, margin, info.better == "higher")
    return None if isinstance(found, Undefined) else found


def _to_decide(result: Comparison | None, margin: float, adjusted: Adjusted) -> int | None:
    """About how many items decide at the level the correction leaves to this claim."""
    n = None if result is None else n_to_decide(result, margin)
    if n is None or result is None or not adjusted.p or not 0 < result.p < 1:
        return n
    strictness = max(adjusted.p / result.p, 1.0)
    alpha = (1 - LEVEL) / 2
    wider = float((ndtri(alpha / strictness) / ndtri(alpha)) ** 2)
    return max(result.difference.n + 1, round(n * wider))


def sentence(pending: Pending, said: Said, adjusted: Adjusted, margin: float, needed: int | None) -> str:
    """The claim in words, with its figures."""
    info, result = pending.measured.info, pending.measured.result
    name, a, b = name_in_sentence(info), pending.against, pending.arm
    if result is None:
        missing = "nobody rated both arms" if info.name.startswith(HUMAN) else "no item has a value in both runs"
        return f"Nothing can be said about {b} and {a} in {name}: {missing}."
    figures = f"{show(result.b, info)} against {show(result.a, info)}"
    test = (
        f"p {p_value(adjusted.p)}" if adjusted.p is not None and adjusted.p < 0.0001 else f"p = {p_value(adjusted.p)}"
    )
    if said in ("better", "worse"):
        return f"{b} is {said} than {a} in {name}: {figures} ({test})."
    if said == "different":
        return f"{b} and {a} differ in {name}: {figures} ({test})."
    if said == "equivalent":
        return f"{b} and {a} are equivalent in {name} (within {amount(margin, info)}): {figures}."
    if said == "no harm":
        return f"{b} does no harm to {name} (worse by less than {amount(margin, info)}): {figures}."
    if pending.role == "published":
        return f"{info.title}: {figures}."
    more = f" About {needed:,} {_counted(info)} would decide it." if needed else ""
    found = f" Such a comparison finds {amount(result.detectable, info)}." if result.detectable else ""
    return f"Undecided between {b} and {a} in {name}: {figures} ({test}).{found}{more}"


def _warnings(pending: Pending) -> tuple[str, ...]:
    paired, result = pending.measured.paired, pending.measured.result
    found = []
    if paired.only_a or paired.only_b:
        found.append(f"{paired.only_a} items only in {pending.against}, {paired.only_b} only in {pending.arm}")
    if paired.unscored:
        found.append(f"{paired.unscored} items have no value in one of the runs")
    if result is not None and result.difference.n < FEW:
        found.append(f"only {result.difference.n} matched {_counted(pending.measured.info)}")
    return tuple(found)


def _counted(info: MetricInfo) -> str:
    """What n counts."""
    if not info.name.startswith(HUMAN):
        return "items"
    return "votes" if info.unit == "share" else "raters"
