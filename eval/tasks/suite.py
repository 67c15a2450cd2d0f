"""A suite: named tasks over one folder of sound, fixed by one hash.

Shipped suites are YAML files in `protocols/library/suites`; a user's own YAML file, `questions:DIR` (the quick
suite's tasks on other recordings) and `folder:DIR` (talks recorded elsewhere) name one as well.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

import protocols
from eval.tasks.folder import read_folder
from eval.tasks.questions import Question, read_questions
from eval.tasks.user import paused_sample, plain_sample
from protocols.base import to_json
from protocols.config import read_yaml
from protocols.contracts import ActivityDetector
from protocols.errors import InputError, unknown_name
from protocols.records import Sample, Task
from protocols.store import sha256_of

LIBRARY = Path(protocols.__file__).parent / "library" / "suites"
FOLDER_METRICS = ("timing.latency", "timing.pause_held", "timing.overlap", "qa.text", "qa.speech")


class TaskSpec(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    metrics: tuple[str, ...]
    pause: float | None = None
    questions: str | None = None  # a folder of its own


class SuiteSpec(msgspec.Struct, forbid_unknown_fields=True):
    """A suite as its YAML file says it."""

    name: str
    version: str
    questions: str
    tasks: tuple[TaskSpec, ...]


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


def load_suite(name: str, detector: ActivityDetector, limit: int | None = None) -> Suite:
    """The suite a command line names. `limit`: the first so many questions or recordings only."""
    kind, _, place = name.partition(":")
    if kind == "folder" and place:
        folder = Path(place).expanduser()
        samples = tuple(read_folder(folder, "talk", detector)[:limit])
        return _suite(f"folder:{folder.name}", folder, (Task("talk", "1", FOLDER_METRICS, samples),), ())
    if kind == "questions" and place:
        folder = Path(place).expanduser()
        spec = read_yaml(shipped_suites()["quick"], SuiteSpec)
        return _from_questions(f"questions:{folder.resolve().name}", spec, folder, detector, limit)
    shipped = shipped_suites()
    path = shipped.get(name) or Path(name)
    if path.suffix != ".yaml" or not path.is_file():
        raise unknown_name("suite", name, [*shipped, "questions:DIR", "folder:DIR"])
    spec = read_yaml(path, SuiteSpec)
    return _from_questions(spec.name, spec, (path.parent / spec.questions).resolve(), detector, limit)


def _from_questions(name: str, spec: SuiteSpec, folder: Path, detector: ActivityDetector, limit: int | None) -> Suite:
    """A suite on the questions in `folder`, or in the folders inside it that its tasks name."""
    places = dict.fromkeys(task.questions or "." for task in spec.tasks)
    read = {place: read_questions(folder / place, detector) for place in places}
    tasks = tuple(
        Task(
            task.name,
            spec.version,
            task.metrics,
            tuple(_make(q, task, folder) for q in read[task.questions or "."].questions[:limit]),
        )
        for task in spec.tasks
    )
    notes = dict.fromkeys(note for table in read.values() for note in table.notes)
    return _suite(name, folder, tasks, tuple(notes))


def _make(question: Question, task: TaskSpec, folder: Path) -> Sample:
    if task.pause is None:
        return plain_sample(question, task.name, folder)
    return paused_sample(question, task.name, folder, task.pause)


def _suite(name: str, root: Path, tasks: tuple[Task, ...], notes: tuple[str, ...]) -> Suite:
    ids = [sample.id for task in tasks for sample in task.samples]
    if len(set(ids)) < len(ids):
        raise InputError(f"suite {name} uses a sample id twice")
    digest = hashlib.sha256()
    files = {cue.path for task in tasks for sample in task.samples for cue in sample.cues}
    for task in tasks:
        digest.update(to_json(task))
    for path in sorted(files):
        digest.update(sha256_of(root / path).encode())
    return Suite(name, root, tasks, digest.hexdigest(), notes)
