"""Debian's Chromium with a fake microphone in front of a running server of live talks, for tests.

Lengths are on the page's audio clock, so a slow machine only takes longer.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from app.live.folder import LiveTalk, read_talk
from app.live.page import MOMENTS, live_app, with_page
from app.live.server import Live, Options, Running
from app.live.talk import Rules
from live_house import House, serving
from protocols.duplex import DuplexSystem

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream", "--autoplay-policy=no-user-gesture-required",
]  # fmt: skip
PATIENT = Rules(lag=30.0, kinds=tuple(moment.kind for moment in MOMENTS))  # a busy machine is no failure
BUSY = "[data-state=listening], [data-state=speaking]"
OVER = "[data-state=done], [data-state=voided]"

# A page of somebody else's making, as strict as a page can be; `mount` is its script's whole business.
STRICT = """<!doctype html><html lang="en"><title>A page</title><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><link rel="stylesheet" href="/live/call.css">
<main></main><script type="module" src="/{name}.js"></script></html>"""
SCRIPTS = {
    "plain": """
import { mountCall } from "/live/call.js";
const invite = async () => (await fetch("/live/invitation", { method: "POST" })).json();
mountCall(document.querySelector("main"), { invite });
""",
    "check": """
import { mountCheck } from "/live/check.js";
mountCheck(document.querySelector("main"), { processing: false, onDone: (result) => { window.result = result; } });
""",
}


def _with_strict_pages(app: FastAPI) -> FastAPI:
    @app.get("/{name}.js")
    def script(name: str) -> Response:
        return Response(SCRIPTS[name], media_type="text/javascript")

    @app.get("/strict/{name}")
    def page(name: str) -> HTMLResponse:
        return HTMLResponse(STRICT.format(name=name), headers={"Content-Security-Policy": "default-src 'self'"})

    return app


def fake_microphone(path: Path) -> None:
    """A tone that comes and goes, twice a second."""
    tone = 0.4 * np.sin(2 * np.pi * 700 * np.arange(6_000) / 24_000)
    soundfile.write(path, np.tile(np.pad(tone, (0, 6_000)), 40), 24_000)


class Stage:
    """A running server, a browser, and the arm the next visitor talks with."""

    def __init__(self, house: House, context: Any) -> None:
        self.house, self.context = house, context
        self.arm, self.rules = "", PATIENT
        self.tokens: list[str] = []

    def invite(self) -> str:
        self.tokens.append(self.house.live.invite(self.arm, self.rules))
        return self.tokens[-1]

    @contextmanager
    def page(self, script: str = "") -> Iterator[Any]:
        """A new page that runs `script` before all others; an error in it is one of the test."""
        page = self.context.new_page()
        page.set_default_timeout(90_000)  # a starved machine takes its time to draw
        failed: list[str] = []
        page.on("pageerror", lambda error: failed.append(str(error)))
        if script:
            page.add_init_script(script)
        try:
            yield page
            assert failed == []
        finally:
            page.close()

    def running(self) -> Running | None:
        """The latest talk, while it goes on."""
        talk = self.house.live.talk_of(self.tokens[-1])
        return next((running for running in self.house.live.running() if running.talk == talk), None)

    def wait(self, page: Any, until: Callable[[Running], bool]) -> None:
        """Let the talk go on until something holds, or it is over."""
        for _ in range(1_800):
            running = self.running()
            if running is None or until(running):
                return
            page.wait_for_timeout(50)
        raise AssertionError("it never came to that")

    def talk(
        self,
        arm: str,
        until: Callable[[Running], bool] | float,
        script: str = "",
        rules: Rules = PATIENT,
        during: Callable[[Any], None] = lambda page: None,
        path: str = "strict/plain",
    ) -> tuple[Path, LiveTalk, str]:
        """Hold a talk in a new page, for seconds or until something holds; the talk's folder, its record, and what the
        page says at the end."""
        self.arm, self.rules = arm, rules
        enough = until if callable(until) else lambda running: running.seconds >= until
        with self.page(script) as page:
            page.goto(self.house.page + path, wait_until="domcontentloaded")
            page.click("[data-part=button]:not([disabled])")
            page.wait_for_selector(f"{BUSY}, {OVER}")
            during(page)
            self.wait(page, enough)
            if page.locator(BUSY).count():
                page.click("button.main")
            page.wait_for_selector(OVER)
            words = page.inner_text(".call")
        folder = self.house.folder(self.tokens[-1])
        return folder, read_talk(folder), words


@contextmanager
def staged(folder: Path, driver: Any, systems: dict[str, DuplexSystem]) -> Iterator[Stage]:
    """A server with these systems by arm, and a browser."""
    fake_microphone(folder / "mic.wav")
    live = Live(folder / "talks", systems, Options())
    stages: list[Stage] = []

    async def make() -> FastAPI:  # outside a loop, gradio makes loops of its own and leaves them open
        app = _with_strict_pages(live_app(live))
        return with_page(app, live, lambda: stages[0].invite(), processing=False, moments=MOMENTS)

    app = asyncio.run(make())
    os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", "0")
    with serving(live, app) as house, driver() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path="/usr/bin/chromium", headless=True, permissions=["microphone"],
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={folder / 'mic.wav'}"],
        )  # fmt: skip
        stages.append(Stage(house, context))
        yield stages[0]
        context.close()
