"""The scoring stage: what was heard -> scores. It never touches sound or systems, so it can be run again at will.

A talk that failed, was never heard, or whose recording is broken gets a score without a value for every figure its
task asks for: it is counted, and the reason is written beside it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from eval.metrics import metric
from eval.metrics.base import Heard, Metric, Reading
from protocols.errors import StoreError
from protocols.records import Conversation, Key, Listening, Sample, Score
from protocols.store import Run

BROKEN = {"swapped": "agent and user channel are swapped", "user_silent": "the user's channel is silent"}


def score(run: Run, metrics: Mapping[str, Sequence[str]]) -> int:
    """Score every talk of a run by its task's metrics, where the run lacks a score of the same scorer; how many."""
    have = {(s.key, s.scorer) for s in run.read(Score)}
    wanted = {task: [metric(name) for name in names] for task, names in metrics.items()}
    samples = {sample.id: sample for sample in run.read(Sample)}
    listened = {row.key: row for row in run.read(Listening)}
    made = 0
    with run.writing() as writing:
        batch: list[Score] = []
        for talk in latest(run.read(Conversation)):
            if talk.sample not in samples:
                raise StoreError(f"{run.path} lacks sample {talk.sample!r}; give the bench command again to repair it")
            todo = [m for m in wanted.get(samples[talk.sample].task, []) if (talk.key, m.scorer) not in have]
            batch += scores_of(samples[talk.sample], talk, listened.get(talk.key), todo)
            if len(batch) >= 1000:
                writing.append(*batch)
                made += len(batch)
                batch = []
        writing.append(*batch)
    return made + len(batch)


def scores_of(
    sample: Sample, talk: Conversation, listening: Listening | None, metrics: Sequence[Metric]
) -> Iterator[Score]:
    """Every score of one talk."""
    broken = _broken(talk, listening)
    for m in metrics:
        if broken is not None or talk.recording is None or listening is None:
            readings = [Reading(None, "broken", broken, event) for event in m.applies(sample)]
        else:
            readings = m.read(Heard(sample, talk, listening, talk.recording.duration))
        for r in readings:
            yield Score(
                sample=sample.id,
                take=talk.take,
                metric=m.info.name,
                scorer=m.scorer,
                value=r.value,
                outcome=r.outcome,
                reason=r.reason,
                event=r.event,
                evidence=r.evidence,
                cluster=sample.cluster,
            )


def _broken(talk: Conversation, listening: Listening | None) -> str | None:
    if talk.recording is None:
        return talk.reason
    if listening is None:
        return "the talk was not listened to"
    return next((BROKEN[guard] for guard in listening.guards if guard in BROKEN), None)


def latest(talks: Iterable[Conversation]) -> list[Conversation]:
    """The last line of each talk, in order of first appearance."""
    rows: dict[Key, Conversation] = {}
    for talk in talks:
        rows[talk.key] = talk
    return list(rows.values())
