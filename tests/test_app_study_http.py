"""A study's pages from outside: who comes in, what is refused, what survives a killed server."""

# ruff: noqa: E402 (what is imported below may be missing)

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

pytestmark = pytest.mark.real_time

httpx = pytest.importorskip("httpx", reason="httpx is missing; get it with: pip install -e '.[test]'")
pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")

from sqlalchemy import select

from app.live.robot import Robot
from app.live.tokens import new_talk_id
from app.study import answers, guard, raters, talks
from app.study.access import OPEN, PREVIEW
from app.study.answers import Form
from app.study.house import House, build
from app.study.journey import next_step
from app.study.people import judged
from app.study.tables import RaterRow, TalkRow
from builders import ROOT
from live_house import Slow, serving
from study_house import study

STUDY = study(durations=[1.0], least=0.0, most_lag=30.0, comprehension=[], quality={"min_speech": None})
GOOD = {"quiet": True, "ears": 3, "trials": 3, "level_db": -20}


class Site(NamedTuple):
    house: House
    base: str
    visitors: list[Any]

    def visitor(self, **headers: str) -> Any:
        self.visitors.append(httpx.Client(base_url=self.base, headers={"Origin": self.base, **headers}, timeout=30))
        return self.visitors[-1]

    def leave(self) -> None:
        for visitor in self.visitors:
            visitor.close()

    def link(self, what: str = OPEN) -> str:
        return self.house.keys.link(what)

    def enter(self, visitor: Any, what: str = OPEN) -> None:
        """Consent, and a good check of devices."""
        said = visitor.post("/join", json={"link": self.link(what), "given": True})
        assert said.json() == {"next": "/study"}
        assert visitor.post("/study/devices", json=GOOD).status_code == 200

    def newest(self) -> RaterRow:
        with self.house.db.read() as session:
            found = session.scalars(select(RaterRow).order_by(RaterRow.created_at.desc())).first()
            assert found is not None
            return found

    def count(self) -> int:
        with self.house.db.read() as session:
            return len(session.scalars(select(RaterRow)).all())


def _open(name: str, decoding: object) -> Slow:
    return Slow()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    house = build(STUDY, tmp_path_factory.mktemp("study") / "data", _open)
    with serving(house.live, house.app) as running:
        site = Site(house, running.page.rstrip("/"), [])
        yield site
        site.leave()
    house.db.close()


def test_every_page_shuts_third_parties_out(site: Site) -> None:
    for path in ("/", f"/join/{site.link()}", "/study/style.css", "/nothing", "/researcher"):
        headers = site.visitor().get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", ""])
def test_what_does_not_come_from_our_own_page_is_refused(site: Site, origin: str) -> None:
    before = site.count()
    visitor = site.visitor(Origin=origin)
    assert visitor.post("/join", json={"link": site.link(), "given": True}).status_code == 403
    assert site.count() == before


def test_a_forged_link_opens_nothing(site: Site) -> None:
    link = site.link()
    for forged in (link[:-2], "x" + link, "a.b.c", "../../etc/passwd", link.replace(link[:4], "ImFs", 1)):
        assert site.visitor().get(f"/join/{forged}").status_code in (403, 404)
        said = site.visitor().post("/join", json={"link": forged, "given": True})
        assert (said.status_code, "not one of ours" in said.json()["error"]) == (409, True)


def test_a_forged_cookie_is_nobody(site: Site) -> None:
    visitor = site.visitor()
    visitor.cookies.set("rater", site.newest().id if site.count() else "r-1")
    assert visitor.get("/study").status_code == 303
    assert visitor.post("/study/talk", json={}).status_code == 409


def test_a_clock_that_jumps_forgets_no_rater_and_gives_no_place_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    house = build(STUDY, tmp_path / "data", _open)
    with serving(house.live, house.app) as running:
        site = Site(house, running.page.rstrip("/"), [])
        visitor = site.visitor()
        site.enter(visitor)
        rater = site.newest()
        for seconds in (-7_200, 7_200):
            jumped = datetime.now(UTC) + timedelta(seconds=seconds)
            with monkeypatch.context() as clock:
                for module in ("itsdangerous.timed", "app.study.access"):
                    clock.setattr(f"{module}.time", SimpleNamespace(time=jumped.timestamp))
                clock.setattr("app.study.raters.datetime", SimpleNamespace(now=lambda zone, at=jumped: at))
                assert visitor.get("/study").status_code == 200
                site.enter(site.visitor())  # whoever comes next gets a place of their own
                assert visitor.get("/study").status_code == 200
            assert visitor.get(f"/join/{site.link()}").headers["location"] == "/study"
        with house.db.read() as session:
            again = session.get_one(RaterRow, rater.id)
            assert (again.cell, again.holds, again.status) == (rater.cell, True, "active")
            held = session.scalars(select(RaterRow.cell).where(RaterRow.holds)).all()
        assert (site.count(), len(set(held))) == (3, len(held))
        site.leave()
    house.db.close()


def test_a_cookie_is_kept_from_scripts_and_other_sites(site: Site) -> None:
    said = site.visitor().post("/join", json={"link": site.link(), "given": True})
    cookie = said.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_paths_lead_nowhere_else(site: Site) -> None:
    for path in (
        "/study/../app.py",
        "/study/%2e%2e%2fdesk.py",
        "/study/desk.py",
        "/live/%2e%2e/server.py",
        "/talks/key",
    ):
        assert site.visitor().get(path).status_code == 404


def test_a_body_that_is_too_long_is_cut_off_and_nonsense_is_no_step(site: Site) -> None:
    visitor = site.visitor()
    site.enter(visitor)
    assert visitor.post("/study/rate", content=b"x" * 100_000).status_code == 413
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 30_000):
        assert visitor.post("/study/rate", content=body).status_code == 409
    for kind in ("consent", "finish", "out", "nothing"):
        assert visitor.post(f"/study/{kind}", json={}).status_code == 409


def test_a_form_about_a_talk_of_somebody_else_is_refused(site: Site) -> None:
    victim, thief = site.visitor(), site.visitor()
    site.enter(victim)
    victim.post("/study/talk", json={})
    with site.house.db.read() as session:
        talk = session.scalars(select(TalkRow.id).order_by(TalkRow.opened_at.desc())).first()
    site.enter(thief)
    answers = {"coherence": "4", "engagement": "4", "relevance": "4"}
    said = thief.post("/study/rate", json={"form": f"rate-{talk}", "key": new_talk_id(), "answers": answers})
    assert (said.status_code, "behind" in said.json()["error"]) == (409, True)


def test_an_address_may_send_only_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BURST", 10.0)
    monkeypatch.setattr(guard, "PER_MINUTE", 1.0)
    house = build(STUDY, tmp_path / "data", _open)
    with serving(house.live, house.app) as running, Site(house, running.page.rstrip("/"), []).visitor() as visitor:
        seen = [visitor.get("/").status_code for _ in range(14)]
        files = [visitor.get("/live/call.js").status_code for _ in range(14)]
    house.db.close()
    assert seen == [200] * 10 + [429] * 4
    assert files == [200] * 14


def test_practice_and_trap_are_talks_with_systems_of_their_own(tmp_path: Path) -> None:
    wide = study(comprehension=[], practice={"seconds": 3}, trap={"arm": "base"})
    house = build(wide, tmp_path / "data", _open)
    with serving(house.live, house.app) as running, Site(house, running.page.rstrip("/"), []).visitor() as visitor:
        Site(house, running.page.rstrip("/"), []).enter(visitor)
        seen = []
        for slot in (-1, 0, 1, 2):
            assert visitor.post("/study/talk", json={}).status_code == 200
            with house.db.write() as session:
                rater = session.scalars(select(RaterRow)).one()
                row = session.scalars(select(TalkRow).where(TalkRow.slot == slot)).one()
                seen.append((row.kind, row.duration))
                talks.settle(session, wide, row.id, talks.Outcome(True, "over", {"seconds": 5.0}))
                step = next_step(wide, raters.plan_for(wide, rater), raters.progress_of(session, rater))
                while step.form is not None:
                    answers.submit(session, rater, Form(step.form, "k"), step.talks, [])
                    step = next_step(wide, raters.plan_for(wide, rater), raters.progress_of(session, rater))
    house.db.close()
    assert seen == [("practice", 3.0), ("talk", 5.0), ("talk", 5.0), ("trap", 5.0)]


def test_prolifics_person_comes_back_as_the_same_rater(site: Site) -> None:
    query = "/join?PROLIFIC_PID=p77&STUDY_ID=s&SESSION_ID=x1"
    page = site.visitor().get(query)
    assert (page.status_code, "p77" in page.text) == (200, True)
    panel = {"source": "prolific", "person": "p77", "session": "x1"}
    for _ in range(2):
        assert site.visitor().post("/join", json={"panel": panel, "given": True}).json() == {"next": "/study"}
    thief = site.visitor().post("/join", json={"panel": {**panel, "session": "x2"}, "given": True})
    assert "another session" in thief.json()["error"]
    with site.house.db.read() as session:
        assert len(session.scalars(select(RaterRow).where(RaterRow.external_id == "p77")).all()) == 1


def test_mturks_preview_makes_no_rater(site: Site) -> None:
    before = site.count()
    page = site.visitor().get("/join?assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE&hitId=h")
    assert "This is a preview" in page.text
    assert site.visitor().get("/join?assignmentId=a1&workerId=w1&hitId=h").text.count("w1") == 1
    assert site.count() == before


def test_a_personal_link_leads_back_to_its_rater(site: Site) -> None:
    with site.house.db.write() as session:
        invitation = raters.invite(session, STUDY, "Ada")
    first, second = site.visitor(), site.visitor()
    site.enter(first, invitation)
    one = site.newest().id
    second.post("/join", json={"link": site.link(invitation), "given": True})
    assert one in second.get("/study").text
    assert first.get(f"/join/{site.link(invitation)}").status_code == 303


def test_a_preview_is_in_no_cell_and_in_no_export(site: Site) -> None:
    site.enter(site.visitor(), PREVIEW)
    newest = site.newest()
    assert (newest.source, newest.holds) == ("preview", False)
    with site.house.db.read() as session:
        assert newest.id not in [one.rater.id for one in judged(session, STUDY)]


def test_after_two_poor_checks_a_rater_may_go_on_knowingly(site: Site) -> None:
    visitor = site.visitor()
    visitor.post("/join", json={"link": site.link(), "given": True})
    poor = {**GOOD, "quiet": False}
    visitor.post("/study/devices", json={**poor, "anyway": True})  # not yet
    visitor.post("/study/devices", json=poor)
    assert "Your microphone" in visitor.get("/study").text
    visitor.post("/study/devices", json={**poor, "anyway": True})
    assert "Talk 1 of 2" in visitor.get("/study").text


SERVER = """
import sys; sys.path.insert(0, "tests")
import uvicorn
from pathlib import Path
from app.live.serve import uvicorn_options
from app.study.house import build
from test_app_study_http import STUDY, _open
house = build(STUDY, Path(sys.argv[1]), _open)
print(house.keys.link("open"), flush=True)
uvicorn.run(house.app, port=int(sys.argv[2]), log_level="error", **uvicorn_options())
"""


def _server(folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder), str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        link = process.stdout.readline().strip()
    while process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/")
            return process, link
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def test_a_killed_server_voids_the_talk_and_the_rater_goes_on_with_everything_else_kept(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    process, link = _server(tmp_path / "data", port)
    visitor = httpx.Client(base_url=base, headers={"Origin": base}, timeout=30)
    try:
        visitor.post("/join", json={"link": link, "given": True})
        visitor.post("/study/devices", json=GOOD)
        settings = visitor.post("/study/talk", json={}).json()
        again = visitor.post("/study/talk", json={}).json()  # another tab: the same talk
        assert settings["token"].split(".")[0] == again["token"].split(".")[0]
        robot = Robot(f"ws://127.0.0.1:{port}/live/ws", settings["token"])
        asyncio.run(robot.talk(np.zeros(0, np.int16), 0.5, end=False))
        assert 'data-going="true"' in visitor.get("/study").text
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    process, _ = _server(tmp_path / "data", port)
    try:
        page = visitor.get("/study").text
        assert "does not count" in page
        assert "Talk 1 of 2" in page
        assert visitor.post("/study/talk", json={}).json()["token"].split(".")[0] != settings["token"].split(".")[0]
    finally:
        visitor.close()
        process.kill()
        process.wait()
