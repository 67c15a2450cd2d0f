"""A study as files: what the report reads, what a statistician wants, the sound, and a list with every file's hash.

    ratings.jsonl, talks.csv   the ratings that count, as `duologue compare --study` reads them
    ratings.csv                every rating with its talk's arm and whether it counts; also .parquet
    preferences.csv            how much better which arm was, and why
    guesses.csv  marks.csv  raters.csv  flags.csv  exclusions.csv
    second-sound/, second-transcript/   ratings.jsonl, talks.csv, study.json of those who rated finished talks by ear or
                               by eye; apart, because they answer other words, and several rate one talk
    study.json                 the study as it began, its hash and that of its preregistration; personal links made and
                               opened, of both stages
    runs/ARM/                  the talks that count as runs for `duologue score`, `compare` and `pairs` (see `runs`)
    sound/                     talks as heard and as modelled (FLAC), by talk
    manifest.json              SHA-256 of all of these

Raters are pseudonyms; a panel's ids are not exported. A folder that is there is not written into.
"""

import csv
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.live.away import here
from app.live.folder import read_talk
from app.study import raters
from app.study.answers import GUESS, INSTRUCTION, PREFERENCE
from app.study.config import Study
from app.study.database import Database
from app.study.people import Judged, arm_names, judged
from app.study.tables import MarkRow, RatingRow, TalkRow
from protocols.base import to_json
from protocols.errors import InputError, StoreError
from protocols.records import Rating

Row = Mapping[str, Any]
NEEDED = {"talks": ["talk", "arm", "scenario", "duration"]}  # columns, also of a study that nobody has talked in


def export(
    study: Study, db: Database, talks: Path, out: Path, sound: bool = True, parquet: bool = False, runs: bool = False
) -> Path:  # fmt: skip
    """Write everything into a new folder; it appears whole or not at all. `talks`: the folder of the live talks."""
    if out.exists():
        raise InputError(f"{out} is there already; give another --out")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    with db.read() as session:
        people, arms = judged(session, study), arm_names(session, study)
        second = judged(session, study, "second")
        invitations = raters.invitations(session, study)
    try:
        part.mkdir(parents=True)
        _write(study, people, second, arms, part, parquet)
        for stage in ("sound", "transcript"):
            _write_second(study, people, second, arms, stage, part / f"second-{stage}")
        if runs:
            from app.study.runs import write_runs

            write_runs(study, people, second, arms, talks, part / "runs")
        if sound:
            _copy_sound(people, talks, part / "sound")
        _study(study, part, invitations)
        _manifest(study, part)
        part.replace(out)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(f"cannot write the export {out}: {error.strerror}") from error
    return out


def _write(
    study: Study, people: Sequence[Judged], second: Sequence[Judged], arms: Mapping[str, str], out: Path, parquet: bool
) -> None:  # fmt: skip
    everybody = [*people, *second]
    ratings = [row for one in everybody for row in _ratings(study, one, arms)]
    tables: dict[str, list[Row]] = {
        "talks": _talks(study, people, arms),
        "ratings": ratings,
        "preferences": [row for row in ratings if row["question"] == PREFERENCE],
        "guesses": [{**row, "asked_about": study.blinding.arm if study.blinding else None}
                    for row in ratings if row["question"] == GUESS],
        "marks": [_mark(t, m, arms) for one in people for t in one.person.talks for m in t.marks],
        "raters": [_rater(one) for one in everybody],
        "flags": [{**f._asdict(), "costs": " ".join(f.costs)} for one in everybody for f in one.findings],
        "exclusions": _exclusions(everybody),
    }  # fmt: skip
    for name, rows in tables.items():
        _csv(out / f"{name}.csv", rows)
        if parquet:
            _parquet(out / f"{name}.parquet", rows)
    _records(out, [_record(study, one, r) for one in people for r in one.person.ratings if _counts(one, r)])


def _write_second(
    study: Study, people: Sequence[Judged], second: Sequence[Judged], arms: Mapping[str, str], stage: str, out: Path
) -> None:  # fmt: skip
    """What those who met finished talks in one way said; nothing if nobody did."""
    talks = [row for row in _talks(study, people, arms) if row["use"]]
    kept = {row["talk"] for row in talks}
    found = [_record(study, one, r) for one in second for r in one.person.ratings
             if r.stage == stage and r.talk_id in kept and _counts(one, r)]  # fmt: skip
    if found:
        out.mkdir()
        _csv(out / "talks.csv", talks)
        _records(out, found)
        _study(study, out)


def _records(out: Path, found: Iterable[Rating]) -> None:
    (out / "ratings.jsonl").write_bytes(b"".join(to_json(one) + b"\n" for one in found))


def _study(study: Study, out: Path, invitations: Mapping[str, int] | None = None) -> None:
    whole: dict[str, Any] = {"study": study.model_dump(mode="json"), "sha256": study.digest,
                             "preregistered": study.preregistered}  # fmt: skip
    whole |= {} if invitations is None else {"invitations": dict(invitations)}
    (out / "study.json").write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _talks(study: Study, people: Sequence[Judged], arms: Mapping[str, str]) -> list[Row]:
    """Talks of the plan, those of the arm that others are compared with first. A trap is no talk of its arm."""
    order = {name: k for k, name in enumerate(study.arms)}
    rows = [
        {"talk": talk.id, "arm": arms[talk.arm or ""], "scenario": talk.scenario, "duration": talk.duration,
         "rater": one.rater.id, "slot": talk.slot, "attempt": talk.attempt, "use": one.uses(talk.id),
         **{name: (talk.measured or {}).get(name) for name in ("seconds", "speech", "lag_p50", "lag_max", "echo_db",
                                                               "frame", "underruns", "underrun_s", "late_ms_p99",
                                                               "step_ms_p50")}}
        for one in people for talk in one.person.talks if talk.kind == "talk"
    ]  # fmt: skip
    return sorted(rows, key=lambda row: order[row["arm"]])


def _ratings(study: Study, one: Judged, arms: Mapping[str, str]) -> Iterable[Row]:
    held: dict[str, TalkRow] = {talk.id: talk for talk in one.person.talks}
    for rating in one.person.ratings:
        first, second = held.get(rating.talk_id), held.get(rating.other_id or "")
        if first is not None:
            yield {
                "id": rating.id, "rater": rating.rater_id, "question": rating.question, "answer": rating.answer,
                "reason": rating.reason, "choices": "; ".join(rating.choices or []), "talk": rating.talk_id,
                "arm": arms[first.arm or ""], "second_talk": rating.other_id,
                "second_arm": arms[second.arm or ""] if second else None, "scenario": first.scenario,
                "duration": first.duration, "kind": first.kind, "stage": rating.stage, "at": rating.at,
                "amends": rating.amends, "use": _counts(one, rating),
            }  # fmt: skip


def _counts(one: Judged, rating: RatingRow) -> bool:
    """Whether the analysis uses a rating: of kept talks, and about systems."""
    traps = {talk.id for talk in one.person.talks if talk.kind == "trap"}
    about = [talk for talk in (rating.talk_id, rating.other_id) if talk is not None]
    held = {talk.id for talk in one.person.talks}
    return rating.question not in (INSTRUCTION, GUESS) and all(
        talk in held and talk not in traps and one.uses(talk) for talk in about
    )


def _record(study: Study, one: Judged, rating: RatingRow) -> Rating:
    answer: int | str | None = rating.answer
    if rating.question == PREFERENCE and rating.answer is not None:
        answer = "tie" if rating.answer == 0 else "second" if rating.answer > 0 else "first"
    about = (rating.talk_id,) if rating.other_id is None else (rating.talk_id, rating.other_id)
    return Rating(rating.id, one.rater.id, study.name, about, rating.question, answer, rating.reason, rating.at)


def _rater(one: Judged) -> Row:
    rater = one.rater
    return {"rater": rater.id, "role": rater.role, "source": rater.source, "status": rater.status, "cell": rater.cell,
            "pay": one.has("pay"), "use": one.has("use"), "code": rater.code, "joined": rater.created_at}  # fmt: skip


def _mark(talk: TalkRow, mark: MarkRow, arms: Mapping[str, str]) -> Row:
    return {"talk": talk.id, "rater": mark.rater_id, "arm": arms[talk.arm or ""], "kind": mark.kind, "at": mark.at,
            "sample": mark.sample, "stage": "talker" if mark.rater_id == talk.rater_id else "second"}  # fmt: skip


def _exclusions(people: Sequence[Judged]) -> list[Row]:
    """How many raters and talks each rule cost what."""
    counts = Counter((f.rule, "rater" if f.talk is None else "talk", f.outcome) for one in people for f in one.findings)
    return [{"rule": rule, "of": of, "outcome": outcome, "n": n} for (rule, of, outcome), n in sorted(counts.items())]


def _csv(path: Path, rows: Sequence[Row]) -> None:
    """A table; without rows a reader still finds the columns that it needs."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else NEEDED.get(path.stem, []))
        writer.writeheader()
        writer.writerows({name: _safe(value) for name, value in row.items()} for row in rows)


def _safe(value: Any) -> Any:
    """A text that a spreadsheet would run as a formula is kept from it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _parquet(path: Path, rows: Sequence[Row]) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow; get it with: pip install -e '.[pairs]'") from error
    parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), path)


def _copy_sound(people: Sequence[Judged], talks: Path, out: Path) -> None:
    for one in people:
        for talk in one.person.talks:
            record = read_talk(talks / talk.id)
            for recording in (record.heard, record.modelled):
                if recording is not None:
                    (out / talk.id).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(here(talks / talk.id / recording.path), out / talk.id / recording.path)


def _manifest(study: Study, out: Path) -> None:
    files = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in sorted(out.rglob("*")) if path.is_file()}  # fmt: skip
    whole = {"study": study.name, "sha256": study.digest, "preregistered": study.preregistered, "files": files}
    (out / "manifest.json").write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
