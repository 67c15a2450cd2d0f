"""The researcher's pages over real HTTP routes and a real database: who gets in, what is shown, what is done."""

import asyncio
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("httpx", reason="httpx is missing; get it with: pip install -e '.[test]'")

import httpx
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from test_app_study_export import GOOD, STUDY, go_through

from app.live.robot import Robot
from app.study import answers, raters, talks
from app.study.access import RATER, RESEARCHER
from app.study.house import House, build
from app.study.people import arm_names, judged
from app.study.researcher.door import WRONG
from app.study.researcher.monitor import watch
from app.study.tables import RatingRow, SubmissionRow, TalkRow
from eval.pairs.folder import FolderTalks
from eval.pairs.marks import read_marks
from eval.pairs.settings import PairSettings
from eval.pairs.source import MarkedTalks
from eval.pairs.talks import RawTalk
from live_house import Slow, serving
from protocols.timeline import Track
from study_house import database, study

pytestmark = pytest.mark.real_time

OURS = {"origin": "http://testserver"}


class Desk(NamedTuple):
    """A study that people have been through, and a browser."""

    house: House
    browser: TestClient
    raters: list[str]
    folder: Path

    def enter(self) -> httpx.Response:
        return self.post("/researcher", password=self.house.password or "", key="")

    def post(self, place: str, follow: bool = False, **fields: str) -> httpx.Response:
        """A form as the page sends it."""
        sent = {"key": self.key(), **fields}
        return self.browser.post(place, data=sent, headers=OURS, follow_redirects=follow)

    def key(self) -> str:
        found = re.search(r'name="key" value="(\w+)"', self.browser.get("/researcher").text)
        return found.group(1) if found else ""

    def talks(self, rater: str) -> list[str]:
        with self.house.db.read() as session:
            return list(session.scalars(select(TalkRow.id).where(TalkRow.rater_id == rater)))


def a_desk(folder: Path) -> Iterator[Desk]:
    house = build(STUDY, folder, lambda name, decoding: Slow())
    people = [go_through(house.db, folder / "talks", STUDY, likes) for likes in (4, 3)]
    people.append(go_through(house.db, folder / "talks", STUDY, 1, instruction=3))
    with TestClient(house.app) as browser:
        yield Desk(house, browser, people, folder / "talks")
    house.db.close()


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Desk]:
    yield from a_desk(tmp_path / "data")


@pytest.fixture
def desk(outside: Desk) -> Desk:
    """Inside, and free to change things."""
    assert outside.enter().status_code == 303
    return outside


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Inside, for tests that only look."""
    for one in a_desk(tmp_path_factory.mktemp("study") / "data"):
        assert one.enter().status_code == 303
        yield one


def test_a_wrong_password_opens_nothing_and_many_of_them_shut_the_door(outside: Desk) -> None:
    for _ in range(WRONG):
        assert outside.post("/researcher", password="guess").status_code == 403
    assert outside.enter().status_code == 429
    assert not outside.browser.cookies


def test_without_a_session_no_page_shows_and_no_form_does_anything(outside: Desk) -> None:
    talk = outside.talks(outside.raters[0])[0]
    for place in ("live", "raters", f"raters/{outside.raters[0]}", "talks", f"talks/{talk}", f"talks/{talk}/heard",
                  "files", f"raters/{outside.raters[0]}/forget"):  # fmt: skip
        answer = outside.browser.get(f"/researcher/{place}", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/researcher"), place
    for place in ("status", "export", "marks", f"raters/{outside.raters[0]}/forget"):
        assert outside.post(f"/researcher/{place}", status="closed", again=outside.raters[0]).status_code == 403
    assert outside.talks(outside.raters[0])


def test_a_raters_cookie_is_no_researchers(shelf: Desk) -> None:
    rater = TestClient(shelf.house.app)
    rater.cookies.set(RATER, shelf.browser.cookies[RESEARCHER])
    assert 'type="password"' in rater.get("/researcher").text
    plain = Response()
    shelf.house.keys.remember(plain, RATER, shelf.raters[0])
    signed = plain.headers["set-cookie"].split("=", 1)[1].split(";")[0]
    rater.cookies.set(RESEARCHER, signed)
    assert rater.get("/researcher/raters", follow_redirects=False).status_code == 303
    assert "httponly" in plain.headers["set-cookie"].lower()


def test_a_new_password_ends_older_sessions(desk: Desk, tmp_path: Path) -> None:
    again = build(STUDY, tmp_path / "data", lambda name, decoding: Slow(), new=True)
    assert again.password
    assert again.password != desk.house.password
    assert desk.browser.get("/researcher/raters", follow_redirects=False).status_code == 303
    again.db.close()


def test_a_form_without_the_sessions_key_or_from_elsewhere_does_nothing(shelf: Desk) -> None:
    assert shelf.post("/researcher/status", status="closed", key="").status_code == 403
    assert shelf.post("/researcher/status", status="closed", key="0" * 64).status_code == 403
    elsewhere = shelf.browser.post("/researcher/status", data={"status": "closed", "key": shelf.key()},
                                  headers={"origin": "https://elsewhere.example"})  # fmt: skip
    assert elsewhere.status_code == 403
    assert "People may come in and talk" in shelf.browser.get("/researcher").text


def test_a_paused_study_takes_nobody_in_and_begins_no_talk_until_it_goes_on(desk: Desk) -> None:
    with desk.house.db.write() as session:
        rater = raters.join(session, STUDY, "link")
        raters.note(session, rater, "consent", given=True)
        raters.note(session, rater, "devices", good=True, enough=True)
        raters.note(session, rater, "comprehension", right=True)
        plain = Response()
        desk.house.keys.remember(plain, RATER, rater.id)
    desk.browser.cookies.set(RATER, plain.headers["set-cookie"].split("=", 1)[1].split(";")[0])
    assert desk.post("/researcher/status", status="paused").status_code == 303
    refused = desk.browser.post("/study/talk", headers=OURS)
    assert (refused.status_code, "paused" in refused.json()["error"]) == (409, True)
    with pytest.raises(raters.NotInvited, match="nobody in"), desk.house.db.write() as session:
        raters.join(session, STUDY, "link")
    assert desk.post("/researcher/status", status="open").status_code == 303
    assert "token" in desk.browser.post("/study/talk", headers=OURS).json()
    assert desk.post("/researcher/status", status="elsewise").status_code == 409


def test_the_first_page_counts_people_and_arms_and_hides_the_mean_until_the_study_is_closed(desk: Desk) -> None:
    page = desk.browser.get("/researcher").text
    assert re.search(r"finished</th><td class=\"n\">3<", page)
    assert "base" in page
    assert "aligned against base" in page
    with desk.house.db.read() as session:
        (watched,) = watch(STUDY, judged(session, STUDY), arm_names(session, STUDY))
    assert watched.state is not None
    assert (watched.state.n, watched.state.value) == (2, 2.0)
    assert "+2.00" not in page
    desk.post("/researcher/status", status="closed")
    assert "+2.00" in desk.browser.get("/researcher").text


def test_a_talk_in_progress_is_shown_with_its_rater_arm_and_lag(tmp_path: Path) -> None:
    house = build(STUDY, tmp_path / "data", lambda name, decoding: Slow())

    async def app() -> FastAPI:
        return house.app

    with house.db.write() as session:
        joined = raters.join(session, STUDY, "link")
        raters.note(session, joined, "consent", given=True)
        raters.note(session, joined, "devices", good=True, enough=True)
        raters.note(session, joined, "comprehension", right=True)
        plain = Response()
        house.keys.remember(plain, RATER, joined.id)
    cookie = plain.headers["set-cookie"].split("=", 1)[1].split(";")[0]

    async def watched(base: str) -> str:
        origin = base.rstrip("/")
        async with httpx.AsyncClient(base_url=base, headers={"origin": origin}, cookies={RATER: cookie}) as browser:
            settings = (await browser.post("/study/talk")).json()
            robot = Robot(base.replace("http", "ws") + "live/ws", settings["token"])
            talking = asyncio.create_task(robot.talk(np.zeros(24_000, np.int16), 60.0))
            await browser.post("/researcher", data={"password": house.password or ""})
            while "connected" not in (page := (await browser.get("/researcher/live")).text):
                await asyncio.sleep(0.02)
            await browser.post("/study/problem", json={"comment": ""})  # ends the talk
            await talking
        return page

    with serving(house.live, asyncio.run(app())) as running:
        page = asyncio.run(watched(running.page))
    assert joined.id in page
    assert re.search(r"<td>(base|aligned)</td>", page)
    house.db.close()


def test_talks_are_narrowed_by_arm_scenario_and_flag(shelf: Desk) -> None:
    def shown(**wanted: str) -> int:
        page = shelf.browser.get("/researcher/talks", params=wanted).text
        return int((re.search(r">(\d+) talks?[,.]", page) or ["", "0"])[1])

    with shelf.house.db.read() as session:
        codes = {name: code for code, name in arm_names(session, STUDY).items()}
    assert shown() == 9
    assert shown(arm=codes["aligned"]) == 3
    assert shown(flag="instruction") == 3
    assert sum(shown(scenario=one.id) for one in STUDY.scenarios) == 9
    assert shown(rater=shelf.raters[0]) == 3


def test_a_talk_has_its_picture_its_sound_and_what_was_said_of_it(shelf: Desk) -> None:
    talk = shelf.talks(shelf.raters[0])[0]
    page = shelf.browser.get(f"/researcher/talks/{talk}").text
    assert "<svg viewBox" in page
    assert "coherence" in page
    assert "mark: Nice" in page
    sound = shelf.browser.get(f"/researcher/talks/{talk}/heard")
    assert (sound.headers["content-type"], sound.content) == (
        "audio/flac",
        (shelf.folder / talk / "heard.flac").read_bytes(),
    )
    part = shelf.browser.get(f"/researcher/talks/{talk}/heard", headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"fLaC")
    assert shelf.browser.get(f"/researcher/talks/{talk}/modelled").status_code == 404


PLACES = (
    "talks/../../../etc/passwd/heard", "talks/..%2f..%2fstudy.sqlite/heard", "talks/%2e%2e/heard",
    "talks/{talk}/..%2fkey", "talks/{talk}/talk.json", "talks/000000000000000000000000/heard", "page/..%2fpages.py",
    "page/%2e%2e%2fdoor.py", "raters/..%2f..%2fkey",
)  # fmt: skip


def test_nothing_that_is_asked_for_becomes_a_path(shelf: Desk) -> None:
    talk = shelf.talks(shelf.raters[0])[0]
    key = (shelf.folder / "key").read_bytes()
    for place in PLACES:
        answer = shelf.browser.get(f"/researcher/{place.format(talk=talk)}")
        assert answer.status_code == 404, place
        assert not [secret for secret in (key, b"SQLite", b"live_talk", b"import") if secret in answer.content], place


def test_a_person_is_forgotten_after_a_second_look_and_nobody_else_is(desk: Desk) -> None:
    gone, stays = desk.raters[0], desk.raters[1]
    talks, place = desk.talks(gone), f"/researcher/raters/{gone}/forget"
    assert "cannot be undone" in desk.browser.get(place).text
    assert desk.post(place, again=stays).status_code == 409
    assert desk.post(place, again=gone, key="").status_code == 403
    assert desk.talks(gone) == talks
    assert desk.post(place, again=gone).status_code == 200
    assert desk.talks(gone) == []
    assert not any((desk.folder / talk).exists() for talk in talks)
    with desk.house.db.read() as session:
        assert session.scalar(select(func.count()).where(RatingRow.rater_id == gone)) == 0
        assert session.scalar(select(func.count()).where(RatingRow.rater_id == stays))
    assert all((desk.folder / talk).exists() for talk in desk.talks(stays))
    assert desk.browser.get(f"/researcher/raters/{gone}").status_code == 404
    assert "1 asked to be forgotten" in desk.browser.get("/researcher").text


def test_an_export_comes_as_one_file_and_leaves_nothing_behind(shelf: Desk) -> None:
    answer = shelf.post("/researcher/export", sound="yes")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        manifest = json.loads(archive.read("small-export/manifest.json"))
        assert {f"small-export/{name}" for name in manifest["files"]} < set(archive.namelist())
    assert not list(shelf.folder.parent.glob(".download-*"))


class Silent:
    source = "test"

    def spans(self, samples: np.ndarray, sample_rate: int) -> Track:
        return ()


def test_marks_leave_as_the_pair_builder_reads_them(shelf: Desk, tmp_path: Path) -> None:
    answer = shelf.post("/researcher/marks")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(tmp_path / "marked")
    marks = read_marks(tmp_path / "marked" / "marks.jsonl")
    source = MarkedTalks(FolderTalks(tmp_path / "marked" / "talks", Silent(), None, PairSettings()), marks)
    read = [source.read(name) for name in source.names()]
    assert len(read) == 4  # two raters who count, two talks each; no trap
    assert all(isinstance(talk, RawTalk) and len(talk.marks) == 1 and not talk.marks[0].problematic for talk in read)


def test_what_a_rater_wrote_is_text_on_every_page(desk: Desk) -> None:
    with desk.house.db.write() as session:
        talk = desk.talks(desk.raters[0])[0]
        form = session.scalars(select(SubmissionRow).where(SubmissionRow.form == f"rate-{talk}")).one()
        form.comment = "<script>alert(1)</script>"
    page = desk.browser.get(f"/researcher/talks/{talk}")
    assert "&lt;script&gt;alert" in page.text
    assert "<script>alert" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r'(src|href)="(https?:)?//', page.text)


def test_between_raters_the_e_value_grows_over_pairs_of_raters_and_says_who_waits(tmp_path: Path) -> None:
    of = study(design="between", blinding=None, instruction=False)
    db = database(tmp_path, of)
    for k in range(25):
        with db.write() as session:
            rater = raters.join(session, of, "link")
            plan = raters.plan_for(of, rater)
            talk = talks.open_talk(session, of, rater, plan, 0)
            talks.settle(session, of, talk.id, talks.Outcome(True, "over", GOOD))
            level = 4 if plan.slots[0].arm == "aligned" else k % 2
            given = [answers.Answer(question.id, level) for question in of.all_questions]
            answers.submit(session, rater, answers.Form(f"rate-{talk.id}", "k", 20.0), [talk.id], given)
            raters.leave(session, rater, "complete")
    with db.read() as session:
        found = judged(session, of)
        (seen,) = watch(of, found, arm_names(session, of))
        assert watch(of, found[:1], arm_names(session, of))[0].state is None
    assert seen.state is not None
    assert (seen.state.n, seen.decided, seen.state.value > 2) == (12, True, True)
    db.close()
