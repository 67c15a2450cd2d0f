"""Simulated users: what they do is what is recorded, at the rates they declare, with real systems and real sound."""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from app.cli import cli
from builders import tone
from eval.hear_all import open_instruments
from eval.judge.ask import Endpoint, Judge
from eval.judge.prompts import load_prompt
from eval.judge.replies import ReplyLog
from eval.listen import hear
from eval.metrics.base import Heard
from eval.metrics.timing.floor import judge_holds, judge_stops
from eval.metrics.timing.pauses import judge_pauses
from eval.metrics.timing.scene import scene_maker
from eval.metrics.timing.settings import DEFAULT
from eval.metrics.timing.turns import judge_turns
from eval.runner import DriveOptions, drive
from eval.simulate.manner import Manner, plan_turn, worded
from eval.simulate.minds import Said, ScriptMind
from eval.simulate.scenario import Scenario, Scenarios, Turn, read_scenarios
from eval.simulate.simulation import Cast, Model, Simulation
from judge_server import Server
from model.systems.command import CommandSystem
from model.systems.simple import EchoSystem, SilenceSystem
from protocols.duplex import SAMPLE_RATE, Audio, DuplexSystem, Step, SystemInfo, TextPiece
from protocols.errors import InputError, SystemUnreachable
from protocols.records import Conversation
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

CALM = Manner(pause=0, filler=0, repair=0, barge_in=0, backchannel=0)
TALK = Scenarios(
    "t", "1", (Scenario("three", turns=(Turn("one two | three four"), Turn("five six | seven"), Turn("eight | nine"))),)
)
HOP = 0.011


class TalkingClock:
    """A Speaker without a program: 0.1 s of tone for every word."""

    source = "tones/1"
    voices = ("low", "high")

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return tone(0.1 * len(text.split()), 0.3)


class Answerer:
    """Answers after so much quiet (0.4 s: also in pauses), for so long; goes on whatever the user does meanwhile."""

    def __init__(self, length: float = 3.0, quiet: float = 0.4, frame_size: int = 1920) -> None:
        self.info = SystemInfo("answerer", "1", frame_size=frame_size, slots=2)
        self._length, self._quiet = length, quiet

    def open(self, seed: int, sample_id: str | None = None) -> "Answering":
        return Answering(self.info.frame_size, self._length, self._quiet)

    def close(self) -> None: ...


class Answering:
    def __init__(self, size: int, length: float, quiet: float) -> None:
        self._size, self._length, self._quiet = size, round(length * SAMPLE_RATE), quiet * SAMPLE_RATE
        self._now, self._quiet_since, self._until = 0, math.inf, 0

    def step(self, frame: Audio) -> Step:
        loud = np.flatnonzero(np.abs(frame) > 0.01)
        if loud.size and self._now >= self._until:
            self._quiet_since = self._now + int(loud[-1])
        self._now += self._size
        begins = self._now - self._quiet_since >= self._quiet and self._now >= self._until
        if begins:
            self._until, self._quiet_since = self._now + self._length, math.inf
        sounds = self._now < self._until
        audio = tone(self._size / SAMPLE_RATE) if sounds else np.zeros(self._size, np.float32)
        return Step(audio, (TextPiece(" Oslo"),) if begins else ())

    def close(self) -> None: ...


def cast(scenarios: Scenarios = TALK, manner: Manner = CALM, **changes: object) -> Cast:
    given = Cast(scenarios, manner, TalkingClock(), "text", 2, 60.0)
    return given._replace(**changes)  # type: ignore[arg-type]


USUAL = DriveOptions(tail=0.5)


def held(
    folder: Path, system: DuplexSystem, who: Cast, options: DriveOptions = USUAL
) -> list[tuple[Conversation, Audio]]:
    """The talks of a simulation, each with its sound; a run that is there is gone on with."""
    simulation = Simulation(who, options, open_instruments("pocketsphinx" if who.ears == "asr" else "none"))
    simulation.check(system.info)
    suite = simulation.suite()
    protocol = Protocol(suite.name, suite.sha256, 1, options.seed, options.lead_in, options.tail, "none", options.clock)
    info = RunInfo(system.info.name, "1", protocol, "running", "2026-01-01T00:00:00+00:00", len(suite.samples))
    run = Run(folder / "run") if (folder / "run").exists() else Run.create(folder / "run", info)
    try:
        drive(system, suite.samples, suite.root, run, options, users=simulation.user)
    finally:
        simulation.close()
    talks = sorted(run.read(Conversation), key=lambda talk: talk.sample)
    return [(t, run.read_audio(t.recording) if t.recording else np.zeros((2, 0), np.float32)) for t in talks]


def sounding(channel: Audio, start: float, end: float) -> float:
    """Share of a stretch in which a channel sounds."""
    part = channel[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    return float((np.abs(part) > 1e-4).mean()) if part.size else 0.0


@pytest.mark.parametrize("size", [480, 1920])
def test_the_events_say_what_sounds(tmp_path: Path, size: int) -> None:
    busy = CALM._replace(pause=1.0, barge_in=0.5, backchannel=0.5)
    for talk, audio in held(tmp_path, Answerer(frame_size=size), cast(manner=busy)):
        assert [e.kind for e in talk.events if e.kind in ("turn", "pause")] == ["turn", "pause"] * 3
        for event in talk.events:
            assert event.missed is None
            if event.kind == "pause":
                assert sounding(audio[1], event.start, event.end) < 0.001
                assert 0.5 <= event.end - event.start <= 1.2
            else:
                assert sounding(audio[1], event.start, event.start + 0.05) > 0.9
                assert sounding(audio[1], event.start - 0.03, event.start - 0.001) == 0
                assert sounding(audio[1], event.end + 0.001, event.end + 0.03) == 0


def test_users_wait_for_the_end_of_a_reply_and_no_longer_than_their_patience(tmp_path: Path) -> None:
    ((talk, audio), _) = held(tmp_path, Answerer(), cast())
    first, second = talk.events[:2]
    last_sound = np.flatnonzero(np.abs(audio[0][: round(second.start * SAMPLE_RATE)]) > 1e-4)[-1] / SAMPLE_RATE
    assert 0.7 <= second.start - last_sound <= 1.4 + 0.04 + HOP
    ((talk, _), _) = held(tmp_path / "silent", SilenceSystem(), cast())
    first, second = talk.events[:2]
    assert second.start - first.end == pytest.approx(4.04, abs=HOP)


def test_an_interruption_begins_at_the_drawn_moment_of_the_reply(tmp_path: Path) -> None:
    sure = CALM._replace(barge_in=1.0, barge_in_after=(1.0, 1.0))
    ((talk, audio), _) = held(tmp_path, Answerer(), cast(manner=sure))
    turn, interruption = talk.events[:2]
    after = audio[0][round(turn.end * SAMPLE_RATE) :]
    onset = turn.end + np.flatnonzero(np.abs(after) > 1e-4)[0] / SAMPLE_RATE
    assert interruption.kind == "interruption"
    assert interruption.start - onset == pytest.approx(1.04, abs=HOP)


def test_what_a_short_reply_does_not_allow_is_missed_and_says_why(tmp_path: Path) -> None:
    sure = CALM._replace(barge_in=1.0, barge_in_after=(1.0, 1.0))
    ((talk, _), _) = held(tmp_path, Answerer(length=0.6), cast(manner=sure))
    assert [e.missed is None for e in talk.events] == [True, False] * 3
    assert talk.events[1].missed == "the agent never spoke for 1 s after this turn"


def test_the_same_seed_is_the_same_talk_and_a_larger_simulation_begins_with_the_smaller(tmp_path: Path) -> None:
    busy = Manner(pause=0.5, filler=0.5, repair=0.5, barge_in=0.4, backchannel=0.4)
    small = held(tmp_path / "a", Answerer(), cast(manner=busy))
    large = held(tmp_path / "b", Answerer(), cast(manner=busy, talks=3))
    other = held(tmp_path / "c", Answerer(), cast(manner=busy), DriveOptions(tail=0.5, seed=1))
    assert [t for t, _ in small] == [t for t, _ in large[:2]]
    assert [t.events for t, _ in small] != [t.events for t, _ in other]


def test_real_time_gives_the_bytes_of_the_simulated_clock(tmp_path: Path) -> None:
    one = Scenarios("t", "1", (Scenario("one", turns=(Turn("one two three"), Turn("four five"))),))
    who = cast(one, CALM._replace(patience=1.0, gap=(0.7, 0.7)), talks=1)
    ((simulated, _),) = held(tmp_path / "s", Answerer(0.4), who, DriveOptions(tail=0.1, lead_in=0.16))
    live = DriveOptions(tail=0.1, lead_in=0.16, clock="real-time", jitter_limit=math.inf)
    ((real, _),) = held(tmp_path / "r", Answerer(0.4), who, live)
    assert real.recording == simulated.recording
    assert real.events == simulated.events


def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = held(tmp_path / "whole", Answerer(), cast())
    held(tmp_path / "cut", Answerer(), cast())
    file = tmp_path / "cut" / "run" / "conversations.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:50])  # killed while it wrote the second talk
    assert [t for t, _ in held(tmp_path / "cut", Answerer(), cast())] == [t for t, _ in whole]


def test_declared_rates_are_read_back_by_the_timing_metrics(tmp_path: Path) -> None:
    """Planted 30 %, 25 % and 35 % on a system that speaks long enough; 180 turns, 95 % intervals."""
    rates = CALM._replace(pause=0.3, barge_in=0.25, backchannel=0.35)
    who = cast(manner=rates._replace(gap=(0.7, 0.7)), talks=60)
    counts = {"turn": 0, "pause": 0, "interruption": 0, "backchannel": 0}
    options = DriveOptions(tail=0.2)
    samples = {s.id: s for s in Simulation(who, options, open_instruments("none")).suite().samples}
    detector = Loud()
    for talk, audio in held(tmp_path, Answerer(2.0, quiet=1.4), who, options):
        listening = hear(talk, audio, SAMPLE_RATE, detector, None)
        scene = scene_maker(DEFAULT, "vad")(Heard(samples[talk.sample], talk, listening, audio.shape[1] / SAMPLE_RATE))
        assert scene is not None
        counts["turn"] += sum(f.outcome == "answered" for f in judge_turns(scene))
        for kind, rule in (("pause", judge_pauses), ("interruption", judge_stops), ("backchannel", judge_holds)):
            counts[kind] += sum(f.outcome != "not_exercised" for f in rule(scene))
    assert counts["turn"] == 180
    for kind, rate in (("pause", 0.3), ("interruption", 0.25), ("backchannel", 0.35)):
        share, slack = counts[kind] / 180, 1.96 * math.sqrt(rate * (1 - rate) / 180)
        assert abs(share - rate) < slack, kind


class Loud:
    """An activity detector for tones."""

    source = "level"

    def spans(self, audio: Audio, sample_rate: int) -> tuple:  # type: ignore[type-arg]
        from protocols.timeline import track

        loud = np.abs(audio[: len(audio) // 240 * 240]).reshape(-1, 240).max(axis=1) > 0.005
        edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
        return track((a / 100, b / 100) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def test_an_echo_and_a_silent_system_end_their_talks(tmp_path: Path) -> None:
    for name, system, ears in (("echo", EchoSystem(), "asr"), ("silence", SilenceSystem(), "text")):
        ((talk, audio),) = held(tmp_path / name, system, cast(talks=1, ears=ears))
        assert talk.reason is None
        assert audio.shape[1] < 30 * SAMPLE_RATE


def test_users_cannot_read_a_system_that_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --ears asr"):
        held(tmp_path, EchoSystem(), cast())
    assert not (tmp_path / "run").exists()


def test_a_program_is_talked_with(tmp_path: Path) -> None:
    system = CommandSystem(f"{sys.executable} {Path(__file__).parent / 'peers' / 'answerer.py'}")
    try:
        ((talk, _),) = held(tmp_path, system, cast(talks=1))
    finally:
        system.close()
    assert [e.missed for e in talk.events] == [None] * 3
    assert talk.transcripts[0].text == "hello"  # it answers once in a talk
    assert talk.events[1].start - talk.events[0].end < 0.3 + 0.5 + 1.4 + 0.1


def test_an_endless_talker_is_talked_to_and_the_talk_ends(tmp_path: Path) -> None:
    who = cast(manner=CALM._replace(endurance=2.0), longest=8.0, talks=1)
    ((talk, audio),) = held(tmp_path, Answerer(length=100.0), who)
    assert audio.shape[1] < 11 * SAMPLE_RATE
    assert talk.events[1].start - talk.events[0].end == pytest.approx(0.4 + 2.0 + 0.04, abs=0.09)
    assert talk.events[2].missed is not None or talk.events[2].start < 8.0


def test_a_script_follows_what_it_heard() -> None:
    steps = (Turn("a"), Turn("b", ("New York",), "c"), Turn("d", ("yes",)), Turn("e"))
    mind = ScriptMind(Scenario("s", turns=steps))
    assert mind.next(1, [Said("user", "a"), Said("agent", "It is new york.")]) == (1, "b")
    assert mind.next(1, [Said("user", "a"), Said("agent", "Newark York")]) == (1, "c")
    assert mind.next(2, [Said("agent", "yesterday")]) == (3, "e")
    assert mind.next(4, []) is None


def test_turns_that_were_not_called_for_are_missed(tmp_path: Path) -> None:
    steps = (Turn("one two"), Turn("three four", ("Oslo",)), Turn("five", ("Bergen",)))
    ((talk, _), _) = held(tmp_path, Answerer(), cast(Scenarios("t", "1", (Scenario("s", turns=steps),))))
    assert [e.missed for e in talk.events] == [None, None, "the user had no reason to say it"]


def test_texts_are_said_with_fillers_repairs_and_one_pause() -> None:
    plan = plan_turn(Manner(pause=1, filler=1, repair=1), 0, 0)
    said = worded("What is the name | of the capital | of Norway?", plan, "Um")
    assert said == ("Um, what is the, sorry, what is the name", "of the capital of Norway?")
    assert worded("Yes.", plan._replace(filler=False), "Um") == ("Yes.",)
    assert worded("I want some tea", plan._replace(pause=None), "Uh") == ("Uh, I want some, sorry, I want some tea",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: t\nversion: '1'\nscenarios: []", "holds no scenarios"),
        ("name: t\nversion: '1'\nscenarios: [{id: a, turns: [{say: '...'}]}]", "can be spoken"),
        ("name: t\nversion: '1'\nscenarios: [{id: a}]", "neither turns nor a goal"),
        ("name: t\nversion: '1'\nscenarios: [{id: a, goal: x}, {id: a, goal: x}]", "id twice"),
        ("name: t\nversion: '1'\nscenario: []", "did you mean 'scenarios'"),
    ],
)
def test_a_faulty_file_is_one_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        read_scenarios(str(tmp_path / "s.yaml"))


def test_rates_that_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match="more than 1"):
        Manner(barge_in=0.6, backchannel=0.6).check()


# --- users of a language model -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Server:
    return Server()


def modelled(server: Server, folder: Path, timeout: float = 30.0) -> Cast:
    endpoint = Endpoint(server.url, "m", 1, timeout=timeout, retries=1)
    model = Model(Judge(endpoint, ReplyLog(folder / "user.jsonl")), load_prompt("persona"), 3)
    return cast(Scenarios("t", "1", (Scenario("s", goal="to know"),)), model=model, talks=1)


def test_a_model_speaks_until_it_is_done_and_is_asked_nothing_twice(tmp_path: Path, server: Server) -> None:
    lines = ['{"say": "What is two plus two?", "done": false}', '{"say": "", "done": true}']
    server.act = lambda h, n, body: h.reply(lines[min(n, 2) - 1])
    ((talk, _),) = held(tmp_path / "a", Answerer(), modelled(server, tmp_path))
    assert [e.label for e in talk.events] == ["What is two plus two?"]
    assert "Oslo" in server.asked[-1]["messages"][1]["content"]
    ((again, _),) = held(tmp_path / "b", Answerer(), modelled(server, tmp_path))
    assert again == talk
    assert len(server.asked) == 2


def test_a_reply_that_cannot_be_read_is_asked_for_once_more_and_then_fails_its_talk(
    tmp_path: Path, server: Server
) -> None:
    server.act = lambda h, n, body: h.reply("certainly!")
    ((talk, _),) = held(tmp_path, Answerer(), modelled(server, tmp_path))
    assert "the simulated user has no words" in str(talk.reason)
    assert len(server.asked) == 2


def test_an_overloaded_model_is_waited_for_and_a_hanging_one_fails_its_talk(tmp_path: Path, server: Server) -> None:
    def busy(handler, n, body):  # type: ignore[no-untyped-def]
        handler.send(429, b"{}") if n == 1 else handler.reply('{"say": "", "done": true}')

    server.act = busy
    ((talk, _),) = held(tmp_path / "busy", Answerer(), modelled(server, tmp_path))
    assert talk.reason is None
    server.act = lambda h, n, body: time.sleep(1.0)
    ((talk, _),) = held(tmp_path / "hang", Answerer(), modelled(server, tmp_path / "other", 0.3))
    assert "the simulated user has no words" in str(talk.reason)


def test_a_refused_key_stops_the_run(tmp_path: Path, server: Server) -> None:
    server.act = lambda h, n, body: h.send(401, b"{}")
    with pytest.raises(SystemUnreachable, match="401"):
        held(tmp_path, Answerer(), modelled(server, tmp_path))


def test_a_dry_run_counts_talks_events_and_cost_and_writes_nothing(tmp_path: Path) -> None:
    given = ["simulate", "--talks", "50", "--dry-run", "--json", "--out", str(tmp_path / "run")]
    by_script = CliRunner().invoke(cli, given)
    assert json.loads(by_script.stdout)["turns"] == 50 * 3 + 8
    model = ["--user-url", "http://127.0.0.1:9/v1", "--user-model", "m", "--user-price", "1", "2"]
    by_model = json.loads(CliRunner().invoke(cli, [*given, *model]).stdout)
    assert by_model["requests"] == 300
    assert by_model["cost"] == pytest.approx((by_model["tokens_in"] + 2 * by_model["tokens_out"]) / 1e6)
    assert not (tmp_path / "run").exists()


def test_systems_that_follow_a_script_cannot_follow_a_user(tmp_path: Path) -> None:
    refused = CliRunner().invoke(cli, ["simulate", "--system", "scripted:good", "--out", str(tmp_path / "run")])
    assert isinstance(refused.exception, InputError)
    assert not (tmp_path / "run").exists()
