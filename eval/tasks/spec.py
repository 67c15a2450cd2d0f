"""A suite as its YAML file says it: named tasks with their metrics, and where their samples come from."""

from pathlib import Path

import msgspec

from eval.tasks.recipes import PAUSES
from eval.tasks.safety import Label
from protocols.config import read_yaml
from protocols.errors import InputError


class StimuliSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples that are made on first use, see `eval.tasks.stimuli`."""

    per_task: int
    seed: int = 0
    speaker: str = "espeak"
    pauses: tuple[float, ...] = PAUSES


class TaskSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    metrics: tuple[str, ...]
    pause: float | None = None  # seconds of silence put into each question
    questions: str | None = None  # a folder of its own
    interruptions: str | None = None  # a folder of what is said into the answers, in the voice of the question
    label: Label | None = None  # of every request, where the task is about safety


class SuiteSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Exactly one of `questions`, `samples` and `stimuli` is given; paths are relative to the file."""

    name: str
    version: str
    tasks: tuple[TaskSpec, ...]
    about: str = ""  # one line for a list of suites
    questions: str | None = None  # a folder with questions.tsv
    samples: str | None = None  # a file with one sample a line, beside the sounds they name
    stimuli: StimuliSpec | None = None


def read_spec(path: Path) -> SuiteSpec:
    """A suite file, checked as far as that goes without its sounds."""
    spec = read_yaml(path, SuiteSpec)
    sources = [name for name in ("questions", "samples", "stimuli") if getattr(spec, name) is not None]
    if len(sources) != 1:
        raise InputError(f"{path} names {' and '.join(sources) or 'no source of samples'}; it needs one of questions, "
                         "samples and stimuli")  # fmt: skip
    if len({task.name for task in spec.tasks}) < len(spec.tasks):
        raise InputError(f"{path} names a task twice")
    return spec
