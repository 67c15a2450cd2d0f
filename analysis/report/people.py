"""What people said: ratings and preferences of a study, question by question, arm by arm.

A study export is two files: ratings.jsonl (Rating rows; a corrected one counts by its correction) and talks.csv, which
says of each talk which arm it was (`COLUMNS`; design/statistics.md has their types). Raters' own mean differences
decide; the mixed model stands beside them, and so does the sentence where the two disagree.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.agreement import Judgements, krippendorff
from analysis.estimates import Estimate, Undefined
from analysis.ordinal import Ratings
from analysis.paired import mean_estimate
from analysis.preference import Preference, Votes, prefer
from analysis.ratings import RatingsResult, analyse_ratings, by_rater
from analysis.sensitivity import Situation, Variant, situations, variants
from protocols.base import from_json
from protocols.errors import InputError, StoreError
from protocols.records import Rating

MARGIN = 0.25  # rating points, of the smallest difference that matters
SHARE_MARGIN = 0.05
LINES = 60  # raters drawn one by one
TIES = ("tie", "same", "0")
COLUMNS = ("talk", "arm", "scenario", "duration")  # of talks.csv; the last two may be missing or empty


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
    agreement: Estimate | None
    why_no_agreement: str | None
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


class Promise(msgspec.Struct, frozen=True):
    """Which study this was, and what was decided before anybody talked; SHA-256 each."""

    sha256: str
    preregistered: str | None


class People(msgspec.Struct, frozen=True):
    scales: tuple[Scale, ...]
    choices: tuple[Choice, ...]
    unanswered: dict[str, int]  # reason -> ratings without an answer
    amended: int  # ratings that a later one corrects
    unknown_talks: int  # ratings of talks that no arm is known of
    promise: Promise | None = None  # None: the export does not say


def read_study(folder: Path, seed: int = 0) -> People:
    """A study export. InputError where a line cannot be read or a column is missing, StoreError where a file is."""
    try:
        with (folder / "talks.csv").open(encoding="utf-8", newline="") as lines:
            talks = _talks(csv.DictReader(lines), folder / "talks.csv")
        rows = (folder / "ratings.jsonl").read_bytes().splitlines()
    except OSError as error:
        raise StoreError(
            f"cannot read the study {folder}: {error.strerror} ({error.filename}); it holds ratings.jsonl and talks.csv"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{folder / 'talks.csv'} is not UTF-8: {error}") from error
    found = people([_rating(row, folder, i) for i, row in enumerate(rows, 1) if row], talks, seed)
    return msgspec.structs.replace(found, promise=_promise(folder / "study.json"))


def _promise(path: Path) -> Promise | None:
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Promise)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} does not say which study this was: {error}") from error


def _rating(row: bytes, folder: Path, line: int) -> Rating:
    try:
        return from_json(row, Rating)
    except InputError as error:
        raise InputError(f"{folder / 'ratings.jsonl'}, line {line}: {error}") from error


def _talks(rows: "csv.DictReader[str]", path: Path) -> dict[str, RatedTalk]:
    missing = [name for name in COLUMNS[:2] if name not in (rows.fieldnames or ())]
    if missing:
        raise InputError(
            f"{path} has no column {' and no column '.join(missing)}; its columns are {', '.join(COLUMNS)}"
        )
    found: dict[str, RatedTalk] = {}
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        if not row["talk"] or not row["arm"]:
            raise InputError(f"{where}: a talk and its arm must be named")
        if row["talk"] in found:
            raise InputError(f"{where}: talk {row['talk']} is there twice")
        found[row["talk"]] = RatedTalk(row["arm"], row.get("scenario") or "", _duration(row.get("duration"), where))
    if not found:
        raise InputError(f"{path} names no talk")
    return found


def _duration(cell: str | None, where: str) -> float | None:
    """Seconds as planned, None where the cell is empty."""
    if not cell:
        return None
    try:
        duration = float(cell)
    except ValueError:
        duration = -1.0
    if not 0 <= duration < float("inf"):
        raise InputError(f"{where}: duration {cell!r} is not a number of seconds")
    return duration


def people(ratings: Sequence[Rating], talks: Mapping[str, RatedTalk], seed: int = 0) -> People:
    """Every question of a study. The arm named first in `talks` is what the others are compared with."""
    replaced = {r.amends for r in ratings if r.amends is not None}
    current = [r for r in ratings if r.id not in replaced]
    known = [r for r in current if r.talks and all(t in talks for t in r.talks)]
    reasons: dict[str, int] = {}
    for r in known:
        if r.answer is None:
            reasons[r.reason or "no reason given"] = reasons.get(r.reason or "no reason given", 0) + 1
    answered = [r for r in known if r.answer is not None]
    arms = list(dict.fromkeys(t.arm for t in talks.values()))
    pairs = [(arms[0], other) for other in arms[1:]]
    scales, choices = [], []
    for question in dict.fromkeys(r.question for r in answered):
        rows = [r for r in answered if r.question == question]
        for a, b in pairs:
            single = [r for r in rows if len(r.talks) == 1 and talks[r.talks[0]].arm in (a, b)]
            if single:
                scales.append(_scale(question, single, talks, (a, b), seed))
            found = prefer(_votes([r for r in rows if len(r.talks) == 2], talks), a, b, SHARE_MARGIN, seed)
            if found is not None:
                choices.append(Choice(question, a, b, found))
    return People(tuple(scales), tuple(choices), reasons, len(ratings) - len(current), len(current) - len(known))


def _scale(
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
    agreement = krippendorff(
        Judgements([r.talks[0] for r in rows], [r.rater for r in rows], np.array(answers, dtype=np.float64)),
        "ordinal", seed,
    )  # fmt: skip
    result = analyse_ratings(given, MARGIN, seed)
    return Scale(
        question=question, a=arms[0], b=arms[1], levels=levels,
        counts_a=_counts(given, 0, levels), counts_b=_counts(given, 1, levels), result=result, raters=lines[:LINES],
        n_raters=len(raters.names), agreement=None if isinstance(agreement, Undefined) else agreement,
        why_no_agreement=agreement.why, mean_a=_mean(given, 0, seed), mean_b=_mean(given, 1, seed),
        situations=situations(given), variants=variants(given, raters, result, seed),
    )  # fmt: skip


def _mean(given: Ratings, arm: int, seed: int) -> Estimate | None:
    rows = np.flatnonzero(given.arms == arm)
    return mean_estimate(given.answers[rows].astype(np.float64), [given.raters[i] for i in rows.tolist()], False, seed)


def _counts(given: Ratings, arm: int, levels: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(np.count_nonzero((given.arms == arm) & (given.answers == level))) for level in levels)


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
