"""Raw talks from run folders and folders of recordings, and every way a talk can be unfit for pairs."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from builders import SPOKEN, spoken, talk
from eval.activity import SileroActivity
from eval.hear_all import Instruments, listen
from eval.pairs.branch import time_of
from eval.pairs.checks import english, failed, unfit
from eval.pairs.chosen import Parts
from eval.pairs.events import events_of
from eval.pairs.folder import FolderTalks
from eval.pairs.making import TalkPairs, pairs_of
from eval.pairs.marks import read_marks
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from eval.pairs.synthetic import LAYOUT
from eval.pairs.talks import Exclusion, RawTalk, lines_of, replies_of, scene_of
from eval.runner import DriveOptions, drive
from model.lm import Decoding
from model.systems.scripted import Line, ScriptedSystem
from model.tiny.voice import layout_of
from protocols.duplex import SAMPLE_RATE, DuplexSystem
from protocols.errors import StoreError
from protocols.records import Conversation, Cue, Event, Sample, Word
from protocols.runs import Protocol, RunInfo
from protocols.store import Run
from protocols.timeline import track

SETTINGS = PairSettings()
PARTS = Parts(LAYOUT)
LEAD_IN = 0.96
QUESTION, SPEECH = spoken("q01.flac")
REPLY, REPLY_SPEECH = spoken("q01.reply.flac")


def asked(name: str, *delays: float) -> tuple[Sample, list[Line]]:
    turn = Event("turn", SPEECH.start, SPEECH.end, "given")
    lines = [Line(LEAD_IN + SPEECH.end + d - REPLY_SPEECH.start, REPLY, "That is the River Thames.") for d in delays]
    return Sample(name, "turns", (Cue("q01.flac", 0.0),), len(QUESTION) / 24_000, (turn,), "Which river is it?"), lines


def run_of(folder: Path, system: DuplexSystem, samples: list[Sample], tail: float = 6.0) -> Run:
    protocol = Protocol("planted", "", 1, 0, LEAD_IN, tail, "none", "simulated")
    run = Run.create(folder, RunInfo("x", "1", protocol, "running", "", len(samples)))
    with run.writing() as writing:
        writing.append(*samples)
    drive(system, samples, SPOKEN, run, DriveOptions(lead_in=LEAD_IN, tail=tail))
    listen(run, Instruments(SileroActivity(), None))
    return run


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[RawTalk, TalkPairs]]:
    """Scripted faults in sound, driven, heard by the detector, made into pairs by program."""
    scenes = [asked("good", 0.5), asked("late", 2.4), asked("silent"), asked("cuts in", -1.5),
              asked("cuts in and answers", -2.6, 0.8)]  # fmt: skip
    system = ScriptedSystem("x", {s.id: script for s, script in scenes})
    run = run_of(tmp_path_factory.mktemp("run") / "run", system, [s for s, _ in scenes])
    source = RunTalks(run.path, SETTINGS)
    found = {}
    for name in source.names():
        raw = source.read(name)
        assert isinstance(raw, RawTalk)
        assert unfit(raw, SETTINGS) is None
        found[raw.heard.sample.id] = raw, pairs_of(raw, PARTS, SETTINGS)
    return found


@pytest.mark.parametrize(
    ("name", "faults"),
    [("good", []), ("late", ["late"]), ("silent", ["silent"]), ("cuts in", ["cuts_in"]),
     ("cuts in and answers", ["cuts_in"])],
)  # fmt: skip
def test_faults_planted_in_sound_are_flagged(
    planted: dict[str, tuple[RawTalk, TalkPairs]], name: str, faults: list[str]
) -> None:
    assert [f.fault for f in planted[name][1].flags] == faults


def test_the_chosen_reply_is_the_recording_of_the_agent_moved(planted: dict[str, tuple[RawTalk, TalkPairs]]) -> None:
    raw, made = planted["late"]
    (pair,) = made.pairs
    (cut,) = pair.chosen.cuts
    end = raw.heard.talk.events[0].end
    assert cut.path == raw.sound
    assert end + 0.4 - 0.01 <= cut.at < end + 0.5
    assert cut.end - cut.start == pytest.approx(REPLY_SPEECH.duration, abs=0.1)
    assert cut.start == pytest.approx(end + 2.4, abs=0.06)


def test_after_a_cut_in_the_answer_that_came_is_chosen(planted: dict[str, tuple[RawTalk, TalkPairs]]) -> None:
    raw, made = planted["cuts in and answers"]
    (pair,) = made.pairs
    assert pair.chosen.cuts[0].start == pytest.approx(raw.heard.talk.events[0].end + 0.8, abs=0.06)
    assert pair.chosen.cuts[0].at == pytest.approx(pair.chosen.cuts[0].start, abs=0.09)


def test_columns_and_words_of_the_embedded_model_agree_with_its_layout(tmp_path: Path) -> None:
    """A real talk of a random model of that shape: each word is dated by the column that says it."""
    from test_model_systems_tiny import CONFIG, WORDS, LevelCodec

    from model.lm import DuplexLM
    from model.systems.tiny import Parts as TinyParts
    from model.systems.tiny import TinySystem

    codec = LevelCodec()
    parts = TinyParts(DuplexLM(CONFIG, seed=1), codec, WORDS, "test")  # type: ignore[arg-type]
    system = TinySystem("tiny:test", parts, Decoding(text_temperature=1.5), 2)
    sample, _ = asked("s")
    run = run_of(tmp_path / "run", system, [sample], tail=1.0)
    system.close()
    source = RunTalks(run.path, SETTINGS)
    (raw,) = [source.read(name) for name in source.names()]
    assert isinstance(raw, RawTalk)
    assert raw.tokens is not None
    layout = layout_of(codec)  # type: ignore[arg-type]
    said = raw.heard.model_transcript()
    assert said is not None
    columns = np.flatnonzero(raw.tokens[layout.text] > 3)
    times = [time_of(int(c), layout) for c in columns]
    np.testing.assert_allclose(times[: len(said.words)], [w.start for w in said.words])
    loud = np.flatnonzero(raw.tokens[layout.user].any(axis=0))  # the user's first sound
    assert (loud[0] + layout.user_lag) * layout.frame == pytest.approx(LEAD_IN + SPEECH.start, abs=0.1)


# --- folders ---


def sounds(folder: Path, name: str, **words: list[list[object]]) -> None:
    """q01 and its reply as a two-channel file, with alignments if `words` gives any."""
    n = len(QUESTION) + 4 * SAMPLE_RATE
    both = np.zeros((n, 2), np.float32)
    both[: len(QUESTION), 1] = QUESTION
    at = len(QUESTION) + SAMPLE_RATE
    both[at : at + len(REPLY), 0] = REPLY[: n - at]
    soundfile.write(folder / f"{name}.wav", both, SAMPLE_RATE)
    if words:
        (folder / f"{name}.json").write_text(json.dumps({"alignments": words["alignments"], "text_conditions": {}}))


def read_all(folder: Path) -> dict[str, RawTalk | Exclusion]:
    source = FolderTalks(folder, SileroActivity(), None, SETTINGS)
    return {name.id.rpartition("/")[2]: source.read(name) for name in source.names()}


def test_a_folder_is_read_with_and_without_alignments(tmp_path: Path) -> None:
    sounds(tmp_path, "plain")
    aligned = [["which", [0.5, 0.8], "SPEAKER_USER"], ["river", [0.8, 1.2], "SPEAKER_USER"],
               ["thames", [4.0, 4.6], "SPEAKER_MAIN"]]  # fmt: skip
    sounds(tmp_path, "aligned", alignments=aligned)
    found = read_all(tmp_path)
    plain, given = found["plain"], found["aligned"]
    assert isinstance(plain, RawTalk)
    assert isinstance(given, RawTalk)
    assert [e.kind for e in plain.heard.talk.events] == ["turn"]
    assert plain.heard.talk.events[0].end == pytest.approx(SPEECH.end, abs=0.06)
    lines = lines_of(given, replies_of(given, scene_of(given, SETTINGS)))
    assert [(x.channel, x.text) for x in lines] == [("user", "which river"), ("agent", "thames")]
    assert [f.fault for f in pairs_of(given, PARTS, SETTINGS).flags] == ["late"]


def test_two_files_are_one_talk_and_a_lone_side_is_left_out(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.agent.wav", REPLY, SAMPLE_RATE)
    soundfile.write(tmp_path / "a.user.wav", QUESTION, SAMPLE_RATE)
    soundfile.write(tmp_path / "b.agent.wav", REPLY, SAMPLE_RATE)
    soundfile.write(tmp_path / "c.wav", QUESTION, SAMPLE_RATE)
    soundfile.write(tmp_path / "e.user.wav", QUESTION, SAMPLE_RATE)
    (tmp_path / "d.wav").write_bytes(b"RIFF of nothing")
    found = read_all(tmp_path)
    assert isinstance(found["a"], RawTalk)
    assert {k: v.reason for k, v in found.items() if isinstance(v, Exclusion)} == {
        "b": "missing_side", "c": "missing_side", "d": "unreadable", "e": "missing_side",
    }  # fmt: skip


def test_the_same_sound_is_the_same_talk_in_any_lossless_file(tmp_path: Path) -> None:
    both = np.stack([REPLY[:24_000], QUESTION[:24_000]], axis=1)
    soundfile.write(tmp_path / "a.wav", both, SAMPLE_RATE)
    soundfile.write(tmp_path / "b.flac", both, SAMPLE_RATE)
    soundfile.write(tmp_path / "c.agent.wav", both[:, 0], SAMPLE_RATE)
    soundfile.write(tmp_path / "c.user.wav", both[:, 1], SAMPLE_RATE)
    with soundfile.SoundFile(tmp_path / "d.wav", "w", SAMPLE_RATE, 2) as file:
        file.title = "another header"
        file.write(both)
    others = {"e": both[:, ::-1], "f": both[:-1], "g": both * 0.9}
    for name, other in others.items():
        soundfile.write(tmp_path / f"{name}.wav", other, SAMPLE_RATE)
    soundfile.write(tmp_path / "h.wav", both, SAMPLE_RATE // 2)
    (tmp_path / "i.wav").write_bytes(b"RIFF of nothing")
    source = FolderTalks(tmp_path, SileroActivity(), None, SETTINGS)
    found = {name.id.rpartition("/")[2]: name.sound_sha256 for name in source.names()}
    assert len({found[name] for name in "abcd"}) == 1
    assert len({found[name] for name in "aefgh"}) == 5
    assert found["i"] is None


def test_alignments_that_are_none_leave_the_talk_out(tmp_path: Path) -> None:
    sounds(tmp_path, "a", alignments=[["x", [2.0, 1.0], "SPEAKER_MAIN"]])
    sounds(tmp_path, "b")
    (tmp_path / "b.json").write_text('{"alignments": [["x", "y"]]}')
    assert {v.reason for v in read_all(tmp_path).values() if isinstance(v, Exclusion)} == {"unreadable"}


def test_events_are_read_off_who_speaks_when() -> None:
    agent = track([(3, 8), (12, 16)])
    user = track([(0.5, 1.2), (1.6, 2.5), (5, 5.4), (13, 14)])
    words = [Word("mm-hmm", 5.0, 5.4), Word("no", 13.1, 13.5), Word("wait", 13.5, 13.9)]
    found = events_of(agent, user, words, "test", SETTINGS)
    assert [(e.kind, e.start, e.end) for e in found] == [
        ("turn", 0.5, 2.5), ("backchannel", 5, 5.4), ("interruption", 13, 14),
    ]  # fmt: skip


# --- what is unfit ---


def reason(script: str, duration: float = 10.0, **raw: object) -> str | None:
    made = RawTalk("t", talk(script, duration))._replace(**raw)  # type: ignore[arg-type]
    found = unfit(made, SETTINGS)
    return None if found is None else found.reason


def test_every_way_to_be_unfit_has_its_name() -> None:
    good = "agent: It[3-3.5] is[3.5-4] Rome[4-4.5] | user: [1-2] | turn: [1-2]"
    assert reason(good) is None
    assert reason(good, user_words=(Word("hi", 11, 12),)) == "outside"
    assert reason(good, 1.5) == "too_short"
    assert reason("agent: It[3-3.5] is[3.5-4] Rome[4-4.5]") == "missing_side"
    same = " ".join(f"you[{i}-{i + 0.5}]" for i in range(2, 9))
    assert reason(f"agent: {same} | user: [1-2]") == "asr_failed"
    assert reason("agent: Это[3-3.5] Рим[3.5-4] да[4-5] | user: [1-2]") == "not_english"
    swapped = talk("agent: [1-2] | user: [3-5]", 10)
    with_words = talk("agent: It[3-3.5] is[3.5-4] Rome[4-4.5]", 10)
    turned = swapped._replace(talk=with_words.talk)
    assert unfit(RawTalk("t", type(swapped)(*turned)), SETTINGS).reason == "swapped"  # type: ignore[union-attr]


def test_transcripts_are_told_from_failures_and_other_languages() -> None:
    fast = [Word(f"w{i}", i * 0.05, i * 0.05 + 0.05) for i in range(40)]
    assert failed(fast) == "40 words in 2.0 s"
    assert failed([Word("yes", 0, 1), Word("Yes.", 1, 2)]) is None
    assert english(["Bonjour"])  # a few words show nothing
    french = [
        "je",
        "ne",
        "sais",
        "pas",
        "si",
        "vous",
        "voulez",
        "parler",
        "avec",
        "moi",
        "mais",
        "nous",
        "sommes",
        "tous",
    ]
    assert not english(french * 2)


def test_a_mark_that_is_none_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "marks.jsonl"
    path.write_text('{"talk": "r/s.0", "at": 3.5, "axis": "tone", "rater": "r1"}\n{"talk": 1}\n')
    with pytest.raises(StoreError, match="line 2 is not a mark"):
        read_marks(path)
    path.write_text(path.read_text().splitlines()[0])
    assert read_marks(path)["r/s.0"][0].axis == "tone"


def test_a_talk_without_recording_or_hearing_is_left_out_with_its_reason(tmp_path: Path) -> None:
    sample, script = asked("s", 0.5)
    run = run_of(tmp_path / "run", ScriptedSystem("x", {"s": script}), [sample])
    with run.writing() as writing:
        writing.append(Conversation("s", 1, "x", 0, None, "the system hung up"))
    source = RunTalks(run.path, SETTINGS)
    assert [getattr(source.read(n), "reason", None) for n in source.names()] == [None, "no_recording"]
    (run.path / "listening.jsonl").unlink()
    again = RunTalks(run.path, SETTINGS)
    assert [getattr(again.read(n), "reason", None) for n in again.names()] == ["not_heard", "no_recording"]
