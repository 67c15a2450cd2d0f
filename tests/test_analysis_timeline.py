"""One talk as numbers and as a page: what is shown, what is escaped, what is refused."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from analysis.report.timeline import Timeline, levels, timeline, worth
from analysis.report.timeline_page import svg, write_page
from builders import tone
from eval.metrics import METRICS
from protocols.errors import InputError
from protocols.records import (
    Activity,
    Conversation,
    Event,
    Evidence,
    Key,
    Listening,
    Sample,
    Score,
    Transcript,
    Word,
)
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import Span

PAUSE = METRICS["timing.pause_held"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    protocol = Protocol("quick", "", 1, 0, 0.96, 4.0, "none", "simulated")
    run = Run.create(tmp_path / "run", RunInfo("x", "1", protocol, "done", "", 2, (PAUSE.info,)))
    events = (Event("turn", 1.0, 2.5, "made"), Event("pause", 1.5, 2.0, "made"))
    audio = np.zeros((2, 4 * 24_000), np.float32)
    audio[0, 36_000:60_000] = tone(1.0)
    audio[1, 24_000:36_000] = tone(0.5)
    with run.writing() as writing:
        writing.append(Sample("a/<1>", "pause", (), 4.0, events, "Who & what?"))
        recording = writing.write_audio(Key("a/<1>", 0), audio)
        said = (Transcript("agent", "model", (Word("<b>", 1.5, 1.8), Word("well", 1.6, 2.0))),)
        writing.append(Conversation("a/<1>", 0, "x", 0, recording, events=events, transcripts=said))
        writing.append(Conversation("gone", 0, "x", 0, None, "it raised"))
        spans = (Activity("agent", "d/1", (Span(1.5, 2.5),)), Activity("user", "d/1", (Span(1.0, 1.5), Span(2.0, 2.5))))
        writing.append(Listening("a/<1>", 0, spans, guards=("clipped",)))
        took = (Evidence("take", "agent", 1.5, 2.0, "d/1"),)
        writing.append(Score("a/<1>", 0, PAUSE.info.name, PAUSE.scorer, 0.0, "took", None, 1, took))
    return run


def test_a_timeline_holds_what_was_heard(run: Run) -> None:
    made = timeline(run, "a/<1>", steps=40)
    assert made.duration == 4.0
    assert np.flatnonzero(made.agent_level).tolist() == list(range(15, 25))
    assert np.flatnonzero(made.user_level).tolist() == list(range(10, 15))
    assert [(o.title, o.worth) for o in made.outcomes] == [("Pauses left to the user", "bad")]
    assert made.guards == ("clipped",)


def test_the_picture_puts_each_thing_at_its_time(run: Run) -> None:
    picture = svg(timeline(run, "a/<1>"))
    left, span = (float(re.search(rf'data-{k}="(\d+)"', picture)[1]) for k in ("left", "span"))  # type: ignore[index]
    bars = re.findall(r'<rect x="([\d.]+)"[^>]*width="([\d.]+)"[^>]*class="(bar \w+|overlap)"', picture)
    seconds = [(kind, round((float(x) - left) / span * 4, 2), round(float(w) / span * 4, 2)) for x, w, kind in bars]
    assert seconds == [("overlap", 2.0, 0.5), ("bar agent", 1.5, 1.0), ("bar user", 1.0, 0.5), ("bar user", 2.0, 0.5)]
    assert picture.count('class="event"') == 4


def test_the_page_links_its_sound_and_escapes_what_people_said(run: Run, tmp_path: Path) -> None:
    page = write_page(timeline(run, "a/<1>"), tmp_path / "pages" / "one.html")
    html = page.read_text()
    source = re.search(r'<audio[^>]* src="([^"]+)"', html)
    assert source is not None
    assert (page.parent / source[1]).is_file()
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert "✗ took" in html
    assert "http" not in html


def test_what_is_not_there_says_so(run: Run) -> None:
    with pytest.raises(InputError, match="did you mean 'a/<1>'"):
        timeline(run, "a/<2>")
    with pytest.raises(InputError, match=r"take\(s\) 0 of a/<1>, not 3"):
        timeline(run, "a/<1>", take=3)
    with pytest.raises(InputError, match="has no recording: it raised"):
        timeline(run, "gone")


def test_worth_follows_the_metrics_card() -> None:
    score = Score("s", 0, "m", "m/1", 1.0, "held")
    assert worth(score, PAUSE.info) == "good"
    assert worth(score, msgspec.structs.replace(PAUSE.info, better="lower")) == "bad"
    assert worth(score, METRICS["timing.latency"].info) == "open"
    assert worth(Score("s", 0, "m", "m/1", None, "broken", "why"), PAUSE.info) == "open"


def test_levels_of_short_and_silent_sounds() -> None:
    assert levels(np.zeros(0, np.float32), 10) == ()
    assert levels(np.zeros(3, np.float32), 10) == (0.0, 0.0, 0.0)
    assert levels(np.ones(100, np.float32), 4) == (1.0, 1.0, 1.0, 1.0)


def test_an_empty_talk_has_a_picture(run: Run) -> None:
    made = msgspec.structs.replace(
        timeline(run, "a/<1>"), activity=(), transcripts=(), events=(), outcomes=(), agent_level=(), user_level=()
    )
    assert isinstance(made, Timeline)
    assert svg(made).endswith("</svg>")
