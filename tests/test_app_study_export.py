"""What leaves a study: files the report reads as they are, flags of quality, and a person who wants to be forgotten."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")

from sqlalchemy import select

from analysis.report.people import read_study
from app.cli import cli
from app.live.folder import LiveTalk
from app.study import answers, database, raters, talks
from app.study.answers import Answer, Form
from app.study.calls import measured
from app.study.config import Study
from app.study.database import Database
from app.study.export import export
from app.study.forget import forget
from app.study.people import judged
from app.study.quality import Finding
from app.study.tables import RaterRow, RatingRow, TalkRow
from protocols.base import to_json
from protocols.errors import InputError
from protocols.records import Recording
from study_house import database as database_of
from study_house import study

STUDY = study(scales=["paper"], trap={"arm": "base"}, preregistration={
    "primary": "preference", "test": "sign flip", "raters": 6, "stopping": "at 6", "exclusions": "use"})  # fmt: skip
GOOD = {"seconds": 5.0, "speech": 4.0, "lag_p50": 0.1, "echo_db": None, "no_echo": "no echo was found"}


class Done(NamedTuple):
    """A study some people have been through."""

    db: Database
    folder: Path
    raters: list[str]


def go_through(
    db: Database, folder: Path, of: Study, likes: int = 4, seconds: float = 20.0, **changes: Any
) -> str:  # fmt: skip
    """A rater's whole way: the aligned arm is rated `likes`, base one less, the trap 0; `changes` of what is measured
    or, by question, of what is answered."""
    with db.write() as session:
        rater = raters.join(session, of, "link")
        plan = raters.plan_for(of, rater)
        raters.note(session, rater, "consent", given=True)
        raters.note(session, rater, "devices", good=changes.get("devices", True), enough=True)
        names = {code: name for name, code in talks.codes(session, rater.study_id).items()}
        for slot in range(len(plan.slots)):
            row = talks.open_talk(session, of, rater, plan, slot)
            measured = {**GOOD, **{k: v for k, v in changes.items() if k in GOOD}}
            mark = talks.Moment("nice", 24_000, 1.0)
            talks.settle(session, of, row.id, talks.Outcome(True, "over", measured, [mark]))
            write_talk(folder, row.id)
            level = 0 if row.kind == "trap" else likes - (names[row.arm or ""] == "base")
            given = [Answer(q.id, changes.get(q.id, level)) for q in of.all_questions]
            if slot == len(plan.slots) // 2:
                given.append(Answer(answers.INSTRUCTION, changes.get("instruction", 1)))
            answers.submit(session, rater, Form(f"rate-{row.id}", "k", seconds), [row.id], given)
        done = [a.talk for a in raters.progress_of(session, rater).attempts if plan.slots[a.slot].kind == "talk"]
        better = 2 if names[session.get_one(TalkRow, done[1]).arm or ""] == "aligned" else -2
        answers.submit(session, rater, Form("compare", "k", seconds), done, [
            Answer("preference", changes.get("preference", better), None, ["It answered faster"])])  # fmt: skip
        answers.submit(session, rater, Form("guess", "k", seconds), done, [Answer("guess", None, "does not know")])
        raters.leave(session, rater, "complete")
        return rater.id


def write_talk(folder: Path, talk: str) -> None:
    (folder / talk).mkdir(parents=True)
    soundfile.write(folder / talk / "heard.flac", np.zeros((2_400, 2), np.int16), 24_000)
    sha = hashlib.sha256((folder / talk / "heard.flac").read_bytes()).hexdigest()
    record = LiveTalk(talk, "echo", "1", 0, "2026-01-01T00:00:00Z", 24_000, status="done",
                      heard=Recording("heard.flac", 24_000, 2_400, sha))  # fmt: skip
    (folder / talk / "talk.json").write_bytes(to_json(record))


@pytest.fixture
def done(tmp_path: Path) -> Iterator[Done]:
    db = database_of(tmp_path / "data", STUDY)
    folder = tmp_path / "data" / "talks"
    people = [go_through(db, folder, STUDY, likes) for likes in (4, 3, 4, 2)]
    people.append(go_through(db, folder, STUDY, 1, instruction=3))  # did not read the questions
    yield Done(db, folder, people)
    db.close()


def duologue(*words: str) -> None:
    CliRunner().invoke(cli, words, catch_exceptions=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_reads_an_export_as_it_is(tmp_path: Path, done: Done) -> None:
    made = export(STUDY, done.db, done.folder, tmp_path / "out", parquet=True)
    people = read_study(made)
    coherence = next(scale for scale in people.scales if scale.question == "coherence")
    assert (coherence.a, coherence.b, coherence.n_raters) == ("base", "aligned", 4)
    assert all(line.b - line.a == 1 for line in coherence.raters)
    (choice,) = people.choices
    assert (choice.question, choice.a, choice.b) == ("preference", "base", "aligned")
    assert {scale.question for scale in people.scales} == {"coherence", "engagement", "relevance"}
    assert people.unknown_talks == 0
    assert people.promise is not None
    assert (people.promise.sha256, people.promise.preregistered) == (STUDY.digest, STUDY.preregistered)
    assert {(row["arm"], row["answer"]) for row in rows(made / "preferences.csv")} <= {("base", "2"), ("aligned", "-2")}


def test_compare_puts_an_export_into_its_report(tmp_path: Path, done: Done) -> None:
    made = export(STUDY, done.db, done.folder, tmp_path / "out", sound=False)
    runs = [str(tmp_path / name) for name in ("silence", "echo")]
    for run in runs:
        duologue("bench", "--system", Path(run).name, "--asr", "none", "--limit", "2", "--out", run)
    duologue("compare", *runs, "--force", "--study", str(made), "--out", str(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "coherence, aligned against base" in page
    assert f"preregistration <code>{(STUDY.preregistered or '')[:16]}</code>" in page


def test_an_export_names_the_study_its_promise_and_every_file(tmp_path: Path, done: Done) -> None:
    with done.db.write() as session:
        links = [raters.invite(session, STUDY) for _ in range(3)]
        opened = raters.accept(session, STUDY, links[0])
    made = export(STUDY, done.db, done.folder, tmp_path / "out")
    assert json.loads((made / "study.json").read_text())["invitations"] == {"made": 3, "opened": 1}
    assert opened.id in (made / "raters.csv").read_text()
    assert {"frame", "underruns", "underrun_s"} < set((made / "talks.csv").read_text().splitlines()[0].split(","))
    manifest = json.loads((made / "manifest.json").read_text())
    assert (manifest["sha256"], manifest["preregistered"]) == (STUDY.digest, STUDY.preregistered)
    there = {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} - {"manifest.json"}
    assert set(manifest["files"]) == there
    assert sum(name.startswith("sound/") for name in there) == 15
    for name, sha in manifest["files"].items():
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == sha
    with pytest.raises(InputError, match="is there already"):
        export(STUDY, done.db, done.folder, made)


def test_an_excluded_rater_is_in_the_tables_and_not_in_what_is_analysed(tmp_path: Path, done: Done) -> None:
    made = export(STUDY, done.db, done.folder, tmp_path / "out", sound=False)
    flags = {row["rater"]: (row["pay"], row["use"]) for row in rows(made / "raters.csv")}
    assert flags[done.raters[0]] == ("True", "True")
    assert flags[done.raters[4]] == ("True", "False")
    analysed = (made / "ratings.jsonl").read_text()
    assert done.raters[4] not in analysed
    assert done.raters[4] in (made / "ratings.csv").read_text()
    excluded = {
        (row["rule"], row["outcome"]): row["n"] for row in rows(made / "exclusions.csv") if row["of"] == "rater"
    }
    assert excluded["instruction", "fail"] == "1"
    assert excluded["trap", "pass"] == "5"


def test_a_text_that_a_spreadsheet_would_run_is_kept_from_it(tmp_path: Path, done: Done) -> None:
    with done.db.write() as session:
        rater = session.get_one(RaterRow, done.raters[0])
        talk = session.scalars(select(TalkRow.id).where(TalkRow.rater_id == rater.id)).first()
        answers.submit(session, rater, Form("x", "k"), [str(talk)], [Answer("own", None, "=HYPERLINK(1)")])
    made = export(STUDY, done.db, done.folder, tmp_path / "out", sound=False)
    assert "'=HYPERLINK(1)" in [row["reason"] for row in rows(made / "ratings.csv")]


def test_a_forgotten_rater_leaves_neither_rows_nor_sound_and_the_others_stay(tmp_path: Path, done: Done) -> None:
    with done.db.write() as session:
        rating = session.scalars(select(RatingRow).where(RatingRow.rater_id == done.raters[0])).first()
        assert rating is not None
        answers.amend(session, rating, 0)
        held = list(session.scalars(select(TalkRow.id).where(TalkRow.rater_id == done.raters[0])))
    gone = forget(done.db, done.folder, done.raters[0])
    assert (gone.talks, gone.ratings) == (3, 13)
    assert [talk for talk in held if (done.folder / talk).exists()] == []
    dump = "\n".join(path.read_bytes().decode("latin-1") for path in (tmp_path / "data").glob(database.FILE + "*"))
    assert [talk for talk in held if talk in dump] == []
    with done.db.read() as session:
        assert session.get_one(RaterRow, done.raters[0]).status == "forgotten"
        assert len(judged(session, STUDY)) == 4
    with pytest.raises(InputError, match="there is no rater"):
        forget(done.db, done.folder, "r-00000000")


def found(db: Database, rater: str) -> dict[str, Finding]:
    with db.read() as session:
        (one,) = [person for person in judged(session, STUDY) if person.rater.id == rater]
    return {finding.rule: finding for finding in one.findings}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"speech": 1.0}, "min_speech"),
        ({"lag_p50": 0.7}, "lag"),
        ({"echo_db": -12.0}, "echo"),
        ({"instruction": 4}, "instruction"),
        ({"seconds": 2.0}, "too_fast"),
        ({"devices": False}, "devices"),
        ({"likes": 0}, "trap"),
    ],
)
def test_each_rule_fails_who_breaks_it_and_nobody_else(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    db = database_of(tmp_path / "data", STUDY)
    bad = go_through(db, tmp_path / "talks", STUDY, **changes)
    good = go_through(db, tmp_path / "talks", STUDY)
    assert found(db, bad)[rule].outcome == "fail"
    assert {finding.outcome for finding in found(db, good).values()} == {"pass"}
    db.close()


def test_always_the_same_answer_is_straight_lining_and_what_was_not_measured_is_no_failure(tmp_path: Path) -> None:
    strict = study(quality={"straight_lining": {"limit": 2}})
    db = database_of(tmp_path / "data", strict)
    go_through(db, tmp_path / "talks", strict, coherence=3, engagement=3, relevance=3, lag_p50=None, speech=None)
    with db.read() as session:
        (one,) = judged(session, strict)
    outcomes = {finding.rule: finding.outcome for finding in one.findings}
    assert (outcomes["straight_lining"], outcomes["lag"], outcomes["min_speech"]) == ("fail", "unknown", "unknown")
    assert (one.has("pay"), one.has("use")) == (True, False)
    db.close()


def test_what_the_page_had_nothing_to_play_for_is_counted(tmp_path: Path) -> None:
    lines = [{"event": "missed", "sample": 100, "n": 480}, {"event": "dropped", "sample": 700, "n": 480},
             {"event": "missed", "sample": 900, "n": 960}]  # fmt: skip
    (tmp_path / "events.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found = measured(tmp_path, LiveTalk("x", "s", "1", 0, "", 48_000))
    assert (found["underruns"], found["underrun_s"], found["frame"]) == (2, 0.03, 0.08)
