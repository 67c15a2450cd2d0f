"""How a study went, from the other tables of its export: how far people came and why no further, what the rules of
quality say, whether raters knew which system they heard, and whether the calls were technically alike.

A table or a column that an export lacks leaves its part out, never a number in.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from analysis.blinding import Blinding, Guess, Guesses, blinding
from analysis.estimates import Estimate, Undefined
from analysis.paired import mean_estimate
from analysis.report.arms import Stage
from analysis.report.measure import Curve, curve
from analysis.sensitivity import arm_difference
from protocols.errors import InputError, StoreError

FRAME = 0.08  # s; arms whose calls differ by more are not alike
ENDED = {"complete": "", "technical": ""}  # statuses of who came to the end
STATUSES = {"active": "not at the end", "declined": "declined", "failed": "did not pass the questions before",
            "forgotten": "asked to be forgotten"}  # fmt: skip
NEEDED = {
    "talks": ("talk", "arm"),
    "raters": ("rater", "status", "use"),
    "flags": ("rater", "talk", "rule", "outcome", "costs"),
    "guesses": ("id", "rater", "arm", "second_arm", "second_talk", "answer", "asked_about"),
}  # tables and the columns without which they say nothing
Row = Mapping[str, str]


class Measure(NamedTuple):
    """A column of the table of talks; `scale` makes it milliseconds."""

    column: str
    title: str
    scale: float


MEASURES = (
    Measure("lag_p50", "heard later than spoken, median of a talk", 1000),
    Measure("lag_max", "heard later than spoken, at most in a talk", 1000),
    Measure("underrun_s", "silence because nothing had arrived, in a talk", 1000),
    Measure("late_ms_p99", "frames late, 99th percentile of a talk", 1),
    Measure("step_ms_p50", "step of the system, median of a talk", 1),
)


class RuleRate(msgspec.Struct, frozen=True):
    """How often a rule of quality passed. `unknown`: it could not be checked, which costs nothing."""

    rule: str
    of: str  # raters or talks
    passed: int
    failed: int
    unknown: int
    costs: str  # what who fails it loses: pay, use


class Guessing(msgspec.Struct, frozen=True):
    """Arm b of `found` is the one that raters were asked to find. After a pair the guess is about the talk heard
    first, of which the other follows."""

    asked: str
    pairs: bool
    n: int
    found: Blinding | Undefined


class Technical(msgspec.Struct, frozen=True):
    """One measure of the calls, in ms: means by arm, their curves, and every other arm minus the first one."""

    title: str
    means: dict[str, Estimate]
    curves: dict[str, Curve]
    differences: dict[str, Estimate]


class Conduct(msgspec.Struct, frozen=True):
    people: tuple[Stage, ...]
    talks: dict[str, tuple[Stage, ...]]  # arm -> from held to used
    rules: tuple[RuleRate, ...]
    guessing: Guessing | None
    technical: tuple[Technical, ...]
    warnings: tuple[str, ...]


def table(path: Path, needed: Sequence[str] = ()) -> list[dict[str, str]]:
    """A CSV with a head line; no rows where there is no file. InputError where a needed column is missing."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            rows, names = list(reader), reader.fieldnames or ()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a table in UTF-8: {error}") from error
    if rows and (missing := [name for name in needed if name not in names]):
        raise InputError(f"{path} has no column {' and no column '.join(missing)}")
    return rows


def read_conduct(folder: Path, seed: int = 0) -> Conduct | None:
    """None where the folder has none of these tables."""
    talks, raters, flags, guesses = (table(folder / f"{name}.csv", needed) for name, needed in NEEDED.items())
    raters = [row for row in raters if row.get("role", "talker") == "talker"]
    guessing = _guessing(guesses, folder / "guesses.csv", seed)
    technical = tuple(t for measure in MEASURES if (t := _technical(measure, talks, folder, seed)) is not None)
    rules = _rules(flags)
    if not (raters or rules or guessing or technical):
        return None
    by_arm = {arm: _talk_flow([t for t in talks if t["arm"] == arm], flags) for arm in _arms(talks)}
    return Conduct(
        people=_people_flow(raters, talks, flags) if raters else (),
        talks=by_arm if talks and "use" in talks[0] else {},
        rules=rules, guessing=guessing, technical=technical,
        warnings=(*_unmasked(guessing), *(w for t in technical for w in _unlike(t))),
    )  # fmt: skip


def _arms(talks: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["arm"] for row in talks))


def _people_flow(raters: Sequence[Row], talks: Sequence[Row], flags: Sequence[Row]) -> tuple[Stage, ...]:
    held = {row.get("rater") for row in talks}
    failed = _failed((row["rater"], row) for row in flags if not row.get("talk"))
    talked = [row for row in raters if row["rater"] in held]
    through = [row for row in talked if row["status"] in ENDED]
    used = [row for row in through if row["use"] == "True"]
    return (
        Stage("opened the study", len(raters), {}),
        Stage("held a talk", len(talked), _count(_status(row) for row in raters if row["rater"] not in held)),
        Stage("came to the end", len(through), _count(_status(row) for row in talked if row["status"] not in ENDED)),
        Stage("whose answers count", len(used),
              _count(failed.get(row["rater"], "not used") for row in through if row["use"] != "True")),
    )  # fmt: skip


def _status(row: Row) -> str:
    return STATUSES.get(row["status"], row["status"])


def _talk_flow(talks: Sequence[Row], flags: Sequence[Row]) -> tuple[Stage, ...]:
    failed = _failed((row["talk"], row) for row in flags if row.get("talk"))
    lost = [row for row in talks if row.get("use") != "True"]
    reasons = _count(failed.get(row["talk"], "their rater's answers do not count") for row in lost)
    return Stage("talks held", len(talks), {}), Stage("talks that count", len(talks) - len(lost), reasons)


def _failed(rows: Iterable[tuple[str, Row]]) -> dict[str, str]:
    """What somebody, or a talk, failed so that it does not count: rules joined by "and"."""
    found: dict[str, list[str]] = {}
    for name, row in rows:
        if row["outcome"] == "fail" and "use" in row["costs"].split():
            found.setdefault(name, []).append(_words(row["rule"]))
    return {name: " and ".join(rules) for name, rules in found.items()}


def _count(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reasons).most_common())


def _words(rule: str) -> str:
    return rule.replace("_", " ")


def _rules(flags: Sequence[Row]) -> tuple[RuleRate, ...]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in flags:
        found.setdefault((_words(row["rule"]), "talks" if row.get("talk") else "raters"), []).append(row)
    made = []
    for (rule, of), rows in sorted(found.items(), key=lambda kv: (kv[0][1], kv[0][0])):
        said = Counter(row["outcome"] for row in rows)
        costs = " and ".join(rows[0]["costs"].split())
        made.append(RuleRate(rule, of, said["pass"], said["fail"], said["unknown"], costs))
    return tuple(made)


def _guessing(rows: Sequence[Row], path: Path, seed: int) -> Guessing | None:
    """Arm b is the one that was asked about, a any other."""
    rows = [
        row
        for row in rows
        if row["asked_about"] and (not row["second_talk"] or row["asked_about"] in (row["arm"], row["second_arm"]))
    ]
    if not rows:
        return None
    words: dict[str, Guess] = {"1": "b", "2": "a", "": "unknown"}
    for row in rows:
        if row["answer"] not in words:
            raise InputError(f"{path}: guess {row['id']} is {row['answer']!r}; a guess is 1, 2 or empty")
    made = Guesses(
        [words[row["answer"]] for row in rows],
        ["b" if row["arm"] == row["asked_about"] else "a" for row in rows],
        [row["rater"] for row in rows],
    )
    return Guessing(rows[0]["asked_about"], bool(rows[0]["second_talk"]), len(rows), blinding(made, seed))


def _unmasked(guessing: Guessing | None) -> list[str]:
    """Raters who guess right more often than chance may rate what they believe."""
    if guessing is None or isinstance(guessing.found, Undefined):
        return []
    sides = (guessing.found.bang_a, guessing.found.bang_b)
    if any(e is not None and e.low is not None and e.low > 0 for e in sides):
        return [f"raters could tell which talks were with {guessing.asked}: ratings may follow what they believed"]
    return []


def _technical(measure: Measure, talks: Sequence[Row], folder: Path, seed: int) -> Technical | None:
    rows = [row for row in talks if row.get(measure.column) and row.get("rater")]
    arms = _arms(rows)
    if not arms:
        return None
    values = np.array([measure.scale * _number(row[measure.column], measure.column, folder) for row in rows])
    of = {arm: np.array([row["arm"] == arm for row in rows]) for arm in arms}
    raters = np.array([row["rater"] for row in rows])
    means = {arm: mean_estimate(values[of[arm]], raters[of[arm]].tolist(), False, seed) for arm in arms}
    differences = {}
    for arm in arms[1:]:
        both = of[arms[0]] | of[arm]
        found = arm_difference(values[both], of[arm][both].astype(np.int64), raters[both].tolist())
        if found is not None:
            differences[arm] = found
    return Technical(
        measure.title, {arm: e for arm, e in means.items() if e is not None},
        {arm: curve(values[of[arm]]) for arm in arms}, differences,
    )  # fmt: skip


def _number(cell: str, column: str, folder: Path) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"{folder / 'talks.csv'}: {column} {cell!r} is not a number")
    return value


def _unlike(found: Technical) -> list[str]:
    """Arms that surely differ, and not surely by less than a frame."""
    out = []
    for arm, d in found.differences.items():
        if d.low is None or d.high is None:
            continue
        if (d.low > 0 or d.high < 0) and max(abs(d.low), abs(d.high)) > 1000 * FRAME:
            against = next(iter(found.means))
            out.append(f"{found.title}: {d.value:+.0f} ms [{d.low:.0f}, {d.high:.0f}] for {arm} against {against}")
    return out
