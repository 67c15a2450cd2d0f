"""Makes a set of stimuli: a folder with suite.yaml, samples.jsonl and the sounds, which is a suite of its own.

The same seed, texts and voices give the same bytes, so the suite's hash is the same wherever the same version of the
speaker runs. A set appears whole or not at all: it is made beside its place and moved there.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from eval.speakers import open_speaker
from eval.tasks.material import Material, RecordedMaterial, SpokenMaterial, StimulusTexts, role_of
from eval.tasks.questions import read_questions
from eval.tasks.recipes import RECIPES, make_sample
from eval.tasks.spec import StimuliSpec, SuiteSpec, TaskSpec
from protocols.base import to_json
from protocols.config import read_yaml
from protocols.contracts import ActivityDetector, Speaker
from protocols.errors import InputError, StoreError, unknown_name

CACHE = Path("~/.cache/duologue/stimuli")
LONGEST_PAUSE = 30.0


class Made(NamedTuple):
    """What was made, and which tasks were left out for want of what."""

    suite: Path  # the suite's file
    n_samples: int
    seconds: float  # of user audio
    left_out: dict[str, str]


def spoken_material(texts: Path, speaker: Speaker) -> Callable[[Path], Material]:
    """Material from texts, for `make_stimuli`."""
    read = read_yaml(texts, StimulusTexts)
    return lambda folder: SpokenMaterial(read, speaker, folder)


def recorded_material(recordings: Path, detector: ActivityDetector) -> Callable[[Path], Material]:
    """Material from a folder of questions (`eval.tasks.questions`); a column Role says what else a row may be."""
    read = read_questions(recordings, detector).questions
    roles = {q.id: role_of(q.role or "question", f"{recordings}, {q.id}") for q in read}
    return lambda folder: RecordedMaterial(read, roles, folder)


def make_stimuli(
    out: Path,
    material: Callable[[Path], Material],
    suite: SuiteSpec,
    wanted: StimuliSpec,
    progress: Callable[[int], None] = lambda done: None,
) -> Made:
    """Write a set of `wanted.per_task` samples for each task of `suite` into the new folder `out`."""
    _check(suite, wanted)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} is there already; give another folder, or delete it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise StoreError(f"cannot write beside {out}: {error.strerror}") from error
    try:
        made = _fill(beside, material(beside), suite, wanted, progress)
        beside.chmod(0o755)
        beside.replace(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return made._replace(suite=out / "suite.yaml")


def _check(suite: SuiteSpec, wanted: StimuliSpec) -> None:
    for task in suite.tasks:
        if task.name not in RECIPES:
            raise unknown_name("stimulus task", task.name, RECIPES)
    if wanted.per_task < 1:
        raise InputError(f"{wanted.per_task} samples per task are none; ask for 1 or more")
    if not wanted.pauses or any(not 0 < pause <= LONGEST_PAUSE for pause in wanted.pauses):
        raise InputError(f"pauses last between 0 and {LONGEST_PAUSE:g} s, not {', '.join(map(str, wanted.pauses))}")


def _fill(
    folder: Path, material: Material, suite: SuiteSpec, wanted: StimuliSpec, progress: Callable[[int], None]
) -> Made:
    tasks: list[TaskSpec] = []
    left_out = {}
    lines = []
    seconds = 0.0
    for task in suite.tasks:
        missing = [role for role in RECIPES[task.name].needs if not material.count(role)]
        if missing:
            left_out[task.name] = " and ".join(missing)
            continue
        tasks.append(task)
        for number in range(wanted.per_task):
            sample = make_sample(task.name, number, material, wanted.pauses, wanted.seed)
            lines.append(to_json(sample) + b"\n")
            seconds += sample.length
            progress(len(lines))
    (folder / "samples.jsonl").write_bytes(b"".join(lines))
    spec = SuiteSpec(suite.name, suite.version, tuple(tasks), samples="samples.jsonl")
    (folder / "suite.yaml").write_bytes(msgspec.yaml.encode(_without_defaults(spec)))
    return Made(folder, len(lines), seconds, left_out)


def _without_defaults(spec: SuiteSpec) -> dict[str, object]:
    """Only what a reader of the file should see."""
    tasks = [{"name": task.name, "metrics": list(task.metrics)} for task in spec.tasks]
    return {"name": spec.name, "version": spec.version, "samples": spec.samples, "tasks": tasks}


def cached_stimuli(
    suite: SuiteSpec,
    wanted: StimuliSpec,
    texts: Path,
    cache: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Path:
    """The file of a suite's set, made on first use; a change of its texts, recipe or speaker makes another one."""
    speaker = open_speaker(wanted.speaker)
    parts: Sequence[bytes] = (msgspec.json.encode(suite), texts.read_bytes(), speaker.source.encode())
    name = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    folder = (cache or CACHE).expanduser() / f"{suite.name}-{name}"
    if not (folder / "suite.yaml").is_file():
        tell(f"Making the stimuli of {suite.name} in {folder}; that takes a minute, once.")
        try:
            make_stimuli(folder, spoken_material(texts, speaker), suite, wanted)
        except StoreError:
            if not (folder / "suite.yaml").is_file():  # else another process made it meanwhile
                raise
    return folder / "suite.yaml"
