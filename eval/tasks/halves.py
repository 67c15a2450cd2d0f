"""A suite in two halves that share no question: one to learn from (`learn:SUITE`), one to judge by (`judge:SUITE`).

What is aligned on talks about some questions must be judged on others. A question goes to one half in all its tasks,
plain, paused or interrupted, and each task is cut in the middle; which questions go where follows from their names.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

from protocols.records import Sample, Task

Half = Literal["learn", "judge"]


def half_of(tasks: Sequence[Task], half: Half, limit: int | None = None) -> tuple[Task, ...]:
    """The tasks with (the first `limit`) samples of one half, without those of which nothing is left."""
    learnt: dict[str, bool] = {}
    for task in tasks:
        new = sorted({_question(s) for s in task.samples} - learnt.keys(), key=_place)
        learnt |= {question: i < len(new) / 2 for i, question in enumerate(new)}
    kept = [[s for s in task.samples if learnt[_question(s)] == (half == "learn")] for task in tasks]
    pairs = zip(tasks, kept, strict=True)
    return tuple(Task(t.name, t.version, t.metrics, tuple(samples[:limit])) for t, samples in pairs if samples)


def _question(sample: Sample) -> str:
    return sample.cluster or sample.id


def _place(question: str) -> bytes:
    return hashlib.sha256(question.encode()).digest()
