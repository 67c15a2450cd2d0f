"""Timing stimuli: the same seed gives the same set, and what the events say is what sounds."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from builders import tone
from eval.activity import SileroActivity
from eval.metrics import metric
from eval.speak import ESPEAK_VOICES, EspeakSpeaker
from eval.tasks.check import check
from eval.tasks.material import Material, SpokenMaterial, StimulusTexts
from eval.tasks.recipes import PAUSES, RECIPES, Deal, make_sample
from eval.tasks.spec import StimuliSpec, SuiteSpec, TaskSpec, read_spec
from eval.tasks.stimuli import Made, cached_stimuli, make_stimuli, recorded_material, spoken_material
from eval.tasks.suite import TEXTS, Suite, load_suite, shipped_suites
from eval.tasks.user import render, user_sound
from protocols.audio import read_channel
from protocols.base import to_json
from protocols.config import read_yaml
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError, StoreError
from protocols.records import Cue, Event, Sample

TIMING = read_spec(shipped_suites()["timing"])


class Beep:
    """A speaker that is a tone as long as its text, a little different in each voice."""

    source, voices = "beep/1", ("high", "low", "soft")

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return tone(0.02 * len(text) + 0.001 * len(voice or ""))


def made(folder: Path, per_task: int = 3, seed: int = 0, material: Callable[[Path], Material] | None = None) -> Made:
    material = material or spoken_material(TEXTS, Beep())
    return make_stimuli(folder / "set", material, TIMING, StimuliSpec(per_task, seed))


@pytest.fixture(scope="module")
def detector() -> SileroActivity:
    return SileroActivity()


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory, detector: SileroActivity) -> Suite:
    """Six samples of each task, said by Beep."""
    return load_suite(str(made(tmp_path_factory.mktemp("beep"), 6).suite), detector)


def digest(folder: Path) -> str:
    """Of every file's name and bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(p.relative_to(folder)).encode() + p.read_bytes() for p in files)).hexdigest()


@pytest.mark.needs("espeak")
def test_the_same_seed_makes_the_same_set_and_another_seed_another(tmp_path: Path, detector: SileroActivity) -> None:
    hashes, files = [], []
    few = SuiteSpec("few", "1", tuple(t for t in TIMING.tasks if t.name in ("filled_pause", "background", "exchange")))
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        material = spoken_material(TEXTS, EspeakSpeaker())
        result = make_stimuli(tmp_path / name, material, few, StimuliSpec(2, seed))
        hashes.append(load_suite(str(result.suite), detector).sha256)
        files.append(digest(result.suite.parent))
    assert hashes[0] == hashes[1] != hashes[2]
    assert files[0] == files[1]


def test_the_recipes_are_those_of_the_suites_version(suite: Suite) -> None:
    """A change of a recipe or a text makes another suite: give timing.yaml another version, then this digest."""
    said = hashlib.sha256((suite.root / "samples.jsonl").read_bytes()).hexdigest()
    assert (TIMING.version, said[:16]) == ("1", "b02c867ad3f57357")


def test_the_shipped_suite_is_large_and_names_what_there_is() -> None:
    assert TIMING.stimuli is not None
    assert TIMING.stimuli.per_task * len(TIMING.tasks) >= 400
    assert [task.name for task in TIMING.tasks] == list(RECIPES)
    for task in TIMING.tasks:
        assert all(metric(name) for name in task.metrics)


def test_a_larger_set_begins_with_the_smaller_one(tmp_path: Path, suite: Suite, detector: SileroActivity) -> None:
    small, large = load_suite(str(made(tmp_path, 2).suite), detector), suite
    for a, b in zip(small.tasks, large.tasks, strict=True):
        assert a.samples == b.samples[:2]
    assert load_suite(str(suite.root / "suite.yaml"), detector, limit=2).sha256 == small.sha256


def loud(audio: Audio, start: float, end: float) -> bool:
    return bool(np.abs(audio[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]).max(initial=0.0) > 1e-3)


def test_what_the_events_say_is_what_sounds(suite: Suite) -> None:
    for sample in suite.samples:
        audio = render(sample, suite.root)
        turns = [e for e in sample.events if e.kind == "turn"]
        heard = np.flatnonzero(np.abs(audio) > 1e-3) / SAMPLE_RATE
        if turns:
            assert heard[0] == pytest.approx(turns[0].start, abs=0.006), sample.id
            assert heard[-1] == pytest.approx(turns[-1].end, abs=0.006), sample.id
        else:
            assert not heard.size
        for before, after in pairwise(turns):
            assert not loud(audio, before.end + 0.006, after.start - 0.006)
        for pause in (e for e in sample.events if e.kind == "pause"):
            filled = pause.label == "filled"
            assert loud(audio, pause.start + 0.006, pause.end - 0.006) == filled, sample.id
            assert loud(audio, pause.start - 0.03, pause.start)
            assert loud(audio, pause.end, pause.end + 0.03)


@pytest.mark.parametrize("task", ["interruption", "backchannel", "background", "side_talk"])
def test_what_happens_over_the_agent_waits_for_it(suite: Suite, task: str) -> None:
    for sample in next(t.samples for t in suite.tasks if t.name == task):
        turn, event = sample.events
        (live,) = user_sound(sample, suite.root, SAMPLE_RATE).live
        cue = sample.cues[event.cue or 0]
        assert event.kind == task
        assert event.label
        assert cue.at >= turn.end
        first = np.flatnonzero(np.abs(live.audio) > 1e-4)[0] / SAMPLE_RATE
        assert event.start == pytest.approx(cue.at + first, abs=0.006)
        assert (live.latest - live.earliest) / SAMPLE_RATE == pytest.approx(8.0 + (cue.after_agent or 0), abs=0.001)


def test_background_is_softer_and_in_another_voice(suite: Suite) -> None:
    for sample in next(t.samples for t in suite.tasks if t.name == "background"):
        user, other = (cue.path.split(".")[-3] for cue in sample.cues)
        assert user != other
        assert sample.cues[1].gain_db <= -10


def test_every_sentence_is_heard_in_every_voice_before_one_is_heard_twice() -> None:
    texts = read_yaml(TEXTS, StimulusTexts)
    for role, parts in texts.parts().items():
        asked: list[tuple[int, str | None]] = []

        class Counting:
            voices = ESPEAK_VOICES

            def count(self, role: str, n: int = len(parts)) -> int:
                return n

            def get(self, role: str, number: int, voice: str | None) -> None:
                asked.append((number % self.count(role), voice))  # noqa: B023

        for number in range(len(parts) * len(ESPEAK_VOICES)):
            deal = Deal(Counting(), number, PAUSES, np.random.default_rng(0), 3)  # type: ignore[arg-type]
            deal.take(role, deal.voice)
        assert len(set(asked)) == len(asked), role


def test_given_pauses_are_put_into_turns(tmp_path: Path) -> None:
    material = SpokenMaterial(read_yaml(TEXTS, StimulusTexts), Beep(), tmp_path)
    for number in range(6):
        sample = make_sample("pause", number, material, (0.25, 3.0), 0)
        turn, pause = sample.events
        assert pause.end - pause.start in (pytest.approx(0.25), pytest.approx(3.0))
        assert turn.start < pause.start < pause.end < turn.end


# --- recordings ------------------------------------------------------------------------------------------------


def recordings(folder: Path, extra: str = "") -> Path:
    """Three questions by two people, and a backchannel."""
    folder.mkdir()
    rows = []
    for name, seconds, voice, role in (("a", 1.0, "ann", ""), ("b", 1.4, "ben", ""), ("c", 1.2, "ann", ""),
                                       ("yes", 0.3, "ann", "backchannel")):  # fmt: skip
        soundfile.write(folder / f"{name}.wav", np.pad(tone(seconds), (7_200, 4_800)), SAMPLE_RATE)
        rows.append(f"Say {name}\tyes\t{name}.wav\t0.3\t{0.3 + seconds}\t{voice}\t{role}\n")
    header = "Questions\tAnswer\tWav Filename\tSpeech start\tSpeech end\tVoice\tRole\n"
    (folder / "questions.tsv").write_text(header + "".join(rows) + extra)
    return folder


def test_recordings_become_stimuli_and_what_they_lack_is_said(tmp_path: Path, detector: SileroActivity) -> None:
    material = recorded_material(recordings(tmp_path / "own"), detector)
    result = made(tmp_path, 3, 0, material)
    assert result.left_out == {"filled_pause": "filler", "self_repair": "repair", "side_talk": "side_talk"}
    suite = load_suite(str(result.suite), detector)
    assert result.n_samples == len(suite.samples) == 3 * 8
    for sample in suite.samples:
        audio = render(sample, suite.root)
        for event in sample.events:
            if event.kind == "turn":
                assert loud(audio, event.start, event.start + 0.02)
                assert loud(audio, event.end - 0.02, event.end)
                assert event.source == "given"
            if event.kind == "pause":
                assert not loud(audio, event.start + 0.01, event.end - 0.01)
    backchannel = next(s for s in suite.samples if s.task == "backchannel")
    assert backchannel.events[1].label == "Say yes"


def test_a_role_that_is_none_is_named(tmp_path: Path, detector: SileroActivity) -> None:
    folder = recordings(tmp_path / "own", "Say a\t\ta.wav\t0.3\t1.3\tann\tbackchanel\n".replace("a.wav", "d.wav", 1))
    soundfile.write(folder / "d.wav", tone(2.0), SAMPLE_RATE)
    with pytest.raises(InputError, match="did you mean 'backchannel'"):
        recorded_material(folder, detector)


# --- what cannot be made or played -----------------------------------------------------------------------------


class Hoarse(Beep):
    left = 9

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        self.left -= 1
        if not self.left:
            raise InputError("the voice is gone")
        return super().say(text, voice, speed)


def test_a_set_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the voice is gone"):
        made(tmp_path, 3, 0, spoken_material(TEXTS, Hoarse()))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_ever_overwritten(tmp_path: Path) -> None:
    made(tmp_path, 1)
    before = digest(tmp_path / "set")
    with pytest.raises(StoreError, match="there already"):
        made(tmp_path, 1)
    assert digest(tmp_path / "set") == before


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (StimuliSpec(0), "are none"),
        (StimuliSpec(1, pauses=()), "pauses last between"),
        (StimuliSpec(1, pauses=(0.5, -1.0)), "pauses last between"),
        (StimuliSpec(1, pauses=(float("nan"),)), "pauses last between"),
    ],
)
def test_what_makes_no_stimuli_is_said(tmp_path: Path, wanted: StimuliSpec, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make_stimuli(tmp_path / "set", spoken_material(TEXTS, Beep()), TIMING, wanted)
    unknown = SuiteSpec("x", "1", (TaskSpec("turn_ends", ()),))
    with pytest.raises(InputError, match="did you mean 'turn_end'"):
        make_stimuli(tmp_path / "set", spoken_material(TEXTS, Beep()), unknown, StimuliSpec(1))


def sample(*events: Event, length: float = 5.0, cues: tuple[Cue, ...] = (Cue("a.wav", 0.0),)) -> Sample:
    return Sample("s", "t", cues, length, events)


def event(kind: str, start: float, end: float, **more: object) -> Event:
    return Event(kind, start, end, "made", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (sample(length=0.0), "nothing to play"),
        (sample(event("turn", 1, 6)), "outside its 5 s"),
        (sample(event("turn", -0.1, 1)), "outside its 5 s"),
        (sample(event("turn", 3, 4), event("turn", 1, 2)), "not in order"),
        (sample(event("turn", 1, 3), event("turn", 2, 4)), "two turn events that overlap at 2 s"),
        (sample(event("turn", 1, 2), event("pause", 3, 4)), "lies in no turn"),
        (sample(event("turn", 1, 2, cue=1)), "moves with cue 1 of 1"),
        (sample(event("turn", 1, 2, missed="why")), "only a talk can say"),
        (sample(cues=(Cue("a.wav", 5.5),)), "at 5.5 of 5 s"),
        (sample(cues=(Cue("a.wav", 0.0, start=2.0, end=2.0),)), "2 to 2.0 s of a.wav"),
        (sample(cues=(Cue("a.wav", -1.0),)), "at -1 of 5 s"),
        (sample(cues=(Cue("a.wav", 0.0, after_agent=-0.5),)), "cannot be known"),
    ],
)
def test_a_sample_that_makes_no_sense_is_one_clear_error(
    tmp_path: Path, detector: SileroActivity, bad: Sample, says: str
) -> None:
    with pytest.raises(InputError, match=f"sample s .*{says}"):
        check(bad)
    (tmp_path / "samples.jsonl").write_bytes(to_json(bad) + b"\n")
    (tmp_path / "suite.yaml").write_text(
        "{name: x, version: '1', samples: samples.jsonl, tasks: [{name: t, metrics: []}]}"
    )
    soundfile.write(tmp_path / "a.wav", tone(1.0), SAMPLE_RATE)
    with pytest.raises(InputError, match=f"sample s .*{says}"):
        load_suite(str(tmp_path / "suite.yaml"), detector)


def test_events_of_different_kinds_may_overlap_and_touch() -> None:
    check(sample(event("turn", 0, 2), event("pause", 0.5, 1), event("background", 0.7, 1.5), event("turn", 2, 3)))


@pytest.mark.parametrize(
    ("cue", "says"),
    [
        (Cue("a.wav", 0.0, start=2.0), "lasts 1 s; nothing can be cut from 2 s"),
        (Cue("a.wav", 0.0, end=2.0), "lasts 1 s; nothing can be cut from 0 s to 2 s"),
        (Cue("a.wav", 4.5), "does not fit into 5.0 s"),
        (Cue("a.wav", 4.5, after_agent=1.0), "does not fit into 5.0 s"),
        (Cue("a.wav", 0.0, channel=1), "left agent, right user"),
        (Cue("empty.wav", 0.0), "holds no audio"),
    ],
)
def test_a_cue_that_is_not_in_its_file_is_one_clear_error(tmp_path: Path, cue: Cue, says: str) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0), SAMPLE_RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), SAMPLE_RATE)
    with pytest.raises(InputError, match=says):
        user_sound(sample(cues=(cue,)), tmp_path, SAMPLE_RATE)


@pytest.mark.parametrize(
    ("suite", "lines", "says"),
    [
        ({}, "", "no source of samples"),
        ({"samples": "s.jsonl", "questions": "."}, "", "questions and samples"),
        ({"samples": "none.jsonl"}, "", "cannot read"),
        ({"samples": "s.jsonl"}, "", "holds no samples of t"),
        ({"samples": "s.jsonl"}, "{}", "line 1: not a Sample"),
        ({"samples": "s.jsonl"}, to_json(Sample("s", "u", (), 1.0)).decode(), "line 1: unknown task 'u'"),
        ({"samples": "s.jsonl"}, to_json(Sample("s", "t", (Cue("no.wav", 0.0),), 1.0)).decode(), "lacks the sound"),
    ],
)
def test_a_suite_of_samples_says_what_is_wrong(
    tmp_path: Path, detector: SileroActivity, suite: dict[str, str], lines: str, says: str
) -> None:
    spec = {"name": "x", "version": "1", "tasks": [{"name": "t", "metrics": []}], **suite}
    (tmp_path / "suite.yaml").write_bytes(msgspec.yaml.encode(spec))
    (tmp_path / "s.jsonl").write_text(lines)
    with pytest.raises(InputError, match=says):
        load_suite(str(tmp_path / "suite.yaml"), detector)


@pytest.mark.needs("espeak")
def test_a_suite_that_is_made_on_first_use_is_made_once(tmp_path: Path, detector: SileroActivity) -> None:
    (tmp_path / "mine.yaml").write_text(
        "{name: mine, version: '1', stimuli: {per_task: 2, pauses: [0.5]}, tasks: [{name: pause, metrics: []}]}"
    )
    told: list[str] = []
    first, second = (load_suite(str(tmp_path / "mine.yaml"), detector, tell=told.append) for _ in range(2))
    assert first == second
    assert len(told) == 1
    assert [s.events[1].end - s.events[1].start for s in first.samples] == [pytest.approx(0.5)] * 2
    assert read_channel(first.root / first.samples[0].cues[0].path).size


def silences(folder: Path) -> SuiteSpec:
    """A suite that needs no speech, with a speaker that is always there."""
    soundfile.write(folder / "a.wav", tone(1.0), SAMPLE_RATE)
    (folder / "speech.tsv").write_text("Text\tFile\nHello\ta.wav\n")
    return SuiteSpec("x", "1", (TaskSpec("silence", ()),), stimuli=StimuliSpec(40, speaker=f"recorded:{folder}"))


def test_several_processes_may_make_the_same_set_at_once(tmp_path: Path) -> None:
    spec = silences(tmp_path)
    assert spec.stimuli is not None
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(cached_stimuli, spec, spec.stimuli, TEXTS, tmp_path / "cache") for _ in range(8)]
        assert len({made.result() for made in waiting}) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_changed_text_makes_another_set(tmp_path: Path) -> None:
    spec = silences(tmp_path)
    assert spec.stimuli is not None
    (tmp_path / "texts.yaml").write_bytes(TEXTS.read_bytes())
    one = cached_stimuli(spec, spec.stimuli, tmp_path / "texts.yaml", tmp_path / "cache")
    (tmp_path / "texts.yaml").write_bytes(TEXTS.read_bytes() + b"\n# another\n")
    two = cached_stimuli(spec, spec.stimuli, tmp_path / "texts.yaml", tmp_path / "cache")
    assert one != two
