"""`cascade:` with a chat server that answers in pieces: latencies, barge-in, asides, fillers, faults, real parts."""

import json
import re
import socket
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from app.cascade import open_cascade
from builders import tone
from eval.runner import drive
from model.systems.cascade import CascadeSession, CascadeSystem, Parts
from model.systems.cascade_config import CascadeConfig, read_cascade
from model.systems.chat import ChatServer
from model.systems.sentences import Sentences
from model.systems.turns import Ears
from peers.chat_peer import ChatPeer, chat_peer
from protocols.contracts import Edge
from protocols.duplex import FRAME, FRAME_SIZE, SAMPLE_RATE, Audio, Step, SystemInfo
from protocols.errors import InputError, SystemUnreachable
from protocols.records import Conversation, Word
from protocols.timeline import Track
from remote import FAST, LIVE, LOUD, edges, question, questions, run_in, steady_talk

pytestmark = pytest.mark.real_time

SILENCE = 0.2
BRISK = {"silent": 1.0, "longest": 2.0}
FAULTS = {
    "cuts": "broke its answer off|cut the connection",
    "hangs": "was silent for 1 s",
    "stalls": "was silent for 1 s",
    "endless": "was still answering after 2 s",
    "garbage": "no chat completion",
    "other": "no chat completion",
    "list": "no chat completion",
    "error": "said: .*out of memory",
    "no stream": "broke its answer off|no chat completion",
    "500": "said HTTP 500",
    "429": "said HTTP 429",
}


class LevelGate:
    """Speech is what is loud; an edge is known a tenth of a second later."""

    source = "level"

    def __init__(self) -> None:
        self._heard = np.zeros(0, np.float32)
        self._told: list[Edge] = []

    def push(self, audio: Audio) -> Sequence[Edge]:
        self._heard = np.concatenate([self._heard, audio])
        loud = np.flatnonzero(np.abs(self._heard) > LOUD)
        known: list[Edge] = []
        if loud.size:
            breaks = np.flatnonzero(np.diff(loud) > 0.1 * SAMPLE_RATE)
            for first, last in zip(loud[[0, *(breaks + 1)]], loud[[*breaks, -1]], strict=True):
                known.append(Edge("start", float(first) / SAMPLE_RATE))
                if len(self._heard) - last > 0.1 * SAMPLE_RATE:
                    known.append(Edge("end", float(last + 1) / SAMPLE_RATE))
        new = known[len(self._told) :]
        self._told = known
        return new


class Writer:
    """Writes down how long each stretch was: "0.5" is half a second. Names say what some lengths mean."""

    source = "writer"

    def __init__(self, names: dict[str, str] | None = None) -> None:
        self._names = names or {}

    def words(self, audio: Audio, sample_rate: int, speech: Track) -> tuple[Word, ...]:
        texts = [f"{span.duration:.1f}" for span in speech]
        return tuple(
            Word(self._names.get(t, t), s.start, s.end)
            for t, s in zip(texts, speech, strict=True)
            if self._names.get(t, t)
        )


class Whistle:
    """Says a tone, a tenth of a second for each letter."""

    source, voices = "whistle", ("one",)

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return tone(0.1 * sum(c.isalnum() for c in text))


def config(peer: ChatPeer, **sections: dict[str, Any]) -> CascadeConfig:
    data: dict[str, Any] = {
        "chat": {"url": peer.server.url, "model": "m"},
        "turns": {"silence": SILENCE},
        "clock": {"compute": "declared", "recognition": 0.02, "first_sentence": 0.08, "sentence": 0.0},
    }
    for name, section in sections.items():
        data[name] = data.get(name, {}) | section
    return msgspec.convert(data, CascadeConfig)


def cascade(told: CascadeConfig, names: dict[str, str] | None = None, real_time: bool = False) -> CascadeSystem:
    parts = Parts(LevelGate, Writer(names), ChatServer(told.chat), Whistle())
    return CascadeSystem(SystemInfo("cascade:test", "1"), told, parts, real_time)


def user(script: str, seconds: float) -> np.ndarray:
    """Tones at "0.5-1.2, 2-2.4" seconds, as frames."""
    sound = np.zeros(round(seconds / FRAME) * FRAME_SIZE, np.float32)
    for part in script.split(","):
        start, end = (round(float(x) * SAMPLE_RATE) for x in part.split("-"))
        sound[start:end] = tone((end - start) / SAMPLE_RATE)
    return sound.reshape(-1, FRAME_SIZE)


class Held:
    """A talk on the simulated clock."""

    def __init__(self, system: CascadeSystem, frames: np.ndarray) -> None:
        self.session: CascadeSession = system.open(0)
        self.steps: list[Step] = [self.session.step(frame) for frame in frames]
        self.session.close()
        system.close()
        self.agent = np.concatenate([np.zeros(FRAME_SIZE, np.float32), *(step.audio for step in self.steps)])
        self.words = [piece for step in self.steps for piece in step.text]
        self.usage = self.session.account().usage

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Where the agent is heard."""
        loud = np.flatnonzero(np.abs(self.agent) > LOUD)
        cuts = np.flatnonzero(np.diff(loud) > 0.05 * SAMPLE_RATE)
        return [
            (a / SAMPLE_RATE, b / SAMPLE_RATE) for a, b in zip(loud[[0, *(cuts + 1)]], loud[[*cuts, -1]], strict=True)
        ]


def test_a_planted_answerer_is_measured_as_declared() -> None:
    """0.2 s of silence, 0.02 s to recognise, 0.08 s to the first sound: 300 ms, exact to the sample."""
    with chat_peer() as peer:
        held = Held(cascade(config(peer)), user("0.5-1.2", 4))
    ((start, end),) = held.spans
    assert start == pytest.approx(1.5, abs=0.002)
    assert end == pytest.approx(1.5 + 1.0, abs=0.01)
    assert "".join(piece.text for piece in held.words) == " Hello there."
    assert held.words[0].start == pytest.approx(1.5, abs=0.002)
    assert peer.histories == [[("user", "0.7")]]
    assert held.usage["prompt_tokens"] == 30
    (said,) = held.session.account().heard
    assert said == (" 0.7", pytest.approx(0.5, abs=1e-3), pytest.approx(1.2, abs=1e-3))


def test_what_computing_takes_is_counted_on_the_simulated_clock() -> None:
    """The least of several talks, since a busy machine adds to both; a planted delay is never lost."""
    least: dict[float, float] = {}
    for _ in range(8):
        for delay in (0.0, 0.3):
            with chat_peer(delay=delay) as peer:
                start = Held(cascade(config(peer, clock={"compute": "measured"})), user("0.5-1.2", 3)).spans[0][0]
            least[delay] = min(start, least.get(delay, start))
            assert start >= 1.2 + SILENCE + delay
        if abs(least[0.3] - least[0.0] - 0.3) < FRAME / 2:
            break
    assert least[0.3] - least[0.0] == pytest.approx(0.3, abs=FRAME)


def test_a_planted_delay_is_measured_in_real_time(tmp_path: Path) -> None:
    with chat_peer(delay=0.1) as peer:
        told = config(peer, turns={"silence": 0.15})  # and half a frame
        system = cascade(told, real_time=True)
        talk, agent, heard, _ = steady_talk(system, question(tmp_path, 1)[0], tmp_path, LIVE)
        system.close()
    assert edges(agent)[0] - edges(heard)[1] == pytest.approx(0.3, abs=FRAME)
    assert [word.text for word in talk.transcripts[0].words] == ["Hello", "there."]
    assert talk.transcripts[1].channel == "user"


def test_sentences_are_spoken_as_they_come_one_after_the_other() -> None:
    with chat_peer(pieces=["One. T", "wo. Thr", "ee"]) as peer:
        held = Held(cascade(config(peer, clock={"sentence": 1.0})), user("0.5-1.2", 6))
    assert [piece.text for piece in held.words] == [" One.", " Two.", " Three"]
    starts = [round(start, 2) for start, _ in held.spans]
    assert starts == [1.5, 2.5, 3.5]


def test_barge_in_stops_the_agent_and_the_history_keeps_what_was_heard() -> None:
    with chat_peer(pieces=["abcde fghij klmno. ", "Pqrst uvwxy."]) as peer:
        held = Held(cascade(config(peer)), user("0.5-1.2, 2.3-3.2", 7))
    (_, stopped), *_ = held.spans
    assert stopped == pytest.approx(2.3 + 0.6, abs=FRAME + 0.01)  # turns.barge_in after the user began
    first, second = peer.histories
    assert first == [("user", "0.7")]
    # from 1.5 to 2.9 s: two words of half a second, and the third had begun
    assert second == [("user", "0.7"), ("assistant", "abcde fghij klmno."), ("user", "0.9")]
    assert held.usage["barge_ins"] == 1
    assert held.usage["turns"] == 2
    assert [p.text for p in held.words][:4] == [" abcde", " fghij", " klmno.", " abcde"]


def test_a_backchannel_lets_the_agent_go_on_and_other_short_speech_does_not() -> None:
    for name, goes_on in (("Mhm, yeah.", True), ("Uh-huh.", True), ("", True), ("stop", False)):
        with chat_peer(pieces=["abcde fghij klmno. ", "Pqrst uvwxy."]) as peer:
            told = config(peer, clock={"first_sentence": 0.58})
            held = Held(cascade(told, {"0.3": name}), user("0.5-1.2, 2.3-2.6", 7))
        assert held.usage["backchannels"] == (goes_on and name != "")
        if goes_on:
            assert held.spans == [(pytest.approx(2.0, abs=0.01), pytest.approx(4.5, abs=0.01))]
            assert len(peer.histories) == 1
        else:
            assert held.spans[0][1] == pytest.approx(2.6 + SILENCE + 0.02, abs=FRAME)
            assert peer.histories[1][1:] == [("assistant", "abcde fghij"), ("user", "stop")]


def test_a_user_who_goes_on_before_the_reply_is_heard_has_not_ended_the_turn() -> None:
    with chat_peer() as peer:
        held = Held(cascade(config(peer, clock={"first_sentence": 0.6})), user("0.5-1.2, 1.6-2.0", 5))
    assert peer.histories == [[("user", "0.7")], [("user", "0.7 0.4")]]
    assert held.usage["resumed"] == 1
    assert [start for start, _ in held.spans] == [pytest.approx(2.0 + 0.2 + 0.02 + 0.6, abs=0.01)]
    assert "".join(p.text for p in held.session.account().heard) == " 0.7 0.4"


def test_a_second_question_has_the_whole_first_answer_in_its_history() -> None:
    with chat_peer() as peer:
        Held(cascade(config(peer)), user("0.5-1.2, 3.5-4.0", 6))
    assert peer.histories[1] == [("user", "0.7"), ("assistant", "Hello there."), ("user", "0.5")]


def test_a_late_reply_is_announced_by_a_filler_that_is_no_part_of_it() -> None:
    with chat_peer() as peer:
        told = config(peer, clock={"first_sentence": 1.2}, filler={"after": 0.4, "say": ["Well", "So"]})
        held = Held(cascade(told), user("0.5-1.2, 5-5.5", 9))
    assert [(round(p.start or 0, 2), p.text) for p in held.words] == [
        (1.8, " Well"), (2.62, " Hello"), (3.07, " there."), (6.1, " So"), (6.92, " Hello"), (7.37, " there."),
    ]  # fmt: skip
    assert peer.histories[1][1] == ("assistant", "Hello there.")
    with chat_peer() as peer:
        told = config(peer, filler={"after": 0.4, "say": ["Well"]})
        assert [p.text for p in Held(cascade(told), user("0.5-1.2", 4)).words] == [" Hello", " there."]


def test_noise_and_empty_answers_are_silence() -> None:
    with chat_peer(pieces=[]) as peer:
        assert not Held(cascade(config(peer)), user("0.5-1.2", 4)).agent.any()
        assert len(peer.histories) == 1
        assert not Held(cascade(config(peer), {"0.7": ""}), user("0.5-1.2", 4)).agent.any()
        assert len(peer.histories) == 1


def test_both_clocks_hold_the_same_talk(tmp_path: Path) -> None:
    """In real time, with the seed and the words of the simulated talk."""
    (asked,) = question(tmp_path, 1)
    with chat_peer() as peer:
        run = run_in(tmp_path)
        system = cascade(config(peer))
        drive(system, [asked], tmp_path, run, FAST)
        system.close()
        (talk,) = run.read(Conversation)
        live = cascade(config(peer), real_time=True)
        there = steady_talk(live, asked, tmp_path).talk
        live.close()
    assert [w.text for w in there.transcripts[0].words] == [w.text for w in talk.transcripts[0].words]
    assert peer.server.asked[0] == peer.server.asked[1]


def test_every_fault_fails_its_talk_in_time_and_the_run_goes_on(tmp_path: Path) -> None:
    with chat_peer([*FAULTS], pieces=["Hello there. ", "And more."]) as peer:
        system = cascade(config(peer, chat=BRISK))
        run = run_in(tmp_path)
        driven = drive(system, question(tmp_path, len(FAULTS) + 1), tmp_path, run, FAST)
        system.close()
    assert driven.made == len(FAULTS) + 1
    *failed, last = run.read(Conversation)
    assert last.recording is not None, last.reason
    for talk, (name, reason) in zip(failed, FAULTS.items(), strict=True):
        assert talk.recording is None, name
        assert re.search(reason, talk.reason or ""), (name, talk.reason)


def test_faults_do_not_hold_a_talk_in_real_time(tmp_path: Path) -> None:
    with chat_peer(["hangs"]) as peer:
        system = cascade(config(peer, chat=BRISK), real_time=True)
        run = run_in(tmp_path)
        drive(system, question(tmp_path, 2), tmp_path, run, LIVE._replace(tail=2.0))
        system.close()
    first, second = run.read(Conversation)
    assert "was silent for 1 s" in (first.reason or "")
    assert second.recording is not None, second.reason


@pytest.mark.parametrize("fault", ["401", "404"])
def test_a_server_that_refuses_stops_the_run(tmp_path: Path, fault: str) -> None:
    refused = pytest.raises(SystemUnreachable, match="refuses m")
    with chat_peer([fault]) as peer, closing(cascade(config(peer))) as system, refused:
        drive(system, question(tmp_path, 2), tmp_path, run_in(tmp_path), FAST)


def test_a_server_that_is_not_there_stops_the_run(tmp_path: Path) -> None:
    with chat_peer() as peer:
        told = config(peer)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = msgspec.structs.replace(told, chat=msgspec.structs.replace(told.chat, url=f"http://127.0.0.1:{port}/v1"))
    with closing(cascade(told)) as system, pytest.raises(SystemUnreachable, match="is it running"):
        drive(system, question(tmp_path, 2), tmp_path, run_in(tmp_path), FAST)


def test_the_key_goes_to_the_server_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOLOGUE_CASCADE_KEY", "hush-0123456789")
    with chat_peer(["500"]) as peer, closing(cascade(config(peer))) as system:
        drive(system, question(tmp_path, 2), tmp_path, run_in(tmp_path), FAST)
    assert [h["authorization"] for h in peer.server.headers] == ["Bearer hush-0123456789"] * 2
    assert not any(b"hush" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


# sentences, turns, configuration


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three", ["One.", "Two!", "Three"]),
        ("It is 3.5 metres. Yes.", ["It is 3.5 metres.", "Yes."]),
        ("Ask Dr. Smith. Or J. Doe.", ["Ask Dr. Smith.", "Or J. Doe."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("**Bold** and `code`.\n- a list\n- of two", ["Bold and code .", "a list", "of two"]),
        ("...", []),
        ("", []),
        ("Wait... what?", ["Wait...", "what?"]),
        ("Is it J. No.", ["Is it J. No."]),
    ],
)
def test_sentences_are_found_in_what_comes(text: str, sentences: list[str]) -> None:
    found = Sentences()
    assert [*found.push(text), *found.rest()] == sentences


@given(st.text(alphabet='aB. \n!?*1"', max_size=40), st.lists(st.integers(0, 40), max_size=5))
def test_sentences_do_not_depend_on_how_the_text_was_cut(text: str, cuts: list[int]) -> None:
    whole, parts = Sentences(), Sentences()
    places = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
    made = [s for a, b in pairwise(places) for s in parts.push(text[a:b])] + parts.rest()
    assert made == whole.push(text) + whole.rest()


def test_a_turn_ends_once_after_its_silence_however_it_is_cut() -> None:
    ears = Ears(LevelGate(), 0.3)
    found = []
    for frame in user("0.5-1.0, 1.2-1.7, 3.0-3.3", 5):
        begun, ended = ears.hear(frame)
        found += [("begun", None)] * begun + ([("ended", ended)] if ended else [])
    assert [name for name, _ in found] == ["begun", "begun", "ended", "begun", "ended"]
    first, second = (ended for name, ended in found if ended)
    assert first.span == (pytest.approx(0.5, abs=1e-3), pytest.approx(1.7, abs=1e-3))
    assert first.at == pytest.approx(2.0, abs=1e-3)
    assert second.span.start == pytest.approx(3.0, abs=1e-3)
    sound, inside = ears.sound([first.span])
    assert len(sound) / SAMPLE_RATE == pytest.approx(1.2 + 0.4, abs=1e-3)
    assert inside[0].start == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chat: {url: 'http://h/v1'}", "missing required field `model`"),
        ("chat: {url: 'http://h/v1', model: m}\nvoices: {}", "did you mean 'voice'"),
        ("chat: {url: 'http://h/v1', model: m, temprature: 1}", "unknown field `temprature`"),
        ("chat: {url: 'h/v1', model: m}", "no address such as"),
        ("chat: {url: 'http://me:secret@h/v1', model: m}", "lies in run folders"),
        ("chat: {url: 'http://h/v1', model: m}\nturns: {silence: 0.01}", "turns.silence"),
        ("chat: {url: 'http://h/v1', model: m}\nclock: {compute: guessed}", "clock.compute"),
        ("chat: {url: 'http://h/v1', model: m}\nasr: none", "asr cannot be none"),
        ("chat: {url: 'http://h/v1', model: m}\nasr: whispr", "unknown transcriber"),
        ("chat: {url: 'http://h/v1', model: m}\nasr: pocketsphinx\nvoice: {speaker: espek}", "unknown speaker"),
        ("chat: [", "is not YAML"),
        ("3", "Expected `object`"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        open_cascade("cascade:c.yaml", tmp_path / "c.yaml", False)


def test_the_smallest_configuration_is_enough(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("chat: {url: 'http://h/v1', model: m}")
    assert read_cascade(tmp_path / "c.yaml").turns.silence == 0.6


@pytest.mark.needs("whisper")
@pytest.mark.needs("espeak")
def test_real_parts_hear_answer_and_speak(tmp_path: Path) -> None:
    """The packaged Whisper, espeak-ng and Silero, on the simulated clock with its costs declared."""
    with chat_peer(pieces=["Paris is ", "the capital. "]) as peer:
        told = {
            "chat": {"url": peer.server.url, "model": "m"},
            "turns": {"silence": 0.2},
            "clock": {"compute": "declared", "recognition": 0.0, "first_sentence": 0.1},
        }
        (tmp_path / "c.yaml").write_text(json.dumps(told))
        system = open_cascade("cascade:c.yaml", tmp_path / "c.yaml", False)
        run = run_in(tmp_path)
        drive(system, questions(tmp_path, 1), tmp_path, run, FAST)
        system.close()
        assert system.info.decoding["model"] == "m"
        assert "tiny.en" in str(system.info.decoding["asr"])
    for talk in run.read(Conversation):
        assert talk.recording is not None, talk.reason
        agent, heard = run.read_audio(talk.recording)
        assert edges(agent)[0] - edges(heard)[1] == pytest.approx(0.3, abs=FRAME)
        assert [t.channel for t in talk.transcripts] == ["agent", "user"]
        assert talk.transcripts[0].text == "Paris is the capital."
        assert talk.transcripts[1].text
    assert all(history[-1][0] == "user" for history in peer.histories)
