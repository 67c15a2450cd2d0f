"""Other benchmarks' folders, made here: what is read from them, what a bad one says, and that our runs go back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from app.exchange import imported
from app.show import Terminal
from builders import spoken
from eval.activity import SileroActivity
from eval.export_fdb import export_fdb
from eval.tasks.import_fdb import fdb_tasks
from eval.tasks.import_moshi import moshi_tasks, moshi_words
from eval.tasks.suite import load_suite
from protocols.errors import InputError
from protocols.records import Conversation, Listening, Sample, Score
from protocols.store import Run


def write(folder: Path, name: str, data: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(data))


def user(at: float = 0.5, seconds: float = 8.0, rate: int = 24_000) -> tuple[np.ndarray, float, float]:
    """A question in silence, and where it starts and ends."""
    clip, span = spoken("q02.flac")
    audio = np.zeros(round(seconds * 24_000), np.float32)
    audio[round(at * 24_000) : round(at * 24_000) + len(clip)] = clip
    return audio[:: 24_000 // rate], at + span.start, at + span.end


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """Turn-taking 0 (answered) and 1 (never answered), a pause set, an interruption of v1.5; rates differ."""
    audio, start, end = user()
    root = tmp_path / "v1_0"
    for n in ("0", "1"):
        place = root / "candor_turn_taking" / n
        write(place, "turn_taking.json", [{"text": "[TURN-TAKING]", "timestamp": [end, end + 0.4]}])
        write(place, "transcription.json", [{"speaker": 0, "item": [
            {"text": "Which", "timestamp": [start, start + 0.2]}, {"text": "rings", "timestamp": [end - 0.4, None]},
        ]}])  # fmt: skip
        soundfile.write(place / "input.wav", audio[::3], 8_000)
    reply, _ = spoken("q02.reply.flac")
    output = np.zeros_like(audio)
    output[round((end + 0.5) * 24_000) :][: len(reply)] = reply
    place = root / "candor_turn_taking" / "0"
    soundfile.write(place / "output.wav", output, 24_000)
    write(place, "output.json", {"text": "I mean", "chunks": [
        {"text": "I", "timestamp": [end + 0.5, None]}, {"text": " mean", "timestamp": [end + 0.7, end + 0.9]},
    ]})  # fmt: skip
    pause = root / "synthetic_pause_handling" / "10"
    write(pause, "pause.json", [{"text": "[PAUSE]", "timestamp": [1.0, 1.5]}])
    soundfile.write(pause / "input.wav", audio, 24_000)
    overlap = root / "user_interruption" / "2"
    write(overlap, "metadata.json", {"context_text": "a", "current_turn_text": "b", "timestamps": [1.0, 2.0]})
    soundfile.write(overlap / "input.wav", audio, 24_000)
    return root


def test_each_set_of_a_folder_is_a_task_with_its_events(bench: Path) -> None:
    tasks = {t.name: t.samples for t in fdb_tasks(bench)}
    _, start, end = user()
    turn = tasks["candor_turn_taking"][0]
    assert [(e.kind, e.start, e.end) for e in turn.events] == [("turn", start, end)]
    assert turn.events[0].source == "given:turn_taking.json"
    assert turn.text == "Which rings"
    assert turn.length == 8.0
    assert [(e.kind, e.start, e.end) for e in tasks["synthetic_pause_handling"][0].events] == [("pause", 1.0, 1.5)]
    interruption = tasks["user_interruption"][0]
    assert [(e.kind, e.start, e.end, e.label) for e in interruption.events] == [("interruption", 1.0, 2.0, "b")]


def test_a_pause_set_without_words_has_its_turn_from_a_detector(bench: Path) -> None:
    detector = SileroActivity()
    turn, pause = {t.name: t.samples for t in fdb_tasks(bench, detector=detector)}["synthetic_pause_handling"][0].events
    _, start, end = user()
    assert (turn.kind, turn.source, pause.kind) == ("turn", detector.source, "pause")
    assert (turn.start, turn.end) == pytest.approx((start, end), abs=0.06)
    write(bench / "synthetic_pause_handling" / "10", "pause.json", [{"timestamp": [0.1, 0.2]}])
    outside = {t.name: t.samples for t in fdb_tasks(bench, detector=detector)}["synthetic_pause_handling"][0].events
    assert [e.kind for e in outside] == ["pause"]


@pytest.fixture
def twins(bench: Path) -> Path:
    """A v1.5 set: a question, a "yeah" over the answer; beside it the same talk without the "yeah". Both answered."""
    asked, _, end = user(at=0.5, seconds=14.0)
    murmur, _ = spoken("q04.flac")
    over = asked.copy()
    at = round((end + 2.0) * 24_000)
    over[at : at + 24_000] += murmur[:24_000]
    reply, _ = spoken("q02.reply.flac")
    output = np.zeros_like(asked)
    output[round((end + 0.5) * 24_000) :][: len(reply)] = reply
    place = bench / "user_backchannel" / "5"
    times = [at / 24_000, at / 24_000 + 1]
    write(place, "metadata.json", {"context_text": "a", "current_turn_text": "yeah", "timestamps": times})
    for name, sound in (("input", over), ("clean_input", asked), ("output", output), ("clean_output", output)):
        soundfile.write(place / f"{name}.wav", sound, 24_000)
    for name in ("output", "clean_output"):
        write(place, f"{name}.json", {"text": "so", "chunks": [{"text": "so", "timestamp": [end + 0.6, end + 0.8]}]})
    return bench / "user_backchannel"


def test_a_clean_twin_is_a_talk_of_its_own_without_the_overlap_and_goes_back_beside_its_twin(
    twins: Path, tmp_path: Path
) -> None:
    _, _, end = user()
    run = imported(twins, "fdb", tmp_path / "run", "theirs", "none", Terminal(as_json=True))
    with_it, without = run.read(Sample)
    assert (with_it.id, without.id) == ("user_backchannel/5", "user_backchannel-clean/5")
    assert with_it.cluster == without.cluster
    assert [e.kind for e in with_it.events] == ["turn", "backchannel"]
    assert [e.kind for e in without.events] == ["turn"]
    assert without.events[0].end == pytest.approx(end, abs=0.06)
    scores = {(s.sample, s.metric): s.value for s in run.read(Score)}
    assert scores[without.id, "timing.latency"] == scores[with_it.id, "timing.latency"]
    assert scores[without.id, "timing.latency"] == pytest.approx(0.54, abs=0.06)
    assert (with_it.id, "timing.kept_floor") in scores
    assert (without.id, "timing.kept_floor") not in scores
    export_fdb(run, tmp_path / "out")
    there = {str(p.relative_to(twins.parent)) for p in twins.rglob("*.*")}
    assert {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")} == {*there, "export.json"}
    again = imported(tmp_path / "out", "fdb", tmp_path / "again", "theirs", "none", Terminal(as_json=True))
    assert {(s.sample, s.metric): s.value for s in again.read(Score)} == pytest.approx(scores, abs=0.011)


def test_a_twin_alone_is_not_exported(twins: Path, tmp_path: Path) -> None:
    (twins / "5" / "output.wav").unlink()
    run = imported(twins, "fdb", tmp_path / "run", "theirs", "none", Terminal(as_json=True))
    with pytest.raises(InputError, match=r"nothing that can be exported: no output\.wav in user_backchannel/5"):
        export_fdb(run, tmp_path / "out")


def test_a_folder_is_a_suite_from_any_of_its_levels_and_ids_count_as_numbers(bench: Path) -> None:
    detector = SileroActivity()
    (bench / "candor_turn_taking" / "1").rename(bench / "candor_turn_taking" / "10")
    (bench / "candor_turn_taking" / "0").rename(bench / "candor_turn_taking" / "9")
    whole = load_suite(f"fdb:{bench.parent}", detector)
    alone = load_suite(f"fdb:{bench / 'candor_turn_taking'}", detector)
    assert len(whole.samples) == 4
    assert [s.id for s in alone.samples] == ["candor_turn_taking/9", "candor_turn_taking/10"]
    assert len(load_suite(f"fdb:{bench}", detector, limit=1).samples) == 3


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("candor_turn_taking/0/turn_taking.json", [{"timestamp": [None, 3.0]}], "turn_taking.json is not as"),
        ("candor_turn_taking/0/turn_taking.json", [], "dates 0 turn ends"),
        ("candor_turn_taking/0/turn_taking.json", [{"timestamp": [99.0, 99.5]}], "does not lie in the 8.00 s"),
        ("synthetic_pause_handling/10/pause.json", [{"timestamp": [2.0, 1.0]}], "pause from 2 to 1 s does not lie"),
        ("synthetic_pause_handling/10/pause.json", {"no": "list"}, "pause.json is not as"),
        ("user_interruption/2/metadata.json", {"timestamps": [1.0]}, "metadata.json is not as"),
        ("user_interruption/2/metadata.json", {"timestamps": [-1.0, 2.0]}, "does not lie in"),
    ],
)
def test_a_bad_file_is_named(bench: Path, file: str, content: object, message: str) -> None:
    (bench / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        fdb_tasks(bench)


def test_sounds_that_cannot_be_read_and_empty_folders_are_named(bench: Path, tmp_path: Path) -> None:
    (bench / "candor_turn_taking" / "1" / "input.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"1/input\.wav is not a sound file"):
        fdb_tasks(bench)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no"):
        fdb_tasks(tmp_path / "empty")
    (bench / "user_interruption").rename(bench.parent / "other")
    with pytest.raises(InputError, match="the set 'other'"):
        fdb_tasks(bench.parent / "other")


@pytest.fixture
def brought_in(bench: Path, tmp_path: Path) -> Run:
    return imported(bench, "fdb", tmp_path / "run", "theirs", "none", Terminal(as_json=True))


def test_finished_folders_become_a_scored_run(brought_in: Run) -> None:
    talks = {t.sample: t for t in brought_in.read(Conversation)}
    assert talks["candor_turn_taking/1"].reason == "no output.wav in candor_turn_taking/1"
    heard = {row.sample: row for row in brought_in.read(Listening)}["candor_turn_taking/0"]
    assert [w.text for w in heard.transcripts[0].words] == ["I", "mean"]
    assert heard.transcripts[0].words[0].end == heard.transcripts[0].words[1].start
    assert heard.guards == ()
    scores = {(s.sample, s.metric): s for s in brought_in.read(Score)}
    latency = scores["candor_turn_taking/0", "timing.latency"]
    assert latency.value == pytest.approx(0.5 + 0.04, abs=0.03)  # the reply's file has 40 ms before its speech
    assert scores["candor_turn_taking/1", "timing.latency"].outcome == "broken"
    assert brought_in.verify() == []


def test_an_import_goes_on_where_it_was_and_never_twice(brought_in: Run, bench: Path) -> None:
    before = len(list(brought_in.read(Conversation)))
    again = imported(bench, "fdb", brought_in.path, "theirs", "none", Terminal(as_json=True))
    assert len(list(again.read(Conversation))) == before


class _Stopped(Terminal):
    """Interrupts a command where it would begin to hear."""

    def progress(self, what: str, total: int) -> Any:
        if what == "hearing":
            raise KeyboardInterrupt
        return super().progress(what, total)


def test_an_import_stopped_before_its_talks_were_heard_still_knows_their_words(
    brought_in: Run, bench: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        imported(bench, "fdb", tmp_path / "later", "theirs", "none", _Stopped(as_json=True))
    assert not list(Run(tmp_path / "later").read(Listening))
    later = imported(bench, "fdb", tmp_path / "later", "theirs", "none", Terminal(as_json=True))
    assert list(later.read(Listening)) == list(brought_in.read(Listening))


def test_talks_brought_in_are_heard_by_several_processes_with_the_same_rows(bench: Path, tmp_path: Path) -> None:
    for n in range(20, 36):
        shutil.copytree(bench / "candor_turn_taking" / "0", bench / "candor_turn_taking" / str(n))
    one, two = (
        imported(bench, "fdb", tmp_path / f"by{jobs}", "theirs", "none", Terminal(as_json=True), jobs)
        for jobs in (1, 2)
    )
    assert (one.path / "listening.jsonl").read_bytes() == (two.path / "listening.jsonl").read_bytes()
    assert len(list(two.read(Listening))) == 17


def _short(audio: np.ndarray) -> np.ndarray:
    return audio[: len(audio) // 2 - 3_000]


def _stretched(audio: np.ndarray) -> np.ndarray:
    return np.repeat(audio, 2)


@pytest.mark.parametrize(
    ("change", "guard"),
    [
        (_short, "wrong_length"),
        (_stretched, "wrong_rate"),
        (lambda audio: np.clip(audio * 200, -1, 1), "clipped"),
    ],
    ids=["half is missing", "half the rate", "far too loud"],
)
def test_a_broken_output_is_an_outcome_and_has_no_score(
    bench: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], guard: str
) -> None:
    path = bench / "candor_turn_taking" / "0" / "output.wav"
    audio, rate = soundfile.read(path, dtype="float32")
    soundfile.write(path, change(audio), rate)
    run = imported(bench / "candor_turn_taking", "fdb", tmp_path / "r", "theirs", "none", Terminal(as_json=True))
    assert guard in next(iter(run.read(Listening))).guards
    assert all(s.value is None and s.outcome == "broken" for s in run.read(Score))


def test_swapped_channels_are_an_outcome(bench: Path, tmp_path: Path) -> None:
    place = bench / "candor_turn_taking" / "0"
    (place / "input.wav").rename(place / "x.wav")
    (place / "output.wav").rename(place / "input.wav")
    (place / "x.wav").rename(place / "output.wav")
    run = imported(bench / "candor_turn_taking", "fdb", tmp_path / "r", "theirs", "none", Terminal(as_json=True))
    assert next(iter(run.read(Listening))).guards == ("swapped",)
    assert all(s.value is None for s in run.read(Score))


def test_what_is_exported_is_read_back_the_same(brought_in: Run, tmp_path: Path) -> None:
    made = export_fdb(brought_in, tmp_path / "out")
    assert set(made.written) == {"candor_turn_taking/0"}
    assert made.left_out["candor_turn_taking/1"] == "no output.wav in candor_turn_taking/1"
    again = imported(tmp_path / "out", "fdb", tmp_path / "again", "theirs", "none", Terminal(as_json=True))
    one = next(s for s in brought_in.read(Sample) if s.id == "candor_turn_taking/0")
    other = next(iter(again.read(Sample)))
    assert other.events[0].end == pytest.approx(one.events[0].end)
    words = [next(t.transcripts[0].words for t in run.read(Listening) if t.sample == one.id)
             for run in (brought_in, again)]  # fmt: skip
    assert words[0] == words[1]
    a, b = (run.read_audio(next(t.recording for t in run.read(Conversation) if t.recording))
            for run in (brought_in, again))  # fmt: skip
    assert np.abs(a - b).max() <= 1 / 32767


def test_an_export_never_overwrites_and_leaves_nothing_half_done(brought_in: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        export_fdb(brought_in, tmp_path / "full")
    with pytest.raises(InputError, match="no talk of take 7"):
        export_fdb(brought_in, tmp_path / "none", take=7)
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "none.part").exists()


# --- moshi-finetune --------------------------------------------------------------------------------------------


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    audio, _, end = user()
    reply, _ = spoken("q02.reply.flac")
    agent = np.zeros_like(audio)
    agent[round((end + 0.5) * 24_000) :][: len(reply)] = reply
    folder = tmp_path / "set"
    (folder / "data_stereo").mkdir(parents=True)
    soundfile.write(folder / "data_stereo" / "a.wav", np.stack([agent, audio], axis=1), 24_000)
    words = [["mean", [end + 0.7, end + 0.9], "SPEAKER_MAIN"], ["I", [end + 0.5, end + 0.6], "SPEAKER_MAIN"]]
    write(folder / "data_stereo", "a.json", {"alignments": [*words, ["lost", [None, 1.0], "SPEAKER_MAIN"]]})
    (folder / "data.jsonl").write_text(json.dumps({"path": "data_stereo/a.wav", "duration": 8.0}) + "\n")
    return folder


def test_stereo_files_with_alignments_are_a_suite_and_a_run(stereo: Path, tmp_path: Path) -> None:
    sample = moshi_tasks(stereo, SileroActivity())[0].samples[0]
    _, start, end = user()
    assert sample.id == "data_stereo/a"
    assert sample.events[0].start == pytest.approx(start, abs=0.03)
    assert sample.events[-1].end == pytest.approx(end, abs=0.06)
    said = moshi_words(stereo / "data_stereo" / "a.wav").agent
    assert said is not None
    assert [w.text for w in said] == ["I", "mean"]
    run = imported(stereo, "moshi-finetune", tmp_path / "run", "theirs", "none", Terminal(as_json=True))
    latency = next(s for s in run.read(Score) if s.metric == "timing.latency")
    assert latency.value == pytest.approx(0.54, abs=0.06)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1"),
        ('{"path": "data_stereo/b.wav"}', "line 1: no sound file"),
        ('{"path": "../a.wav"}', "outside"),
        ("nonsense", "line 1"),
    ],
)
def test_a_bad_manifest_is_named(stereo: Path, line: str, message: str) -> None:
    (stereo / "data.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        moshi_tasks(stereo, SileroActivity())


def test_bad_alignments_and_mono_files_are_named(stereo: Path) -> None:
    path = stereo / "data_stereo" / "a.json"
    path.write_text('{"alignments": [["a", [2.0, 1.0], "SPEAKER_MAIN"]]}')
    with pytest.raises(InputError, match=r"a\.json is not as moshi-finetune writes it"):
        moshi_tasks(stereo, SileroActivity())
    path.unlink()
    soundfile.write(stereo / "data_stereo" / "a.wav", np.zeros(24_000), 24_000)
    with pytest.raises(InputError, match=r"1 channel\(s\)"):
        moshi_tasks(stereo, SileroActivity())
