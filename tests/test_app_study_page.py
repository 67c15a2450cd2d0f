"""A study in Debian's Chromium with a robot as a rater: from the link to the completion code."""

# ruff: noqa: E402 (what is imported below may be missing)

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing; get it with: pip install -e '.[test]'"
)

from sqlalchemy import select
from test_app_study_export import go_through
from test_app_study_second import written

from app.study.access import OPEN
from app.study.database import FILE
from app.study.house import House, build
from app.study.people import Judged, arm_names, judged
from app.study.tables import FactRow, RaterRow, RatingRow
from live_house import Slow, serving
from live_stage import FLAGS, fake_microphone
from study_house import study

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("live"), pytest.mark.real_time]

STUDY = study(
    durations=[1.5], least=0.0, most_lag=30.0, moments=["too-slow", "nice"], redo=3,
    scenarios=[{"id": "weekend", "text": "Plan a weekend."}], quality={"min_speech": None},
)  # fmt: skip
LEFT = "Math.random = () => 0.25;"  # the tone is in the left ear each time
AXE = os.environ.get("DUOLOGUE_AXE")
ARMS = ("base", "aligned", "echo", "silence")


class Robot:
    """A rater at a browser of its own."""

    def __init__(self, stage: "Stage", script: str = LEFT) -> None:
        self.context = stage.browser.new_context(permissions=["microphone"])
        self.context.set_default_timeout(90_000)  # a starved machine takes its time
        self.context.add_init_script(script)
        self.base, self.seen, self.failed = stage.base, list[str](), list[str]()
        self.asked: list[str] = []
        self.page = self._window()

    def _window(self) -> Any:
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.failed.append(str(error)))
        page.on("response", self._keep)
        page.on("websocket", lambda ws: ws.on("framereceived", lambda data: self.seen.append(str(data)[:2_000])))
        page.on("request", lambda request: self.asked.append(request.url))
        return page

    def come_back(self, link: str) -> None:
        """Close the window, and open the link in another one."""
        self.page.close()
        self.page = self._window()
        self.page.goto(link)

    def _keep(self, response: Any) -> None:
        self.seen.append(response.url)
        if "json" in response.headers.get("content-type", ""):
            with suppress(playwright.Error):  # the page has gone on before it was read
                self.seen.append(response.text())

    def join(self, link: str) -> None:
        self.page.goto(link)
        self.page.click("button[value=yes]")
        self.page.wait_for_selector("#check")

    def skip_devices(self) -> None:
        """Send a good check as the page would; the check itself is tested where it is made."""
        self.page.evaluate(
            """async () => { await fetch("/study/devices", {method: "POST", body: JSON.stringify(
            {level_db: -20, ears: 3, trials: 3, echo_db: null, echo_delay: null, quiet: true, rate: 24000})}); }"""
        )
        self.page.goto(f"{self.base}/study")

    def understand(self) -> None:
        self.page.check("input[name=check0][value='2']")
        self.page.click("button.main")

    def ready(self, link: str) -> None:
        self.join(link)
        self.skip_devices()
        self.understand()

    def talk(self, during: Callable[[], None] = lambda: None) -> None:
        self.page.click("#call [data-part=button]:not([disabled])")
        self.page.wait_for_selector("#call[data-state=listening], #call[data-state=speaking]")
        during()
        self.page.wait_for_selector("h1:has-text('How was')")

    def fill(self, nth: int) -> None:
        """One answer to every question; the instruction is followed."""
        for fieldset in self.page.locator("fieldset[data-question]").all():
            asked = fieldset.get_attribute("data-question") == "instruction"
            fieldset.locator("input").nth(1 if asked else nth).check()

    def send(self) -> None:
        self.page.click("form[data-form] button.main")

    def rate(self, nth: int) -> None:
        self.fill(nth)
        self.send()

    def look(self) -> None:
        """Let axe-core look at the page, where it was given: DUOLOGUE_AXE names its axe.min.js."""
        if AXE:
            for scheme in ("dark", "light"):
                self.page.emulate_media(color_scheme=scheme)
                found = self.page.evaluate(Path(AXE).read_text(encoding="utf-8") + ";axe.run()")
                bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
                assert [(scheme, v["id"], [node["html"] for node in v["nodes"]]) for v in bad] == []

    def close(self) -> None:
        assert self.failed == []
        assert [url for url in self.asked if not url.startswith((self.base, "data:", "blob:"))] == []
        self.context.close()


class Stage(NamedTuple):
    browser: Any
    house: House
    base: str
    folder: Path

    @property
    def link(self) -> str:
        return f"{self.base}/join/{self.house.keys.link(OPEN)}"

    def raters(self) -> list[Judged]:
        with self.house.db.read() as session:
            return judged(session, STUDY)

    def facts(self, rater: str) -> list[str]:
        with self.house.db.read() as session:
            return list(session.scalars(select(FactRow.kind).where(FactRow.rater_id == rater).order_by(FactRow.id)))


def _open(name: str, decoding: object) -> Slow:
    return Slow()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("study")
    fake_microphone(folder / "mic.wav")
    house = build(STUDY, folder / "data", _open)

    async def app() -> Any:
        return house.app

    with serving(house.live, asyncio.run(app())) as running, playwright.sync_playwright() as driver:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={folder / 'mic.wav'}"]
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=flags)
        yield Stage(browser, house, running.page.rstrip("/"), folder / "data")
        browser.close()
    house.db.close()


def test_a_rater_goes_from_the_link_to_the_code_and_the_next_one_sees_the_other_order(stage: Stage) -> None:
    robot = Robot(stage)
    page = robot.page
    page.goto(stage.link)
    robot.look()
    robot.join(stage.link)
    robot.look()
    robot.skip_devices()
    robot.look()
    robot.understand()
    page.wait_for_selector("h1:has-text('Talk 1 of 2')")
    robot.look()
    robot.talk(during=lambda: page.keyboard.press("2"))
    robot.look()
    page.fill("form[data-form] textarea", "<img src=x onerror='window.evil = 1'><script>window.evil = 1</script>")
    robot.send()  # not complete: the page says so, stores nothing, and keeps what is filled in
    page.wait_for_selector("fieldset.missing")
    robot.fill(3)
    page.reload()
    assert page.locator("fieldset input:checked").count() == len(page.locator("fieldset").all())
    assert "<script>" in page.input_value("form[data-form] textarea")
    robot.send()
    page.wait_for_selector("h1:has-text('Talk 2 of 2')")
    robot.talk()
    robot.rate(1)
    page.wait_for_selector("h1:has-text('The last two talks')")
    robot.look()
    page.check("input[name=preference][value='-2']")
    page.check("input[name=choices] >> nth=1")
    robot.send()
    page.wait_for_selector("h1:has-text('One last question')")
    robot.look()
    robot.rate(2)
    code = page.inner_text(".code")
    robot.look()
    said = " ".join([*robot.seen, page.content()])
    assert [word for word in ARMS if f'"{word}"' in said or f"/{word}" in said] == []
    assert page.evaluate("window.evil") is None
    robot.close()

    (first,) = stage.raters()
    assert (first.rater.status, first.rater.code, first.rater.cell) == ("complete", code, 0)
    with stage.house.db.read() as session:
        names = arm_names(session, STUDY)
        marks = [(m.kind, m.at) for talk in session.merge(first.rater).talks for m in talk.marks]
    assert [names[talk.arm or ""] for talk in first.person.talks] == ["base", "aligned"]
    assert [kind for kind, _ in marks] == ["nice"]
    assert 0 <= marks[0][1] <= 1.5
    answers = {(r.question, r.talk_id): r.answer for r in first.person.ratings}
    a, b = (talk.id for talk in first.person.talks)
    assert answers["coherence", a] == 3
    assert answers["coherence", b] == answers["instruction", b] == 1
    assert (answers["preference", a], answers["guess", a]) == (-2, None)
    assert [f.outcome for f in first.findings if f.rule == "instruction"] == ["pass"]
    assert first.person.submissions[0].comment.startswith("<img")  # type: ignore[union-attr]

    other = Robot(stage)
    other.ready(stage.link)
    other.talk()
    other.close()
    second = stage.raters()[1]
    assert [names[talk.arm or ""] for talk in second.person.talks] == ["aligned"]


def test_a_form_outlives_its_window_and_is_sent_until_a_locked_database_has_stored_it(stage: Stage) -> None:
    robot = Robot(stage)
    robot.ready(stage.link)
    robot.talk()
    robot.fill(2)
    robot.page.fill("form[data-form] textarea", "half a sent")
    robot.come_back(stage.link)
    assert robot.page.input_value("form[data-form] textarea") == "half a sent"
    assert robot.page.locator("fieldset input:checked").count() == len(robot.page.locator("fieldset").all())
    holder = sqlite3.connect(stage.folder / FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    robot.send()
    robot.page.wait_for_selector(".error:has-text('could not be stored yet')")
    holder.execute("ROLLBACK")
    holder.close()
    robot.page.wait_for_selector("h1:has-text('Talk 2 of 2')")
    rater = stage.raters()[-1]
    assert len(rater.person.submissions) == 1
    assert len(rater.person.ratings) == 3
    robot.close()


def test_a_talk_with_a_technical_problem_is_held_again_and_two_tabs_are_one_rater(stage: Stage) -> None:
    robot = Robot(stage)
    robot.ready(stage.link)
    robot.talk()
    tab = robot.context.new_page()
    tab.goto(f"{stage.base}/study")
    robot.page.click("summary:has-text('Technical problem')")
    robot.page.fill("form[data-problem] textarea", "It crackled.")
    robot.page.click("form[data-problem] button")
    robot.page.wait_for_selector(".notice:has-text('does not count')")
    tab.bring_to_front()
    for fieldset in tab.locator("fieldset").all():
        fieldset.locator("input").first.check()
    tab.click("form[data-form] button.main")  # of a talk that is void by now
    tab.wait_for_selector(".error:has-text('this page is behind')")
    rater = stage.raters()[-1]
    assert rater.person.talks == []
    assert rater.person.ratings == []
    assert "problem" in stage.facts(rater.rater.id)
    robot.close()


def test_who_does_not_agree_leaves_no_trace_and_a_phone_is_told(stage: Stage) -> None:
    before = len(stage.raters())
    robot = Robot(stage)
    robot.page.goto(stage.link)
    robot.page.click("button[value=no]")
    robot.page.wait_for_selector("text=Nothing was stored")
    robot.close()
    phone = stage.browser.new_context(user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 19_0) Mobile/15E148")
    page = phone.new_page()
    page.goto(stage.link)
    assert "Please use a computer" in page.inner_text("h1")
    phone.close()
    assert len(stage.raters()) == before


def test_the_device_check_is_part_of_the_way(stage: Stage) -> None:
    robot = Robot(stage)
    robot.join(stage.link)
    page = robot.page
    page.click("#check button.main")
    page.wait_for_selector("#check[data-state=heard]")
    page.click("#check button.main")
    for trial in (1, 2, 3):
        page.wait_for_selector(f"#check [data-part=state]:has-text('{trial} of 3')")
        page.click("#check [data-part=choices] button:has-text('Left')")
    page.click("button[name=good]:not([disabled])")
    page.wait_for_selector("h1:has-text('Before you begin')")
    with stage.house.db.read() as session:
        newest = session.scalars(select(RaterRow).order_by(RaterRow.created_at.desc())).first()
        assert newest is not None
        checks = [fact.data for fact in newest.facts if fact.kind == "devices"]
        assert session.scalars(select(RatingRow).where(RatingRow.rater_id == newest.id)).all() == []
    assert (checks[-1]["ears"], checks[-1]["good"]) == (3, True)
    page.check("input[name=check0][value='1']")
    page.click("button.main")
    page.wait_for_selector(".notice:has-text('Not everything was right')")
    page.check("input[name=check0][value='1']")
    page.click("button.main")
    page.wait_for_selector("h1:has-text('This study is not for you today')")
    robot.close()


def test_a_finished_talk_is_heard_over_a_moving_timeline_marked_and_rated(
    stage: Stage, tmp_path: Path
) -> None:  # fmt: skip
    of = study(second_stage={"consent": "You rate talks of others.", "per_rater": 1})
    house = build(of, tmp_path, _open)
    go_through(house.db, tmp_path / "talks", of)
    written(tmp_path / "talks", of)
    with serving(house.live, house.app) as running:
        there = stage._replace(house=house, base=running.page.rstrip("/"))
        robot = Robot(there)
        page = robot.page
        page.goto(f"{there.base}/join/{house.keys.link(OPEN, 'second')}")
        robot.look()
        page.click("button[value=yes]")
        page.wait_for_selector("h1:has-text('Talk 1 of 1')")
        robot.look()
        page.check("input[value=mixed]")
        page.evaluate("window.over = new Promise((done) => { document.querySelector('#heard').onended = done; }), 0")
        page.click("button[data-at]")
        page.evaluate("window.over")  # two seconds of sound
        assert page.evaluate("Number(document.querySelector('.cursor').getAttribute('x1'))") > 900
        assert float(page.input_value("input[name=played]")) > 0.8
        page.select_option("select[name=mark-1]", "wrong")
        page.reload()
        assert page.input_value("select[name=mark-1]") == "wrong"
        robot.fill(3)
        robot.send()
        page.wait_for_selector(".code")
        said = " ".join([*robot.seen, page.content()])
        robot.close()
    with house.db.read() as session:
        (one,) = judged(session, of, "second")
        assert [mark.kind for mark in one.person.talks[0].marks if mark.rater_id == one.rater.id] == ["wrong"]
    assert [f.outcome for f in one.findings if f.rule == "played"] == ["pass"]
    assert [word for word in ARMS if f'"{word}"' in said or f"/{word}" in said] == []
    house.db.close()


def test_the_researcher_comes_in_by_the_password_alone(stage: Stage) -> None:
    context = stage.browser.new_context()
    page = context.new_page()
    page.goto(f"{stage.base}/researcher")
    page.fill("input[type=password]", "guess")
    page.click("button")
    page.wait_for_selector("[role=alert]")
    page.fill("input[type=password]", stage.house.password or "")
    page.click("button")
    page.wait_for_selector("th:has-text('came in')")
    assert all(cookie["httpOnly"] for cookie in context.cookies())
    assert stage.house.password not in json.dumps(context.cookies())
    context.close()
