"""One arm of a report: how its run was made, where its items went, and whether its sound was technically as good.

Parity is checked before figures are believed: an arm whose talks broke more often, ran late or were clipped is not
worse at talking, it was measured worse.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from scipy.stats import fisher_exact

from protocols.records import Conversation, GuardKind, Key, Listening, Score
from protocols.runs import RunInfo
from protocols.store import Run


class Stage(msgspec.Struct, frozen=True):
    """What is left after one step, and why the rest is not."""

    name: str
    n: int
    lost: dict[str, int]  # reason -> how many


class Side(msgspec.Struct, frozen=True):
    """One arm."""

    name: str
    label: str
    run: RunInfo
    folder: str
    talks: int
    failed: int
    seconds: float
    flow: tuple[Stage, ...]
    guards: dict[GuardKind, int]  # talks with each fault of their sound
    sealed: str  # sha256 of the scores' file when last sealed, or why there is none


def side(run: Run, label: str, scores: Sequence[Score]) -> Side:
    """Read one run's talks and what was heard in them."""
    talks = {talk.key: talk for talk in run.read(Conversation)}
    heard = {row.key: row for row in run.read(Listening)}
    sound = {key: talk for key, talk in talks.items() if talk.recording}
    guards: dict[GuardKind, int] = {}
    for row in heard.values():
        for guard in row.guards:
            guards[guard] = guards.get(guard, 0) + 1
    newest = {(s.sample, s.take, s.metric, s.event): s for s in scores}
    scored = sum(s.value is not None for s in newest.values())
    flow = (
        Stage("talks planned", run.info.n_planned, {}),
        Stage("talks held", len(sound), _lost(run.info.n_planned, talks, sound)),
        Stage("talks heard", sum(key in heard for key in sound),
              {"not listened to": n} if (n := sum(key not in heard for key in sound)) else {}),
        Stage("figures asked of them", len(newest), {}),
        Stage("figures with a value", scored, _reasons(newest.values())),
    )  # fmt: skip
    return Side(
        name=run.info.system, label=label, run=run.info, folder=str(run.path), talks=len(talks),
        failed=len(talks) - len(sound), seconds=sum(t.recording.duration for t in sound.values() if t.recording),
        flow=flow, guards=guards, sealed=run.info.sealed.get("scores.jsonl", (0, "not sealed"))[1],
    )  # fmt: skip


def _lost(planned: int, talks: Mapping[Key, Conversation], sound: Mapping[Key, Conversation]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, talk in talks.items():
        if key not in sound:
            reason = talk.reason or "no reason given"
            found[reason] = found.get(reason, 0) + 1
    if planned > len(talks):
        found["not held yet"] = planned - len(talks)
    return _top(found)


def _reasons(scores: Iterable[Score]) -> dict[str, int]:
    found: dict[str, int] = {}
    for s in scores:
        if s.reason is not None:
            found[s.reason] = found.get(s.reason, 0) + 1
    return _top(found)


def _top(reasons: dict[str, int], n: int = 8) -> dict[str, int]:
    """The most frequent reasons; the others together."""
    ranked = sorted(reasons.items(), key=lambda kv: (-kv[1], kv[0]))
    rest = sum(count for _, count in ranked[n:])
    return dict(ranked[:n]) | ({"other reasons": rest} if rest else {})


def parity_warnings(base: Side, other: Side) -> tuple[str, ...]:
    """Sentences where the two arms' sound or schedule is not alike (Fisher's exact test under 5 %, or a pace that
    differs by more than a frame)."""
    found = []
    pairs = [("talks that failed", base.failed, other.failed)]
    kinds = dict.fromkeys([*base.guards, *other.guards])
    pairs += [(f"talks with {k.replace('_', ' ')}", base.guards.get(k, 0), other.guards.get(k, 0)) for k in kinds]
    for what, x, y in pairs:
        table = [[x, max(base.talks - x, 0)], [y, max(other.talks - y, 0)]]
        if fisher_exact(table).pvalue < 0.05:
            found.append(f"{what}: {x} of {base.talks} for {base.label}, {y} of {other.talks} for {other.label}")
    a, b = base.run.pacing, other.run.pacing
    if a is not None and b is not None and abs(a.late_p99_ms - b.late_p99_ms) > 80:
        found.append(f"frames came up to {a.late_p99_ms:.0f} ms late for {base.label}, {b.late_p99_ms:.0f} ms for "
                     f"{other.label} (99th percentile of the worst talk)")  # fmt: skip
    return tuple(found)
