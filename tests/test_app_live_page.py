"""The call in Debian's Chromium with a fake microphone: sample indices and constancy, not milliseconds."""

# ruff: noqa: E402 (what is imported below may be missing)

from base64 import b64decode
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("gradio", reason="gradio is missing; get it with: pip install -e '.[live]'")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing; get it with: pip install -e '.[test]'"
)

from app.live import events, wire
from app.live.folder import LiveTalk
from app.live.server import Running
from live_house import Singer, Slow
from live_stage import BUSY, PATIENT, Stage, staged

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("live"), pytest.mark.real_time]

RATE = 24_000
STALLED = 12  # frame of the system that stalls

# The loudspeaker, 50 ms later and 12 dB softer, in the microphone: what no headphones sound like.
ECHO = """
const source = AudioContext.prototype.createMediaStreamSource, connect = AudioNode.prototype.connect;
AudioContext.prototype.createMediaStreamSource = function (stream) {
  const real = source.call(this, stream), mix = this.createGain(), air = this.createDelay(), soft = this.createGain();
  air.delayTime.value = 0.05; soft.gain.value = 0.25;
  connect.call(real, mix); connect.call(air, soft); connect.call(soft, mix);
  this.air = air;
  return mix;
};
AudioNode.prototype.connect = function (to, ...rest) {
  if (to instanceof AudioDestinationNode) connect.call(this, this.context.air);
  return connect.call(this, to, ...rest);
};
"""
NO_24_KHZ = """
const Real = AudioContext;
window.AudioContext = class extends Real {
  constructor(options) {
    if (options.sampleRate) throw new DOMException("rates differ", "NotSupportedError");
    super(options);
  }
};
"""
# Every packet that the page sent, by its number.
SENT = """
window.sent = new Map();
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  if (typeof data !== "string") window.sent.set(new DataView(data).getUint32(0, true), new Uint8Array(data).toBase64());
  return send.call(this, data);
};
"""
HEARD_IN = """
window.heardIn = [];
const merge = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, output, input) {
  if (to instanceof ChannelMergerNode) window.heardIn.push(input);
  return input === undefined ? merge.call(this, ...[...arguments]) : merge.call(this, to, output, input);
};
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    systems = {
        "singer": Singer(), "stalls": Slow(lambda k: 0.4 if k == STALLED else 0.0), "slow": Slow(lambda k: 0.095),
        "echo": Slow(),
    }  # fmt: skip
    with staged(tmp_path_factory.mktemp("stage"), playwright.sync_playwright, systems) as stage:
        yield stage


@pytest.fixture(scope="module")
def sung(stage: Stage) -> tuple[Path, LiveTalk]:
    """A talk with a system whose every frame is different."""
    return stage.talk("singer", 2.5)[:2]


def recorded(folder: Path, name: str) -> np.ndarray:
    samples, _ = soundfile.read(folder / f"{name}.flac", dtype="int16")
    return np.ascontiguousarray(samples.T)


def log_of(folder: Path) -> list[events.LiveEvent]:
    return events.read_events((folder / "events.jsonl").read_bytes())


def test_the_microphone_reaches_the_system_to_the_bit(sung: tuple[Path, LiveTalk]) -> None:
    folder, talk = sung
    heard, modelled = recorded(folder, "heard"), recorded(folder, "modelled")
    given = np.ones(heard.shape[1], bool)
    for skip in [e for e in log_of(folder) if isinstance(e, events.Skipped)]:
        given[skip.sample : skip.sample + skip.n] = False
    assert modelled.shape[1] > RATE
    assert np.abs(modelled[1].astype(int)).max() > 5_000
    assert np.array_equal(modelled[1], heard[1, given][: modelled.shape[1]])
    assert talk.settings["echoCancellation"] is False


def test_the_system_reaches_the_ear_to_the_bit_after_one_constant_shift(sung: tuple[Path, LiveTalk]) -> None:
    folder, _ = sung
    heard, modelled = recorded(folder, "heard"), recorded(folder, "modelled")
    moves = [e.sample for e in log_of(folder) if isinstance(e, events.Lag | events.Missed | events.Dropped)]
    edges = [*moves, heard.shape[1] - 2 * 1_920]
    start, end = max(pairwise(edges), key=lambda e: e[1] - e[0])
    assert end - start > 2_000  # on a starved machine no longer stretch may be without a miss
    end -= 480  # the event lies in the packet before its sample
    probe = heard[0, start + 1_000 : start + 1_064]
    windows = np.lib.stride_tricks.sliding_window_view(modelled[0], 64)
    [shift] = start + 1_000 - np.flatnonzero((windows == probe).all(1))
    assert np.array_equal(heard[0, start:end], modelled[0, start - shift : end - shift])


def test_headphones_show_no_echo(sung: tuple[Path, LiveTalk]) -> None:
    assert sung[1].echo_db is None
    assert sung[1].no_echo == "no delay stands out"


def test_a_stall_leaves_no_lasting_lag(stage: Stage) -> None:
    """400 ms are missed, so the lag is 400 ms less what was queued; what is left of it is cut out of silence."""
    lags: list[float] = []

    def is_back(running: Running) -> bool:
        lags.append(running.lag or 0.0)
        return max(lags) > 0.25 and lags[-1] < max(lags) - 0.25

    folder, talk, _ = stage.talk("stalls", is_back)
    assert talk.status == "done"
    log = log_of(folder)
    stalled = next(e.sample for e in log if isinstance(e, events.Missed) and e.n >= 480)
    assert [e.step_ms >= 400 for e in log if isinstance(e, events.Stepped)].index(True) == STALLED
    assert sum(e.n for e in log if isinstance(e, events.Dropped) and e.sample > stalled) > 0.2 * RATE
    after = [e.ms for e in log if isinstance(e, events.Lag) and e.sample >= stalled]
    assert after[-1] < max(after) - 230


def test_a_slow_system_voids_the_talk_and_the_page_says_so(stage: Stage) -> None:
    _, talk, words = stage.talk("slow", 60.0, rules=PATIENT._replace(lag=0.4, lag_for=0.1))
    assert talk.status == "voided"
    assert "not your fault" in words
    assert "0.4 s are allowed" in words


def test_a_loudspeaker_in_the_microphone_is_measured(stage: Stage) -> None:
    _, talk, _ = stage.talk("singer", 2.0, ECHO)
    assert talk.echo_db == pytest.approx(-12.0, abs=2.0)
    assert talk.echo_delay is not None
    assert 0.04 < talk.echo_delay < 0.1


def test_a_cut_socket_is_mended_without_losing_a_sample(stage: Stage) -> None:
    made: list[wire.Packet] = []

    def cut(page: Any) -> None:
        stage.wait(page, lambda running: running.seconds > 0.6)
        stage.house.cut(stage.tokens[-1])
        page.wait_for_selector("[data-state=away]")
        page.wait_for_selector(BUSY)
        stage.wait(page, lambda running: running.seconds > 1.8)
        page.click("button.main")
        page.wait_for_selector("[data-state=done]")
        sent = page.evaluate("[...window.sent].sort(([a], [b]) => a - b).map(([, data]) => data)")
        made.extend(wire.read_packet(b64decode(data), 480) for data in sent)

    folder, talk, _ = stage.talk("echo", 0.0, SENT, during=cut)
    assert talk.status == "done"
    log = log_of(folder)
    assert sum(isinstance(e, events.Back) for e in log) == 1
    assert not any(isinstance(e, events.Gap) for e in log)
    assert [packet.number for packet in made] == list(range(len(made)))
    heard = recorded(folder, "heard")
    assert len(made) * 480 - heard.shape[1] in range(20 * 480)  # what was on its way when the talk ended
    assert np.array_equal(heard[1], np.concatenate([packet.mic for packet in made])[: heard.shape[1]])
    assert np.array_equal(heard[0], np.concatenate([packet.heard for packet in made])[: heard.shape[1]])


def test_a_reload_goes_on_with_the_same_talk(stage: Stage) -> None:
    def reload(page: Any) -> None:
        stage.wait(page, lambda running: running.seconds > 0.6)
        page.reload(wait_until="domcontentloaded")
        page.wait_for_selector("text=still going on")
        page.click("[data-part=button]:not([disabled])")
        page.wait_for_selector(BUSY)

    talks = len(stage.tokens)
    folder, talk, _ = stage.talk("singer", 3.0, during=reload, path="")
    assert len(stage.tokens) == talks + 1
    assert talk.status == "done"
    log = log_of(folder)
    [back] = [e for e in log if isinstance(e, events.Back)]
    [gap] = [e for e in log if isinstance(e, events.Gap)]
    assert back.sample == gap.sample + gap.n
    heard = recorded(folder, "heard")
    assert not heard[:, gap.sample : gap.sample + gap.n].any()
    assert heard[0, gap.sample + gap.n :].any()


def test_moments_are_marked_by_button_and_by_key(stage: Stage) -> None:
    def mark(page: Any) -> None:
        page.click("[data-kind=nice]")
        page.wait_for_selector("text=Noted: Nice")
        page.keyboard.press("2")
        page.wait_for_selector("text=Noted: Too slow")

    folder, talk, _ = stage.talk("echo", 0.2, during=mark)
    assert [mark.kind for mark in talk.marks] == ["nice", "too-slow"]
    assert talk.heard is not None
    assert 0 < talk.marks[0].sample < talk.marks[1].sample < talk.heard.n_samples
    assert [e for e in log_of(folder) if isinstance(e, events.Marked)] == list(talk.marks)


@pytest.mark.parametrize(("script", "words"), [("", "Everything works"), (ECHO, "hears the loudspeaker")])
def test_the_check_of_devices_finds_a_voice_two_ears_and_an_echo(stage: Stage, script: str, words: str) -> None:
    with stage.page(HEARD_IN + script) as page:
        page.goto(stage.house.page + "strict/check")
        page.click("text=Check microphone and headphones")
        page.click("text=Next")
        for trial in (1, 2, 3):
            page.wait_for_selector(f"text={trial} of 3")
            page.click("text=Play it again")
            ears = page.evaluate("window.heardIn")
            assert len(ears) == 2 * trial
            assert ears[-1] == ears[-2]
            page.click(["text=Left", "text=Right"][ears[-1]])
        page.wait_for_selector(f"text={words}")
        result = page.evaluate("window.result")
    assert (result["ears"], result["trials"]) == (3, 3)
    assert -20 < result["level_db"] < 0
    assert result["quiet"] == (not script)
    if script:
        assert result["echo_db"] == pytest.approx(-12.0, abs=1.0)


def test_a_browser_that_refuses_24_khz_talks_at_its_own_rate(stage: Stage) -> None:
    folder, talk, _ = stage.talk("singer", 1.2, NO_24_KHZ)
    assert talk.rate in {44_100, 48_000}
    assert talk.heard is not None
    assert talk.heard.sample_rate == talk.rate
    assert talk.modelled is not None
    assert talk.modelled.sample_rate == 24_000
    assert recorded(folder, "heard")[0].any()


def test_the_page_asks_nobody_else_and_tells_nothing_of_the_system(stage: Stage) -> None:
    page = stage.context.new_page()
    asked: list[str] = []
    bodies: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(stage.house.page, wait_until="networkidle")
    bodies.append(page.content())
    bodies.append(page.evaluate("fetch('/config').then(r => r.text())"))
    page.close()
    assert asked
    assert all(url.startswith((stage.house.page, "data:", "blob:")) for url in asked)
    assert not any(name in body for body in bodies for name in ("singer", "stalls"))
