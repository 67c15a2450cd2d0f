"""`openai-realtime:` through the openai package against a small server that speaks its events, well and badly."""

import socket
import time
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")
pytest.importorskip("websockets", reason="pip install -e '.[openai]'")

from eval.runner import drive
from model.systems.openai_realtime import OpenAIRealtimeSystem, Patience
from peers.realtime_peer import realtime_peer
from protocols.duplex import FRAME, SAMPLE_RATE
from protocols.errors import CeilingReached, InputError, SystemUnreachable
from protocols.records import Conversation, Cue
from remote import LIVE, edges, question, questions, run_in, steady_talk

pytestmark = pytest.mark.real_time

BRISK = Patience(connect=5.0, handshake=0.7)
SECRET = "sk-hush-0123456789"
FAULTS = {
    "no setup": "did not set the talk up within 0.7 s",
    "refuses": "said: no such voice",
    "cuts": "cut the connection",
    "dies": "cut the connection",
    "errors": "said: the session is over",
    "garbage": "which is no event",
    "wrong types": "which is no event",
    "no pcm": "no 16-bit PCM",
    "events": " messages in ",
    "floods": "ahead of its time",
    "fails to answer": "could not answer: too many tokens",
}
PRICES = {"usd_text_in": 4.0, "usd_audio_in": 32.0, "usd_text_out": 16.0, "usd_audio_out": 64.0}
COST = (10 * 4 + 100 * 32 + 20 * 16 + 30 * 64) / 1e6  # of one answer with USAGE


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def test_an_answerer_is_measured_at_its_latency_with_words_and_usage(tmp_path: Path) -> None:
    options = {**PRICES, "vad_silence_ms": 300}
    with realtime_peer() as (peer, address):
        system = OpenAIRealtimeSystem(f"m-1,voice=marin,transcription=w@{address}", options, BRISK)
        talk, agent, user, _ = steady_talk(system, questions(tmp_path, 2)[1], tmp_path)
        system.close()
    assert edges(agent)[0] - edges(user)[1] == pytest.approx(0.3, abs=FRAME)
    assert edges(agent)[1] - edges(agent)[0] == pytest.approx(0.5, abs=0.01)
    said, heard = talk.transcripts
    assert (said.channel, said.text) == ("agent", "one two three four")
    assert said.words[0].start == pytest.approx(edges(agent)[0], abs=0.01)
    assert said.words[-1].end == pytest.approx(edges(agent)[1], abs=0.01)
    assert (heard.channel, heard.text) == ("user", "two words")
    assert heard.words[0].start == pytest.approx(edges(user)[0], abs=0.01)
    assert heard.words[-1].end == pytest.approx(edges(user)[1], abs=0.01)
    assert talk.usage["audio_in"] == 100
    assert talk.usage["cached_in"] == 30
    assert talk.usage["usd"] == pytest.approx(COST)
    (setup, first, *_) = peer.talks[0].received
    assert setup["session"]["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin"}
    turns = setup["session"]["audio"]["input"]["turn_detection"]
    assert turns == {"type": "server_vad", "silence_duration_ms": 300}
    assert first["type"] == "input_audio_buffer.append"
    assert peer.paths[0] == "/v1/realtime?model=m-1"


def test_every_fault_fails_its_talk_in_time_and_the_run_goes_on(tmp_path: Path) -> None:
    with realtime_peer([*FAULTS]) as (_, address):
        system = OpenAIRealtimeSystem(f"m@{address}", {}, BRISK)
        run = run_in(tmp_path)
        before = time.monotonic()
        driven = drive(system, question(tmp_path, len(FAULTS) + 1), tmp_path, run, LIVE)
    assert time.monotonic() - before < 120
    assert driven.made == len(FAULTS) + 1
    *failed, last = run.read(Conversation)
    assert last.recording is not None
    for talk, (name, reason) in zip(failed, FAULTS.items(), strict=True):
        assert reason in (talk.reason or ""), name


def test_a_server_that_stops_answering_is_heard_to_be_silent(tmp_path: Path) -> None:
    with realtime_peer(["stalls"]) as (_, address):
        system = OpenAIRealtimeSystem(f"m@{address}", {}, BRISK)
        run = run_in(tmp_path)
        drive(system, question(tmp_path, 1), tmp_path, run, LIVE._replace(tail=0.4))
    (talk,) = run.read(Conversation)
    assert not run.read_audio(talk.recording)[0].any()  # type: ignore[arg-type]


def test_a_user_who_speaks_over_the_answer_cuts_it_and_the_server_knows_where(tmp_path: Path) -> None:
    (asked,) = question(tmp_path, 1)
    again = asked.length + 0.8  # half a second into the answer
    twice = msgspec.structs.replace(asked, cues=(*asked.cues, Cue("q1.wav", again)), length=again + asked.length)
    with realtime_peer(answer=3.0) as (peer, address):
        system = OpenAIRealtimeSystem(f"m@{address}", {}, BRISK)
        talk, agent, _, _ = steady_talk(system, twice, tmp_path, LIVE._replace(tail=0.1))
    start, end = edges(agent)
    assert end == pytest.approx(0.4 + again, abs=0.25)
    (cut,) = (e for e in peer.talks[-1].received if e["type"] == "conversation.item.truncate")
    assert cut["item_id"] == "agent-1"
    assert cut["audio_end_ms"] == pytest.approx(1000 * (end - start), abs=5)
    words = talk.transcripts[0].text
    assert words == "one"
    assert len(agent) / SAMPLE_RATE > end


def test_a_run_stops_at_the_ceiling(tmp_path: Path) -> None:
    with realtime_peer() as (_, address):
        system = OpenAIRealtimeSystem(f"m@{address}", {**PRICES, "max_usd": 1.5 * COST}, BRISK)
        run = run_in(tmp_path)
        with pytest.raises(CeilingReached, match="the ceiling"):
            drive(system, question(tmp_path, 5), tmp_path, run, LIVE._replace(tail=1.0))
    assert 1 <= len(list(run.read(Conversation))) < 4


def test_a_ceiling_without_prices_is_refused() -> None:
    with pytest.raises(InputError, match="needs the prices"):
        OpenAIRealtimeSystem("m", {"max_usd": 1.0})


@pytest.mark.parametrize(("spec", "options"), [("m,vioce=x", {}), ("m", {"temperature": 1.0})])
def test_unknown_options_are_refused(spec: str, options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="unknown option of openai-realtime"):
        OpenAIRealtimeSystem(spec, options)


def test_a_missing_key_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="needs OPENAI_API_KEY"):
        OpenAIRealtimeSystem("m")


def test_a_server_that_is_not_there_stops_the_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(SystemUnreachable, match="takes no talks"):
        OpenAIRealtimeSystem(f"m@ws://127.0.0.1:{port}/v1", {}, BRISK).open(0)


def test_a_wrong_key_stops_the_run_and_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-key")
    with realtime_peer() as (peer, address), pytest.raises(SystemUnreachable, match="401") as refused:
        OpenAIRealtimeSystem(f"m@{address}", {}, BRISK).open(0)
    assert "sk-wrong" not in str(refused.value)
    assert peer.headers[0]["Authorization"] == "Bearer sk-wrong-key"
