"""One question of a study, one arm against another: ratings on a scale, or a choice between two talks.

Raters' own mean differences decide; the mixed model stands beside them, and so does the sentence where the two
disagree.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.agreement import Icc, Judgements, icc, krippendorff
from analysis.estimates import Estimate, Undefined
from analysis.ordinal import Ratings
from analysis.paired import mean_estimate
from analysis.preference import Preference, Votes, prefer
from analysis.ratings import RatingsResult, analyse_ratings, by_rater
from analysis.sensitivity import Situation, Variant, situations, variants
from protocols.errors import InputError
from protocols.records import Rating

MARGIN = 0.25  # rating points, of the smallest difference that matters
SHARE_MARGIN = 0.05
LINES = 60  # raters drawn one by one
TIES = ("tie", "same", "0")


class RatedTalk(NamedTuple):
    arm: str
    scenario: str = ""
    duration: float | None = None  # s, as planned


class Line(msgspec.Struct, frozen=True):
    """One rater's means."""

    rater: str
    a: float
    b: float


class Scale(msgspec.Struct, frozen=True):
    """One question answered by numbers, one arm against another."""

    question: str
    a: str
    b: str
    levels: tuple[int, ...]
    counts_a: tuple[int, ...]
    counts_b: tuple[int, ...]
    result: RatingsResult
    raters: tuple[Line, ...]  # the first LINES of them
    n_raters: int
    agreement: Estimate | Undefined  # Krippendorff's alpha, ordinal
    correlation: Icc | Undefined
    mean_a: Estimate | None  # over all ratings, raters as clusters
    mean_b: Estimate | None
    situations: tuple[Situation, ...]
    variants: tuple[Variant, ...]


class Choice(msgspec.Struct, frozen=True):
    """One question about two talks, one arm against another."""

    question: str
    a: str
    b: str
    result: Preference


def read_scale(
    question: str, rows: Sequence[Rating], talks: Mapping[str, RatedTalk], arms: tuple[str, str], seed: int
) -> Scale:
    answers = []
    for r in rows:
        if not isinstance(r.answer, int):
            raise InputError(f"rating {r.id} answers {question!r} with {r.answer!r}, not with a whole number")
        answers.append(r.answer)
    heard = [talks[r.talks[0]] for r in rows]
    durations = [t.duration for t in heard]
    given = Ratings(
        answers=np.array(answers), arms=np.array([int(t.arm == arms[1]) for t in heard]),
        raters=[r.rater for r in rows], scenarios=[t.scenario for t in heard] if all(t.scenario for t in heard) else (),
        durations=[d for d in durations if d is not None] if None not in durations else (),
    )  # fmt: skip
    levels = tuple(range(min(answers), max(answers) + 1))
    raters = by_rater(given)
    lines = tuple(Line(n, float(x), float(y)) for n, x, y in zip(raters.names, raters.a, raters.b, strict=True))
    judged = Judgements([r.talks[0] for r in rows], given.raters, given.answers.astype(np.float64))
    result = analyse_ratings(given, MARGIN, seed)
    return Scale(
        question=question, a=arms[0], b=arms[1], levels=levels,
        counts_a=_counts(given, 0, levels), counts_b=_counts(given, 1, levels), result=result, raters=lines[:LINES],
        n_raters=len(raters.names), agreement=krippendorff(judged, "ordinal", seed), correlation=icc(judged),
        mean_a=_mean(given, 0, seed), mean_b=_mean(given, 1, seed),
        situations=situations(given), variants=variants(given, raters, result, seed),
    )  # fmt: skip


def _mean(given: Ratings, arm: int, seed: int) -> Estimate | None:
    rows = np.flatnonzero(given.arms == arm)
    return mean_estimate(given.answers[rows].astype(np.float64), [given.raters[i] for i in rows.tolist()], False, seed)


def _counts(given: Ratings, arm: int, levels: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(np.count_nonzero((given.arms == arm) & (given.answers == level))) for level in levels)


def read_choice(
    question: str, rows: Iterable[Rating], talks: Mapping[str, RatedTalk], arms: tuple[str, str], seed: int
) -> Choice | None:
    """None without a vote between the two arms."""
    found = prefer(_votes(rows, talks), *arms, SHARE_MARGIN, seed)
    return None if found is None else Choice(question, *arms, found)


def _votes(rows: Iterable[Rating], talks: Mapping[str, RatedTalk]) -> Votes:
    """Votes from answers first, second or tie; 1, -1 and 0 are also read."""
    first, second, results, raters = [], [], [], []
    words = {"first": 1, "second": -1, "1": 1, "-1": -1} | dict.fromkeys(TIES, 0)
    for r in rows:
        if str(r.answer) not in words:
            raise InputError(f"rating {r.id} answers with {r.answer!r}; a preference is first, second or tie")
        first.append(talks[r.talks[0]].arm)
        second.append(talks[r.talks[1]].arm)
        results.append(words[str(r.answer)])
        raters.append(r.rater)
    return Votes(first, second, np.array(results, dtype=np.int64), raters)
