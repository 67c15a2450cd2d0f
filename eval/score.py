"""The scoring stage: what was heard -> scores. It never touches sound or systems, so it can be run again at will.

A talk that failed, was never heard, or whose recording is broken gets a score without a value for every figure its
task asks for: it is counted, and the reason is written beside it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from eval.metrics import metric
from eval.metrics.base import Heard, Metric, Reading
from protocols.errors import StoreError
from protocols.records import Conversation, GuardKind, Key, Listening, Sample, Score
from protocols.store import Run

BROKEN: dict[GuardKind, str] = {
    "swapped": "agent and user channel are swapped",
    "user_silent": "the user's channel is silent",
    "misplaced": "the user does not speak where the sample's turns are",
    "clipped": "a channel is clipped",
    "wrong_rate": "a channel plays at a wrong sample rate",
    "wrong_length": "the agent's channel ends long before the user's",
}  # a silent agent is no broken recording: every metric has an outcome for it


def score(run: Run, metrics: Mapping[str, Sequence[str]], find: Callable[[str], Metric] = metric) -> int:
    """Score every talk of a run by its task's metrics, where its newest score is not of the same scorer; how many.

    What a judge left unscored is scored again: it may be reachable by now.
    """
    have = {(s.key, s.metric): None if s.outcome == "unscored" else s.scorer for s in run.read(Score)}
    wanted = {task: [find(name) for name in names] for task, names in metrics.items()}
    made = 0
    with run.writing() as writing:
        batch: list[Score] = []
        for sample, talk, listening in talks_of(run):
            todo = [m for m in wanted.get(sample.task, []) if have.get((talk.key, m.info.name)) != m.scorer]
            batch += scores_of(sample, talk, listening, todo)
            if len(batch) >= 1000:
                writing.append(*batch)
                made += len(batch)
                batch = []
        writing.append(*batch)
    return made + len(batch)


def talks_of(run: Run) -> Iterator[tuple[Sample, Conversation, Listening | None]]:
    """Every talk of a run (its last line) with its sample and what was heard in it."""
    samples = {sample.id: sample for sample in run.read(Sample)}
    listened = {row.key: row for row in run.read(Listening)}
    for talk in latest(run.read(Conversation)):
        if talk.sample not in samples:
            raise StoreError(f"{run.path} lacks sample {talk.sample!r}; give the bench command again to repair it")
        yield samples[talk.sample], talk, listened.get(talk.key)


def heard_talks(run: Run) -> Iterator[Heard]:
    """Every talk of a run that can be read: neither failed nor broken."""
    for sample, talk, listening in talks_of(run):
        if talk.recording is not None and listening is not None and _broken(talk, listening) is None:
            yield Heard(sample, talk, listening, talk.recording.duration)


def scores_by(run: Run, metrics: Sequence[Metric]) -> Iterator[Score]:
    """Scores of every talk of a run by any metrics, whatever its tasks ask for; nothing is written.

    One metric under several thresholds (`eval.metrics.timing.sweep`) gives scores that differ in their scorer.
    """
    for sample, talk, listening in talks_of(run):
        yield from scores_of(sample, talk, listening, metrics)


def scores_of(
    sample: Sample, talk: Conversation, listening: Listening | None, metrics: Sequence[Metric]
) -> Iterator[Score]:
    """Every score of one talk."""
    broken = _broken(talk, listening)
    heard = None
    if broken is None and talk.recording is not None and listening is not None:
        heard = Heard(sample, talk, listening, talk.recording.duration)
    for m in metrics:
        if heard is None:
            readings = [Reading(None, "broken", broken, event) for event in m.applies(sample)]
        else:
            readings = m.read(heard)
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
