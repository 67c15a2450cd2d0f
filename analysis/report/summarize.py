"""Two runs into one summary: numbers and sentences, no markup. Its JSON is the report's twin.

Refuses runs whose protocols differ, because their difference would mean nothing; `force` compares them all the
same and keeps the differences as warnings that the report shows beside the figures.
"""

from pathlib import Path

import msgspec

from analysis.paired import Comparison, Estimate, Verdict, compare, n_to_decide, verdict
from analysis.tables import pair
from protocols.errors import InputError, ProtocolMismatch
from protocols.records import Conversation, Event, Key, Listening, MetricInfo, Sample, Score, Word
from protocols.runs import RunInfo
from protocols.store import Run
from protocols.timeline import Span


class Claim(msgspec.Struct, frozen=True):
    """What one metric says about the two systems."""

    metric: MetricInfo
    verdict: Verdict
    sentence: str
    result: Comparison | None
    only_a: int
    only_b: int
    unscored: int
    outcomes_a: dict[str, int]
    outcomes_b: dict[str, int]
    values_a: tuple[float, ...]
    values_b: tuple[float, ...]
    warnings: tuple[str, ...] = ()


class Side(msgspec.Struct, frozen=True):
    """One arm."""

    name: str
    label: str
    run: RunInfo
    talks: int
    failed: int
    seconds: float


class TalkPicture(msgspec.Struct, frozen=True):
    """What is needed to draw and play one talk."""

    sample: str
    take: int
    arm: str
    duration: float
    agent: tuple[Span, ...]
    user: tuple[Span, ...]
    words: tuple[Word, ...]
    events: tuple[Event, ...]
    outcomes: tuple[str, ...]
    text: str
    sound: str  # file, relative to the run's folder
    folder: str


class Summary(msgspec.Struct, frozen=True):
    """Everything the report says."""

    a: Side
    b: Side
    claims: tuple[Claim, ...]
    warnings: tuple[str, ...]
    talks: tuple[TalkPicture, ...]


def summarize(run_a: Run, run_b: Run, force: bool = False, seed: int = 0, n_talks: int = 4) -> Summary:
    """Compare run B with run A."""
    warnings = run_a.info.protocol.differences(run_b.info.protocol)
    if warnings and not force:
        raise ProtocolMismatch(
            f"the runs differ in their protocol: {'; '.join(warnings)}. Give --force to compare anyway"
        )
    scores_a, scores_b = list(run_a.read(Score)), list(run_b.read(Score))
    if not {s.sample for s in scores_a} & {s.sample for s in scores_b}:
        raise InputError(f"{run_a.path} and {run_b.path} share no scored sample; nothing can be compared")
    for run in (run_a, run_b):
        if run.info.status != "done":
            warnings.append(f"{run.path.name} is not complete ({run.info.status})")
    label_a, label_b = _labels(run_a.info, run_b.info)
    shared = {m.name: m for m in run_a.info.metrics if m.name in {n.name for n in run_b.info.metrics}}
    claims = tuple(_claim(m, scores_a, scores_b, (label_a, label_b), seed) for m in shared.values())
    return Summary(
        a=_side(run_a, label_a),
        b=_side(run_b, label_b),
        claims=claims,
        warnings=tuple(warnings),
        talks=_pictures(run_a, run_b, scores_a, scores_b, n_talks),
    )


def _labels(a: RunInfo, b: RunInfo) -> tuple[str, str]:
    return (a.system, b.system) if a.system != b.system else (f"{a.system} (A)", f"{b.system} (B)")


def _claim(info: MetricInfo, scores_a: list[Score], scores_b: list[Score], labels: tuple[str, str], seed: int) -> Claim:
    paired = pair(scores_a, scores_b, info.name)
    result = compare(paired.a, paired.b, paired.clusters, info.kind == "binary", seed)
    said: Verdict = "undecided" if result is None else verdict(result, info.better == "higher", info.margin)
    warnings = []
    if paired.only_a or paired.only_b:
        warnings.append(f"{paired.only_a} items only in {labels[0]}, {paired.only_b} only in {labels[1]}")
    if paired.unscored:
        warnings.append(f"{paired.unscored} items have no value in one of the runs")
    if result is not None and result.difference.n < 20:
        warnings.append(f"only {result.difference.n} matched items")
    return Claim(
        metric=info,
        verdict=said,
        sentence=_sentence(info, said, result, labels),
        result=result,
        only_a=paired.only_a,
        only_b=paired.only_b,
        unscored=paired.unscored,
        outcomes_a=paired.outcomes_a,
        outcomes_b=paired.outcomes_b,
        values_a=tuple(paired.a.tolist()),
        values_b=tuple(paired.b.tolist()),
        warnings=tuple(warnings),
    )


def _sentence(info: MetricInfo, said: Verdict, result: Comparison | None, labels: tuple[str, str]) -> str:
    name = info.title[0].lower() + info.title[1:]
    if result is None:
        return f"Nothing can be said about {name}: no item has a value in both runs."
    a, b = labels
    figures = f"{show(result.b, info)} against {show(result.a, info)}"
    if said in ("better", "worse"):
        return f"{b} is {said} than {a} in {name}: {figures}."
    if said == "equivalent":
        return f"{b} and {a} are equivalent in {name} (within {amount(info.margin, info)}): {figures}."
    n = n_to_decide(result, info.margin)
    more = f" About {n:,} items would decide it." if n else ""
    return f"Undecided for {name}: {figures}.{more}"


def show(estimate: Estimate, info: MetricInfo) -> str:
    """An estimate with its interval and n, e.g. "0.62 [0.58, 0.66] s n=48"."""
    unit = "" if info.unit == "share" else f" {info.unit}"
    return f"{interval(estimate, info)}{unit} n={estimate.n}"


def interval(estimate: Estimate, info: MetricInfo) -> str:
    """A figure and its interval, shares in per cent."""
    scale, digits = (100, 1) if info.unit == "share" else (1, 2)
    sign = " %" if info.unit == "share" else ""
    if estimate.low is None or estimate.high is None:
        return f"{scale * estimate.value:.{digits}f}{sign} [no interval]"
    return (
        f"{scale * estimate.value:.{digits}f}{sign} "
        f"[{scale * estimate.low:.{digits}f}, {scale * estimate.high:.{digits}f}]"
    )


def amount(value: float, info: MetricInfo) -> str:
    return f"{100 * value:g} points" if info.unit == "share" else f"{value:g} {info.unit}"


def _side(run: Run, label: str) -> Side:
    talks = {talk.key: talk for talk in run.read(Conversation)}.values()
    seconds = sum(talk.recording.duration for talk in talks if talk.recording)
    failed = sum(talk.recording is None for talk in talks)
    return Side(run.info.system, label, run.info, len(talks), failed, seconds)


def _pictures(
    run_a: Run, run_b: Run, scores_a: list[Score], scores_b: list[Score], n_talks: int
) -> tuple[TalkPicture, ...]:
    """The talks in which the two systems' outcomes differ most often, both arms of each."""
    by_a, by_b = _outcomes(scores_a), _outcomes(scores_b)
    shared = [key for key in by_a if key in by_b]
    tasks = {s.id: s.task for s in run_a.read(Sample)}
    differing = {key: sum(x != y for x, y in zip(by_a[key], by_b[key], strict=False)) for key in shared}
    chosen = _of_each_task(sorted(shared, key=lambda key: -differing[key]), tasks)[:n_talks]
    pictures: dict[tuple[Key, str], TalkPicture] = {}
    for arm, run, outcomes in (("a", run_a, by_a), ("b", run_b, by_b)):
        texts = {s.id: s.text for s in run.read(Sample)}
        listened = {row.key: row for row in run.read(Listening) if row.key in chosen}
        for talk in run.read(Conversation):
            if talk.key in listened and talk.recording is not None:
                pictures[talk.key, arm] = _picture(
                    talk, listened[talk.key], arm, outcomes[talk.key], texts.get(talk.sample, ""), run.path
                )
    return tuple(pictures[key, arm] for key in chosen for arm in ("a", "b") if (key, arm) in pictures)


def _of_each_task(ranked: list[Key], tasks: dict[str, str]) -> list[Key]:
    """The same keys with the first of each task in front, then the second of each, and so on."""
    rank: dict[str, int] = {}
    place = {}
    for key in ranked:
        task = tasks[key.sample]
        place[key] = rank.get(task, 0)
        rank[task] = place[key] + 1
    return sorted(ranked, key=lambda key: place[key])


def _outcomes(scores: list[Score]) -> dict[Key, list[str]]:
    found: dict[Key, dict[tuple[str, int | None], str]] = {}
    for s in scores:
        found.setdefault(s.key, {})[s.metric, s.event] = f"{s.metric.partition('.')[2].replace('_', ' ')}: {s.outcome}"
    return {key: list(outcomes.values()) for key, outcomes in found.items()}


def _picture(
    talk: Conversation, heard: Listening, arm: str, outcomes: list[str], text: str, folder: Path
) -> TalkPicture:
    spans = {a.channel: a.spans for a in heard.activity}
    transcripts = [*heard.transcripts, *talk.transcripts]
    words = next((t.words for t in transcripts if t.channel == "agent" and t.words), ())
    assert talk.recording is not None
    return TalkPicture(
        sample=talk.sample,
        take=talk.take,
        arm=arm,
        duration=talk.recording.duration,
        agent=spans["agent"],
        user=spans["user"],
        words=words,
        events=talk.events,
        outcomes=tuple(outcomes),
        text=text,
        sound=talk.recording.path,
        folder=str(folder),
    )


def to_json(summary: Summary) -> bytes:
    """The report's JSON twin."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n"
