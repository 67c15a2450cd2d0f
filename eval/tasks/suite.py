"""A suite: named tasks over one folder of sound, fixed by one hash.

Shipped suites are YAML files in `protocols/library/suites`; a user's own YAML file names one as well, and so does
KIND:PLACE for the kinds in `PLACES`. Every way ends in samples that were checked (`eval.tasks.check`) and whose sounds
are there.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

import protocols
from eval.metrics.safety import metric_names
from eval.speak import default_speaker, speech_cache
from eval.tasks.aloud import Watch, unwatched
from eval.tasks.check import check
from eval.tasks.folder import read_folder
from eval.tasks.halves import Half, half_of
from eval.tasks.import_fdb import fdb_tasks
from eval.tasks.import_moshi import moshi_tasks
from eval.tasks.qa import read_qa
from eval.tasks.questions import Question, read_questions
from eval.tasks.safety import read_requests, speak_requests
from eval.tasks.spec import SuiteSpec, TaskSpec, read_spec
from eval.tasks.stimuli import cached_stimuli
from eval.tasks.user import interrupted_sample, paused_sample, plain_sample
from protocols.base import from_json, to_json
from protocols.contracts import ActivityDetector
from protocols.errors import InputError, unknown_name
from protocols.records import Sample, Task
from protocols.store import sha256_of

LIBRARY = Path(protocols.__file__).parent / "library" / "suites"
TEXTS = LIBRARY.parent / "stimuli" / "texts.yaml"  # what users say in suites that are made on first use
FOLDER_METRICS = ("timing.latency", "timing.pause_held", "timing.overlap", "qa.text", "qa.speech")


class Suite(NamedTuple):
    """Tasks, the folder their sound lies in, and what a user should know about them."""

    name: str
    root: Path
    tasks: tuple[Task, ...]
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> list[Sample]:
        return [sample for task in self.tasks for sample in task.samples]

    @property
    def metrics(self) -> dict[str, tuple[str, ...]]:
        """Task name -> names of its metrics."""
        return {task.name: task.metrics for task in self.tasks}


def shipped_suites() -> dict[str, Path]:
    """Name -> file of the suites in the library."""
    return {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}


def load_suite(
    name: str,
    detector: ActivityDetector,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
    watch: Watch = unwatched,
) -> Suite:
    """The suite a command line names.

    limit: the first so many questions, recordings or samples of a task only; tell: hears of work that takes a while;
    watch: sees how far it is.
    """
    kind, _, place = name.partition(":")
    if place and kind in PLACES:
        return PLACES[kind](place, detector, limit, watch)
    shipped = shipped_suites()
    path = shipped.get(name) or Path(name)
    if path.suffix != ".yaml" or not path.is_file():
        raise unknown_name("suite", name, [*shipped, *(f"{kind}:DIR" for kind in PLACES)])
    return _from_file(path, detector, limit, tell)


def _from_file(path: Path, detector: ActivityDetector, limit: int | None, tell: Callable[[str], None]) -> Suite:
    spec = read_spec(path)
    if spec.stimuli is not None:
        return _from_file(cached_stimuli(spec, spec.stimuli, TEXTS, tell=tell), detector, limit, tell)
    if spec.samples is not None:
        return _from_samples(spec, path.parent / spec.samples, limit)
    return _from_questions(spec.name, spec, (path.parent / (spec.questions or "")).resolve(), detector, limit)


def _from_samples(spec: SuiteSpec, file: Path, limit: int | None) -> Suite:
    """A suite whose samples are written down, one a line."""
    found: dict[str, list[Sample]] = {task.name: [] for task in spec.tasks}
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        try:
            sample = from_json(line, Sample)
        except InputError as error:
            raise InputError(f"{file}, line {number}: {error}") from error
        if sample.task not in found:
            raise InputError(f"{file}, line {number}: {unknown_name('task', sample.task, found)}")
        found[sample.task].append(sample)
    if empty := [name for name, samples in found.items() if not samples]:
        raise InputError(f"{file} holds no samples of {', '.join(empty)}")
    tasks = tuple(Task(t.name, spec.version, t.metrics, tuple(found[t.name][:limit])) for t in spec.tasks)
    return _suite(spec.name, file.parent.resolve(), tasks, ())


def _from_folder(place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """Talks recorded elsewhere."""
    folder = Path(place).expanduser()
    samples = tuple(read_folder(folder, "talk", detector)[:limit])
    return _suite(f"folder:{folder.name}", folder, (Task("talk", "1", FOLDER_METRICS, samples),), ())


def _from_own_questions(place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """The quick suite's tasks on other recordings."""
    folder = Path(place).expanduser()
    spec = read_spec(shipped_suites()["quick"])
    return _from_questions(f"questions:{folder.resolve().name}", spec, folder, detector, limit, watch)


def _from_fdb(place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """The stimuli of a Full-Duplex-Bench folder."""
    folder = Path(place).expanduser()
    return _suite(f"fdb:{folder.resolve().name}", folder, fdb_tasks(folder, limit, detector), ())


def _from_moshi(place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """The users of talks in moshi-finetune's layout."""
    folder = Path(place).expanduser()
    return _suite(f"moshi-finetune:{folder.resolve().name}", folder, moshi_tasks(folder, detector, limit), ())


def _from_safety(place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """The requests of a table, in the voices of the speaker at hand."""
    path = Path(place).expanduser()
    read = read_requests(path)
    asked = read._replace(requests=read.requests[:limit])
    speaker, root = default_speaker(), speech_cache()
    samples = tuple(speak_requests(asked, speaker, root, watch))
    voices = len({tag for sample in samples for tag in sample.tags if tag.startswith("voice:")})
    metrics = ("timing.latency", "timing.overlap", *metric_names({request.label for request in asked.requests}))
    notes = (*read.notes, f"spoken by {speaker.source} in {voices} voice(s), kept in {root}")
    return _suite(f"safety:{path.stem}", root, (Task(read.form, "1", metrics, samples),), notes)


def _from_qa(place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """A question set, spoken where it has no sound."""
    asked = read_qa(place, detector, limit, watch=watch)
    return _suite(asked.name, asked.root, (asked.task,), asked.notes)


def _half(half: Half, place: str, detector: ActivityDetector, limit: int | None, watch: Watch) -> Suite:
    """One half of another suite, `limit` samples of each task; which half a question is in does not hang on it."""
    whole = load_suite(place, detector, watch=watch)
    return _suite(f"{half}:{whole.name}", whole.root, half_of(whole.tasks, half, limit), whole.notes)


PLACES: Mapping[str, Callable[[str, ActivityDetector, int | None, Watch], Suite]] = {
    "questions": _from_own_questions,
    "folder": _from_folder,
    "fdb": _from_fdb,
    "moshi-finetune": _from_moshi,
    "safety": _from_safety,
    "qa": _from_qa,
    "learn": partial(_half, "learn"),
    "judge": partial(_half, "judge"),
}  # what KIND in --suite KIND:PLACE may be


def _from_questions(
    name: str, spec: SuiteSpec, folder: Path, detector: ActivityDetector, limit: int | None, watch: Watch = unwatched
) -> Suite:
    """A suite on the questions in `folder`, or in the folders inside it that its tasks name."""
    places = dict.fromkeys(
        place for task in spec.tasks for place in (task.questions or ".", task.interruptions) if place is not None
    )
    whole = {task.interruptions for task in spec.tasks}  # any question may be interrupted by any of these
    read = {p: read_questions(folder / p, detector, None if p in whole else limit, watch) for p in places}

    def samples(task: TaskSpec) -> tuple[Sample, ...]:
        over = read[task.interruptions].questions if task.interruptions else []
        asked = read[task.questions or "."].questions[:limit]
        return tuple(_make(number, q, over, task, folder) for number, q in enumerate(asked))

    tasks = tuple(Task(task.name, spec.version, task.metrics, samples(task)) for task in spec.tasks)
    notes = dict.fromkeys(note for table in read.values() for note in table.notes)
    return _suite(name, folder, tasks, tuple(notes))


def _make(number: int, question: Question, over: Sequence[Question], task: TaskSpec, folder: Path) -> Sample:
    if task.pause is not None:
        sample = paused_sample(question, task.name, folder, task.pause)
    elif over:
        fitting = [other for other in over if other.voice == question.voice] or over
        sample = interrupted_sample(question, fitting[number % len(fitting)], task.name, folder)
    else:
        sample = plain_sample(question, task.name, folder)
    return msgspec.structs.replace(sample, tags=(*sample.tags, f"label:{task.label}")) if task.label else sample


def _suite(name: str, root: Path, tasks: tuple[Task, ...], notes: tuple[str, ...]) -> Suite:
    ids = [sample.id for task in tasks for sample in task.samples]
    if len(set(ids)) < len(ids):
        raise InputError(f"suite {name} uses a sample id twice")
    digest = hashlib.sha256()
    files = {cue.path for task in tasks for sample in task.samples for cue in sample.cues}
    for sample in (sample for task in tasks for sample in task.samples):
        check(sample)
    if missing := sorted(path for path in files if not (root / path).is_file()):
        raise InputError(f"suite {name} lacks the sound {root / missing[0]} (and {len(missing) - 1} more)")
    for task in tasks:
        digest.update(to_json(task))
    for path in sorted(files):
        digest.update(sha256_of(root / path).encode())
    return Suite(name, root, tasks, digest.hexdigest(), notes)
