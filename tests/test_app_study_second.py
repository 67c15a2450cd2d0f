"""Raters of the second stage: which finished talks each is given, what they see, what becomes of their answers."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("httpx", reason="httpx is missing; get it with: pip install -e '.[test]'")

from fastapi.testclient import TestClient
from sqlalchemy import select
from test_app_study_export import go_through

from analysis.estimates import Estimate, Undefined
from analysis.report.people import read_study
from app.cli import cli
from app.live.folder import read_talk
from app.live.tokens import new_talk_id
from app.study.access import OPEN
from app.study.begin import begin, set_status
from app.study.config import SecondStage, Study
from app.study.database import Database
from app.study.export import export
from app.study.forget import forget
from app.study.house import House, build
from app.study.people import judged
from app.study.raters import study_row
from app.study.researcher.browse import ratings_of
from app.study.second.choose import Finished, choose, mode_of
from app.study.second.reviews import give, standing
from app.study.second.words import FILE, Turn, turns_of, write_down
from app.study.tables import MarkRow, RaterRow, RatingRow, ReviewRow, TalkRow
from eval.pairs.marks import read_marks
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from live_house import Slow
from protocols.base import to_json
from protocols.errors import InputError
from protocols.records import Activity, Conversation, Listening, Rating, Recording, Sample, Transcript, Word
from protocols.store import Run, sha256_of
from protocols.timeline import Track, track
from study_house import study

OURS = {"origin": "http://testserver"}
STAGE = {"consent": "You rate talks of others.", "per_talk": 2, "per_rater": 4}
STUDY = study(second_stage=STAGE)
LEVELS = {"coherence": 3, "engagement": 2, "relevance": 4}
NAMES = ("base", "aligned", "echo", "silence")


def written(folder: Path, of: Study = STUDY) -> None:
    """Two seconds of sound and four turns for every talk of a folder."""
    for talk in folder.glob("*/talk.json"):
        path = talk.with_name("heard.flac")
        tone = np.sin(np.arange(48_000) / 9)
        soundfile.write(path, np.stack([0.3 * tone, 0.1 * tone], axis=1), 24_000)
        record = msgspec.structs.replace(
            read_talk(talk.parent), heard=Recording("heard.flac", 24_000, 48_000, sha256_of(path))
        )
        talk.write_bytes(to_json(record))
        sides = [("user", [(0.0, 0.4), (1.2, 1.5)]), ("agent", [(0.5, 1.0), (1.6, 2.0)])]
        heard = Listening(
            record.id, 0,
            tuple(Activity(side, "silero", track(spans)) for side, spans in sides),  # type: ignore[arg-type]
            tuple(Transcript(side, "whisper", (Word("hello", *spans[0]),)) for side, spans in sides),  # type: ignore[arg-type]
        )  # fmt: skip
        (talk.parent / FILE).write_bytes(to_json(heard))


class Visitor:
    """A rater of the second stage at a browser of their own."""

    def __init__(self, house: House, link: str = "") -> None:
        self.browser = TestClient(house.app, headers=OURS)
        self.link = link or house.keys.link(OPEN, "second")

    def join(self, **more: Any) -> Any:
        return self.browser.post("/join", json={"link": self.link, "given": True, **more})

    def page(self) -> str:
        return self.browser.get("/study").text

    def form(self) -> str:
        found = re.search(r'data-form="(review-\w+)"', self.page())
        return found.group(1) if found else ""

    def rate(self, **changes: str) -> Any:
        answers = {k: str(v) for k, v in LEVELS.items()} | {"instruction": "1", "played": "1", **changes}
        said = {"form": self.form(), "key": new_talk_id(), "seconds": 30, "answers": answers}
        return self.browser.post("/study/review", json=said)


class Archive(NamedTuple):
    house: House
    folder: Path
    talkers: list[str]

    @property
    def db(self) -> Database:
        return self.house.db


def an_archive(folder: Path, of: Study, talkers: int = 3) -> Iterator[Archive]:
    house = build(of, folder, lambda name, decoding: Slow())
    people = [go_through(house.db, folder / "talks", of) for _ in range(talkers)]
    written(folder / "talks")
    yield Archive(house, folder / "talks", people)
    house.db.close()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    yield from an_archive(tmp_path / "data", STUDY)


# --- who is given what ---


@st.composite
def stages(draw: st.DrawFn) -> tuple[SecondStage, list[Finished]]:
    modes = draw(st.sampled_from([("sound",), ("transcript",), ("sound", "transcript")]))
    stage = SecondStage(modes=modes, per_talk=draw(st.integers(1, 4)), per_rater=draw(st.integers(1, 9)), consent="x")
    n, arms = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    return stage, [Finished(f"t{k}", "abc"[k % arms]) for k in range(n)]


@given(stages(), st.integers(0, 99))
def test_every_talk_gets_its_raters_in_each_mode_and_nobody_a_talk_twice(
    made: tuple[SecondStage, list[Finished]], seed: int
) -> None:
    stage, talks = made
    given = {talk.talk: Counter[Any]() for talk in talks}
    for number in range(4 * len(talks) * stage.per_talk * len(stage.modes)):
        chosen = choose(stage, seed, [talk._replace(raters=given[talk.talk]) for talk in talks], number)
        assert len(set(chosen)) == len(chosen) <= stage.per_rater
        for talk in chosen:
            given[talk][mode_of(stage, number)] += 1
    assert all(given[talk.talk][mode] == stage.per_talk for talk in talks for mode in stage.modes)


def test_arms_come_in_blocks_and_the_next_rater_has_them_mirrored() -> None:
    stage = SecondStage(per_rater=6, per_talk=9, consent="x")
    talks = [Finished(f"{arm}{k}", arm) for arm in "ab" for k in range(3)]
    first, second = (choose(stage, 1, talks, number) for number in (0, 1))
    arms = "".join(talk[0] for talk in first)
    assert all(set(arms[k : k + 2]) == {"a", "b"} for k in (0, 2, 4))
    assert "".join(talk[0] for talk in second) == arms.translate(str.maketrans("ab", "ba"))
    orders = {"".join(t[0] for t in choose(stage, 1, talks, n)) for n in range(0, 40, 2)}
    assert len(orders) > 4  # no rater can learn a pattern from another


def test_a_talk_is_given_out_when_it_counts_and_its_words_are_written_down(archive: Archive) -> None:
    for words in archive.folder.glob(f"*/{FILE}"):
        words.unlink()
    visitor = Visitor(archive.house)
    answer = visitor.join()
    assert (answer.status_code, "no talk to rate" in answer.json()["error"]) == (409, True)
    with archive.db.read() as session:
        assert session.scalars(select(RaterRow).where(RaterRow.role == "second")).all() == []
        excluded, *kept = judged(session, STUDY)
    with archive.db.write() as session:
        session.get_one(RaterRow, excluded.rater.id).status = "failed"
    written(archive.folder)
    visitor.join()
    with archive.db.read() as session:
        given = session.scalars(select(ReviewRow.talk_id)).all()
    assert sorted(given) == sorted(talk.id for one in kept for talk in one.person.talks)


def test_what_was_given_to_somebody_who_left_goes_to_the_next(archive: Archive) -> None:
    for _ in range(2):
        Visitor(archive.house).join()  # six talks with two raters each: eight of twelve are taken
    with archive.db.write() as session:
        for row in session.scalars(select(RaterRow).where(RaterRow.role == "second")):
            row.seen_at = "2020-01-01T00:00:00.000+00:00"
    for _ in range(3):
        assert Visitor(archive.house).join().status_code == 200
    assert Visitor(archive.house).join().status_code == 409
    with archive.db.read() as session:
        rows = session.scalars(
            select(ReviewRow).join(RaterRow, RaterRow.id == ReviewRow.rater_id).where(RaterRow.holds)
        )
        assert set(Counter(row.talk_id for row in rows).values()) == {2}


# --- their way ---


def test_a_rater_hears_one_talk_after_the_other_and_nothing_names_an_arm(archive: Archive) -> None:
    visitor = Visitor(archive.house)
    assert "rate talks of others" in visitor.browser.get(f"/join/{visitor.link}").text
    assert visitor.join().json() == {"next": "/study"}
    seen = []
    for slot in range(4):
        page = visitor.page()
        assert f"Talk {slot + 1} of 4" in page
        assert ("<svg" in page, "hello" in page, f"/study/sound/{slot}" in page) == (True, True, True)
        sound = visitor.browser.get(f"/study/sound/{slot}", headers={"range": "bytes=0-3"})
        assert (sound.status_code, sound.content) == (206, b"fLaC")
        others = [visitor.browser.get(f"/study/sound/{k}").status_code for k in range(-1, 6) if k != slot]
        assert set(others) == {404}
        seen += [page, *(value for name, value in sound.headers.items() if name != "content-security-policy")]
        assert visitor.rate(**{"mark-1": "wrong"}).json() == {"next": "/study"}
    last = visitor.page()
    assert "completion code" in last
    text = " ".join([*seen, last])
    assert [text[m.start() - 60 : m.end() + 20] for name in NAMES for m in re.finditer(rf"\b{name}\b", text)] == []
    with archive.db.read() as session:
        (one,) = judged(session, STUDY, "second")
        marks = session.scalars(select(MarkRow).where(MarkRow.rater_id == one.rater.id)).all()
        assert {(mark.kind, mark.at, mark.sample) for mark in marks} == {("wrong", 0.5, 12_000)}
    assert (one.rater.status, len(one.person.talks), len(marks)) == ("complete", 4, 4)
    assert {(r.stage, r.question, r.answer) for r in one.person.ratings} == {
        ("sound", question, level) for question, level in [*LEVELS.items(), ("instruction", 1)]
    }
    assert {f.rule: f.outcome for f in one.findings} | {} == {
        "instruction": "pass", "straight_lining": "pass", "too_fast": "pass", "played": "pass"}  # fmt: skip


def test_who_reads_gets_no_sound(tmp_path: Path) -> None:
    for archive in an_archive(tmp_path / "data", study(second_stage={**STAGE, "modes": ["transcript"]})):
        visitor = Visitor(archive.house)
        visitor.join()
        page = visitor.page()
        assert ("Read the talk" in page, "hello" in page) == (True, True)
        assert ("<svg" in page, "<audio" in page, "/study/sound" in page) == (False, False, False)
        assert visitor.browser.get("/study/sound/0").status_code == 404
        visitor.rate()
        with archive.db.read() as session:
            assert set(session.scalars(select(RatingRow.stage).where(RatingRow.rater_id.not_in(archive.talkers)))) == {
                "transcript"
            }


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({"mark-0": "wrong"}, 409),
        ({"mark-3": "wrong"}, 409),
        ({"mark-1": "rude"}, 409),
        ({"coherence": ""}, 422),
        ({"coherence": "9"}, 409),
    ],
)
def test_a_review_that_no_page_sends_is_refused_and_stores_nothing(
    archive: Archive, answers: dict[str, str], status: int
) -> None:
    visitor = Visitor(archive.house)
    visitor.join()
    assert visitor.rate(**answers).status_code == status
    with archive.db.read() as session:
        (one,) = judged(session, STUDY, "second")
        assert (one.person.ratings, one.person.facts[1:]) == ([], [])
        assert session.scalars(select(MarkRow).where(MarkRow.rater_id == one.rater.id)).all() == []


def test_a_talker_is_no_rater_of_the_second_stage_and_the_other_way_round(archive: Archive) -> None:
    talker = TestClient(archive.house.app, headers=OURS)
    talker.post("/join", json={"link": archive.house.keys.link(OPEN), "given": True})
    there = talker.get(f"/join/{archive.house.keys.link(OPEN, 'second')}")
    assert (there.status_code, "in another way" in there.text) == (403, True)
    assert talker.get("/study/sound/0").status_code == 404
    panel = {"panel": {"source": "prolific", "person": "p1", "session": "s1"}}
    first = Visitor(archive.house)
    assert first.join(**panel).status_code == 200
    assert first.browser.post("/study/talk").status_code == 409  # there is no talk to hold
    again = TestClient(archive.house.app, headers=OURS).post("/join", json={"given": True, "link": "", **panel})
    assert "in another way" in again.json()["error"]


def test_a_personal_link_of_the_second_stage_leads_back(archive: Archive, tmp_path: Path) -> None:
    made = CliRunner().invoke(cli, ["study", "invite", str(archive.folder.parent), "--second"], catch_exceptions=False)
    link = made.stdout.strip().rpartition("/")[2]
    visitor = Visitor(archive.house, link)
    visitor.join()
    form = visitor.form()
    again = Visitor(archive.house, link)
    again.join()
    assert form == again.form() != ""


def test_a_closed_study_still_gives_finished_talks_and_a_paused_one_does_not(archive: Archive) -> None:
    for status, code in (("paused", 409), ("closed", 200)):
        with archive.db.write() as session:
            set_status(session, study_row(session, STUDY.name), status)  # type: ignore[arg-type]
        assert Visitor(archive.house).join().status_code == code


def test_a_preview_of_the_second_stage_looks_and_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    links = archive.house.links("http://here", STUDY, preview=True)
    assert list(links) == ["preview", "second stage", "researcher"]
    untouched = given_to_next(archive)
    visitor = Visitor(archive.house, links["second stage"].rpartition("/")[2])
    assert visitor.join().status_code == 200
    assert visitor.form() != ""
    while visitor.form():
        assert visitor.rate(**{"mark-1": "wrong"}).status_code == 200
    assert "Thank you" in visitor.page()
    assert given_to_next(archive) == untouched
    with archive.db.read() as session:
        row = session.scalar(select(RaterRow).where(RaterRow.source == "preview"))
        assert row is not None
        assert (row.role, row.holds, judged(session, STUDY, "second")) == ("second", False, [])
        assert session.scalars(select(MarkRow).where(MarkRow.rater_id == row.id)).all() == []
        standing_now = standing(session, STUDY, archive.folder)
        assert standing_now is not None
        assert standing_now.rated == {0: 6}
        talk = session.get(TalkRow, row.reviews[0].talk_id)
        assert talk is not None
        assert {one.rater_id for one in ratings_of(session, talk)} <= set(archive.talkers)
    made = export(STUDY, archive.db, archive.folder, tmp_path / "out", sound=False)
    assert not (made / "second-sound").exists()
    assert row.id not in (made / "ratings.csv").read_text() + (made / "raters.csv").read_text()


def given_to_next(archive: Archive) -> list[str]:
    """The talks that the next rater would be given; nothing is kept."""
    with archive.db.read() as session:
        rater = RaterRow(id="r-nobody", study_id=study_row(session, STUDY.name).id, source="link", role="second",
                         status="active", holds=True, created_at="", seen_at="")  # fmt: skip
        session.add(rater)
        give(session, STUDY, rater, archive.folder)
        found = [one.talk_id for one in sorted(rater.reviews, key=lambda one: one.position)]
        session.rollback()
        return found


# --- what becomes of it ---


def test_the_export_keeps_stages_apart_and_their_agreement_can_be_computed(archive: Archive, tmp_path: Path) -> None:
    for coherence in (3, 2, 3):
        visitor = Visitor(archive.house)
        visitor.join()
        while visitor.form():
            visitor.rate(coherence=str(coherence), **{"mark-1": "nice"})
    made = export(STUDY, archive.db, archive.folder, tmp_path / "out", sound=False)
    talkers, others = read_study(made), read_study(made / "second-sound")
    alone = next(s for s in talkers.scales if s.question == "coherence")
    assert alone.agreement == Undefined("no unit has two ratings")
    rated = next(s for s in others.scales if s.question == "coherence")
    assert isinstance(rated.agreement, Estimate)
    assert rated.agreement.n_clusters == 6
    assert sum(rated.counts_a) + sum(rated.counts_b) == 12
    assert {s.question for s in others.scales} == set(LEVELS)
    with (made / "ratings.csv").open(encoding="utf-8", newline="") as file:
        assert Counter(row["stage"] for row in csv.DictReader(file))["sound"] == 12 * 3 + 3
    with (made / "marks.csv").open(encoding="utf-8", newline="") as file:
        assert Counter(row["stage"] for row in csv.DictReader(file)) == {"talker": 6, "second": 12}


def test_the_talks_of_each_arm_are_a_run_that_can_be_scored_compared_and_made_into_pairs(
    archive: Archive, tmp_path: Path
) -> None:
    visitor = Visitor(archive.house)
    visitor.join()
    while visitor.form():
        visitor.rate(**{"mark-1": "wrong"})
    made = export(STUDY, archive.db, archive.folder, tmp_path / "out", sound=False, runs=True)
    runs = [made / "runs" / name for name in ("base", "aligned")]
    base, aligned = (Run(run) for run in runs)
    assert [run.verify() for run in (base, aligned)] == [[], []]
    assert [talk.sample for talk in base.read(Conversation)] == [talk.sample for talk in aligned.read(Conversation)]
    assert {sample.cluster for sample in base.read(Sample)} == set(archive.talkers)
    assert len(list(base.read(Rating))) + len(list(aligned.read(Rating))) == 3 * (6 + 4)
    for words in (["score", str(runs[0])], ["compare", *map(str, runs), "--out", str(tmp_path)]):
        assert CliRunner().invoke(cli, words, catch_exceptions=False).exit_code == 0
    marked = {mark.talk for run in runs for marks in read_marks(run / "marks.jsonl").values() for mark in marks}
    talks = {talk.id for run in runs for talk in RunTalks(run, PairSettings()).names()}
    assert marked <= talks
    assert len(marked) == 6


def test_a_forgotten_talker_is_gone_from_the_others_plans_too(archive: Archive) -> None:
    visitor = Visitor(archive.house)
    visitor.join()
    visitor.rate()
    forget(archive.db, archive.folder, archive.talkers[0])
    while visitor.form():
        assert visitor.rate().status_code == 200
    assert "completion code" in visitor.page()
    with archive.db.read() as session:
        (one,) = judged(session, STUDY, "second")
    forget(archive.db, archive.folder, one.rater.id)
    with archive.db.read() as session:
        assert session.scalars(select(ReviewRow)).all() == []


def test_the_researcher_sees_the_second_stage(archive: Archive) -> None:
    visitor = Visitor(archive.house)
    visitor.join()
    visitor.rate(**{"mark-1": "wrong"})
    inside = TestClient(archive.house.app, headers=OURS)
    inside.post("/researcher", data={"password": archive.house.password or ""})
    with archive.db.read() as session:
        (one,) = judged(session, STUDY, "second")
    next(archive.folder.glob(f"*/{FILE}")).unlink()
    front = inside.get("/researcher").text
    assert ("6 talks count" in front, "duologue study transcribe" in front) == (True, True)
    assert "second stage" in inside.get("/researcher/raters").text
    assert "Rates finished talks" in inside.get(f"/researcher/raters/{one.rater.id}").text
    talk = inside.get(f"/researcher/talks/{one.person.talks[0].id}").text
    assert talk.count(one.rater.id) >= 4


def test_a_second_stage_may_come_later_and_stays_once_it_has_raters(tmp_path: Path) -> None:
    for archive in an_archive(tmp_path / "data", study(), talkers=1):
        with archive.db.write() as session:
            begin(session, STUDY)
        later = build(STUDY, tmp_path / "data", lambda name, decoding: Slow())
        assert Visitor(later).join().status_code == 200
        later.db.close()
        with pytest.raises(InputError, match="second_stage changed"), archive.db.write() as session:
            begin(session, study(second_stage={**STAGE, "per_talk": 5}))


# --- words ---


class Scripted:
    """A detector and a transcriber that know the sound."""

    source = "scripted"

    def spans(self, audio: np.ndarray, sample_rate: int) -> Track:
        return track([(0.2, 0.9), (1.2, 1.4)]) if np.abs(audio).max() > 0.2 else track([(1.0, 1.1)])

    def words(self, audio: np.ndarray, sample_rate: int, speech: Track) -> tuple[Word, ...]:
        return tuple(Word(f"w{k}", span.start, span.end) for k, span in enumerate(speech))


def test_both_sides_are_written_down_by_the_same_ear_and_make_turns(archive: Archive) -> None:
    folder = next(path.parent for path in archive.folder.glob("*/talk.json"))
    heard = write_down(folder, Scripted(), Scripted())
    assert heard is not None
    assert {one.source for one in heard.transcripts} == {"scripted"}
    assert turns_of(heard) == [Turn("agent", 0.2, 1.4, "w0 w1"), Turn("user", 1.0, 1.1, "w0")]


def test_words_are_written_down_by_one_command_once(archive: Archive) -> None:
    for words in archive.folder.glob(f"*/{FILE}"):
        words.unlink()
    told = []
    for _ in range(2):
        words_ = ["study", "transcribe", str(archive.folder.parent), "--asr", "pocketsphinx", "--json"]
        made = CliRunner().invoke(cli, words_, catch_exceptions=False)
        told.append(msgspec.json.decode(made.stdout))
    assert told == [{"written": 6, "talks": 6}, {"written": 0, "talks": 6}]
