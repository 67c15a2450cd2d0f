"""The talks a report shows: those in which two arms' outcomes differ most often, the first of each task in front."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from protocols.records import Conversation, Event, Key, Listening, Sample, Score, Word
from protocols.store import Run
from protocols.timeline import Span


class TalkPicture(msgspec.Struct, frozen=True):
    """What is needed to draw and play one talk."""

    sample: str
    take: int
    arm: str  # the arm's label
    duration: float
    agent: tuple[Span, ...]
    user: tuple[Span, ...]
    words: tuple[Word, ...]
    events: tuple[Event, ...]
    outcomes: tuple[str, ...]
    text: str
    sound: str  # file, relative to the run's folder
    folder: str


def pictures(
    a: Run, b: Run, labels: tuple[str, str], scores: tuple[list[Score], list[Score]], samples: Mapping[str, Sample],
    n_talks: int,
) -> tuple[TalkPicture, ...]:  # fmt: skip
    """Both arms of the `n_talks` talks that differ most."""
    if n_talks == 0:
        return ()
    by_a, by_b = (_outcomes(rows) for rows in scores)
    shared = [key for key in by_a if key in by_b]
    differing = {key: sum(by_b[key].get(what) != said for what, said in by_a[key].items()) for key in shared}
    tasks = {name: sample.task for name, sample in samples.items()}
    chosen = _of_each_task(sorted(shared, key=lambda key: -differing[key]), tasks)[:n_talks]
    found: dict[tuple[Key, str], TalkPicture] = {}
    for label, run, outcomes in ((labels[0], a, by_a), (labels[1], b, by_b)):
        listened = {row.key: row for row in run.read(Listening) if row.key in chosen}
        for talk in run.read(Conversation):
            if talk.key in listened and talk.recording is not None:
                text = samples[talk.sample].text if talk.sample in samples else ""
                said = _said(outcomes[talk.key])
                found[talk.key, label] = _picture(talk, listened[talk.key], label, said, text, run.path)
    return tuple(found[key, label] for key in chosen for label in labels if (key, label) in found)


def _said(outcomes: "Outcomes") -> tuple[str, ...]:
    """Every metric's outcomes in words, equal ones once with their number."""
    counted = Counter(f"{m.partition('.')[2].replace('_', ' ')}: {o}" for (m, _), o in outcomes.items())
    return tuple(text if n == 1 else f"{text}, {n} times" for text, n in counted.items())


def _of_each_task(ranked: list[Key], tasks: Mapping[str, str]) -> list[Key]:
    """The same keys with the first of each task in front, then the second of each, and so on."""
    rank: dict[str, int] = {}
    place = {}
    for key in ranked:
        task = tasks.get(key.sample, "")
        place[key] = rank.get(task, 0)
        rank[task] = place[key] + 1
    return sorted(ranked, key=lambda key: place[key])


Outcomes = dict[tuple[str, int | None], str]


def _outcomes(scores: Iterable[Score]) -> dict[Key, Outcomes]:
    found: dict[Key, Outcomes] = {}
    for s in scores:
        if not s.metric.startswith("compat."):
            found.setdefault(s.key, {})[s.metric, s.event] = s.outcome
    return found


def _picture(
    talk: Conversation, heard: Listening, arm: str, outcomes: tuple[str, ...], text: str, folder: Path
) -> TalkPicture:
    spans = {a.channel: a.spans for a in heard.activity}
    transcripts = [*heard.transcripts, *talk.transcripts]
    words = next((t.words for t in transcripts if t.channel == "agent" and t.words), ())
    assert talk.recording is not None
    return TalkPicture(
        sample=talk.sample, take=talk.take, arm=arm, duration=talk.recording.duration, agent=spans["agent"],
        user=spans["user"], words=words, events=talk.events, outcomes=outcomes, text=text, sound=talk.recording.path,
        folder=str(folder),
    )  # fmt: skip
