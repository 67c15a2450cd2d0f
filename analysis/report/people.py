"""What people said in a study: ratings on scales, preferences between two talks, how far they agree.

The contract is a study export: `ratings.jsonl` (a `protocols.records.Rating` per line), and `talks.csv`, which
says of each talk which arm it was (`COLUMNS`; design/statistics.md has their types). Where the export also says which
study it was and how it went, so does `People`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from analysis.report.conduct import Conduct, read_conduct, table
from analysis.report.questions import Choice, RatedTalk, Scale, read_choice, read_scale
from protocols.base import from_json
from protocols.errors import InputError, StoreError
from protocols.records import Rating

COLUMNS = ("talk", "arm", "scenario", "duration")  # of talks.csv; the last two may be missing or empty


class Preregistration(msgspec.Struct, frozen=True):
    """What was decided before anybody talked."""

    primary: str = ""  # the question that decides
    test: str = ""
    alpha: float = 0.05
    raters: int = 0
    stopping: str = ""
    exclusions: str = ""
    hypothesis: str = ""


class StudyArm(msgspec.Struct, frozen=True):
    system: str = ""
    decoding: dict[str, float] = {}


class Design(msgspec.Struct, frozen=True):
    """A study as its file says it; what else is in there is not read."""

    name: str = ""
    title: str = ""
    design: str = ""
    seed: int = 0
    rounds: int = 1
    durations: tuple[float, ...] = ()  # s
    decoding: dict[str, float] = {}
    arms: dict[str, StudyArm] = {}
    preregistration: Preregistration | None = None

    def decoding_of(self, arm: str) -> dict[str, float]:
        return {**self.decoding, **self.arms[arm].decoding}


class Promise(msgspec.Struct, frozen=True):
    """Which study this was, and what was decided before anybody talked; SHA-256 of either."""

    sha256: str
    preregistered: str | None
    study: Design = Design()

    @property
    def primary(self) -> str | None:
        """The question that was named before."""
        named = self.study.preregistration
        return named.primary if named is not None and named.primary else None


class People(msgspec.Struct, frozen=True):
    scales: tuple[Scale, ...]
    choices: tuple[Choice, ...]
    unanswered: dict[str, int]  # reason -> ratings without an answer
    amended: int  # ratings that a later one corrects
    unknown_talks: int  # ratings of talks that no arm is known of
    promise: Promise | None = None  # None: the export does not say
    conduct: Conduct | None = None  # the same


def read_study(folder: Path, seed: int = 0) -> People:
    """A study export. InputError where a line cannot be read or a column is missing, StoreError where a file is."""
    try:
        rows = (folder / "ratings.jsonl").read_bytes().splitlines()
        (folder / "talks.csv").stat()
    except OSError as error:
        raise StoreError(
            f"cannot read the study {folder}: {error.strerror} ({error.filename}); it holds ratings.jsonl and talks.csv"
        ) from error
    talks = _talks(table(folder / "talks.csv", COLUMNS[:2]), folder / "talks.csv")
    found = people([_rating(row, folder, i) for i, row in enumerate(rows, 1) if row], talks, seed)
    return msgspec.structs.replace(found, promise=_promise(folder / "study.json"), conduct=read_conduct(folder, seed))


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


def _talks(rows: Sequence[Mapping[str, str]], path: Path) -> dict[str, RatedTalk]:
    found: dict[str, RatedTalk] = {}
    for i, row in enumerate(rows, 2):
        where = f"{path}, line {i}"
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
                scales.append(read_scale(question, single, talks, (a, b), seed))
            compared = [r for r in rows if len(r.talks) == 2]
            if (choice := read_choice(question, compared, talks, (a, b), seed)) is not None:
                choices.append(choice)
    return People(tuple(scales), tuple(choices), reasons, len(ratings) - len(current), len(current) - len(known))
