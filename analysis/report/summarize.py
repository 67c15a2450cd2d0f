"""Runs into one summary: numbers and sentences, no markup. Its JSON is the report's twin.

The first run is what every other is compared with. Refuses runs whose protocols differ, because their difference would
mean nothing; `force` compares them all the same and keeps the differences as warnings beside the figures.
"""

from collections.abc import Sequence
from itertools import chain

import msgspec

from analysis.estimates import Estimate
from analysis.report.arms import Side, parity_warnings, side
from analysis.report.balance import Arm, Panel, agreeing, arm_figures, panels
from analysis.report.claims import Claim, Pending, make_claims
from analysis.report.clocks import delays, other_clock
from analysis.report.measure import by_metric, measure
from analysis.report.people import People
from analysis.report.people_claims import cards as cards_of
from analysis.report.people_claims import pending as asked
from analysis.report.people_claims import scale_card
from analysis.report.plan import HUMAN, ClaimsPlan, check_plan
from analysis.report.slices import Slices, make_slices
from analysis.report.talks import TalkPicture, pictures
from analysis.report.words import short_name
from analysis.sweep import Sweep
from protocols.errors import InputError, ProtocolMismatch
from protocols.records import GuardKind, MetricInfo, Sample, Score
from protocols.store import Run


class Summary(msgspec.Struct, frozen=True):
    """Everything the report says."""

    sides: tuple[Side, ...]  # the first is what the others are compared with
    plan: ClaimsPlan
    claims: tuple[Claim, ...]
    slices: Slices
    warnings: tuple[str, ...]
    parity: tuple[str, ...]
    quality: tuple[str, ...]  # sentences on how far the instruments are to be trusted
    balance: tuple[Panel, ...]
    talks: tuple[TalkPicture, ...]
    sweeps: tuple[Sweep, ...] = ()
    people: People | None = None
    agreeing: tuple[Panel, ...] = ()  # benchmarks against people's ratings

    def matched(self, arm: str) -> int:
        """Pairs of figures of an arm and the first run that have a value in both."""
        return sum(
            c.result.difference.n
            for c in self.claims
            if c.arm == arm and c.result is not None and not c.metric.name.startswith(HUMAN)
        )

    def asked(self, question: str, arm: str) -> Claim | None:
        """What a question to people says about an arm."""
        return next((c for c in self.claims if (c.metric.name, c.arm) == (HUMAN + question, arm)), None)

    def guards(self) -> list[GuardKind]:
        """Faults of sound that any arm has."""
        return list(dict.fromkeys(guard for s in self.sides for guard in s.guards))


class Extras(msgspec.Struct, frozen=True):
    """What only other rooms can make: scores under other thresholds, sentences on a reader's agreement, a study."""

    sweeps: tuple[Sweep, ...] = ()
    quality: tuple[str, ...] = ()
    people: People | None = None


def summarize(
    runs: Sequence[Run], plan: ClaimsPlan | None = None, controls: Sequence[Run] = (), force: bool = False,
    seed: int = 0, n_talks: int = 4, extras: Extras | None = None,
) -> Summary:  # fmt: skip
    """Compare every run with the first one. `controls`: runs for the balance of dynamics alone."""
    plan, extras = plan or ClaimsPlan(), extras or Extras()
    if len(runs) < 2:
        raise InputError("a comparison needs two runs or more")
    warnings = _protocol_warnings(runs, force)
    metrics = _shared(runs)
    questions = cards_of(extras.people)
    check_plan(plan, [*metrics.values(), *questions.values()])
    scores = [list(run.read(Score)) for run in runs]
    base = {s.sample for s in scores[0]}
    for run, rows in zip(runs[1:], scores[1:], strict=True):
        if not base & {s.sample for s in rows}:
            raise InputError(f"{runs[0].path} and {run.path} share no scored sample; nothing can be compared")
    grouped = [by_metric(rows) for rows in scores]
    samples = {s.id: s for s in chain.from_iterable(run.read(Sample) for run in reversed(runs))}
    labels = labels_of(runs)
    late = [delays(run) for run in runs]
    pending = [
        Pending(label, labels[0], made, plan.role(info), other_clock(info.name, made.paired, late[0], theirs_late))
        for label, theirs, theirs_late in zip(labels[1:], grouped[1:], late[1:], strict=True)
        for info in metrics.values()
        for made in (measure(info, grouped[0], theirs, samples, seed),)
    ]
    sides = tuple(side(run, label, rows) for run, label, rows in zip(runs, labels, scores, strict=True))
    arms = [
        arm_figures(label, False, list(metrics.values()), g, seed) for label, g in zip(labels, grouped, strict=True)
    ]
    arms, cards = with_people(arms, extras.people, [run.info.system for run in runs]), metrics | questions
    talks = pictures(runs[0], runs[1], (labels[0], labels[1]), (scores[0], scores[1]), samples, n_talks)
    return Summary(
        sides=sides, plan=plan, claims=make_claims([*asked(extras.people, plan), *pending], plan),
        slices=make_slices(pending, samples, plan.slices, seed), warnings=tuple(warnings),
        parity=tuple(w for s in sides[1:] for w in parity_warnings(sides[0], s)), quality=extras.quality,
        balance=panels(cards, [*arms, *_controls(controls, metrics, seed)]), talks=talks, sweeps=extras.sweeps,
        people=extras.people, agreeing=agreeing(cards, arms),
    )  # fmt: skip


def with_people(arms: Sequence[Arm], people: People | None, systems: Sequence[str]) -> list[Arm]:
    """The arms with people's mean rating of each; a study's arm is a run's where it has its label or its system's
    name."""
    if people is None:
        return list(arms)
    found: dict[str, dict[str, Estimate]] = {}
    for scale in people.scales:
        for arm, mean in ((scale.a, scale.mean_a), (scale.b, scale.mean_b)):
            if mean is not None:
                found.setdefault(arm, {})[scale_card(scale.question).name] = mean
    return [
        Arm(a.name, a.control, a.figures | (found.get(a.name) or found.get(system, {})))
        for a, system in zip(arms, systems, strict=True)
    ]


def _protocol_warnings(runs: Sequence[Run], force: bool) -> list[str]:
    found = []
    for run in runs[1:]:
        differ = runs[0].info.protocol.differences(run.info.protocol)
        if differ and not force:
            raise ProtocolMismatch(
                f"the runs differ in their protocol: {'; '.join(differ)}. Give --force to compare anyway"
            )
        found += differ if len(runs) == 2 else [f"{run.path.name}: {d}" for d in differ]
    return found + [f"{r.path.name} is not complete ({r.info.status})" for r in runs if r.info.status != "done"]


def _shared(runs: Sequence[Run]) -> dict[str, MetricInfo]:
    """The metrics every run has, in the first one's order."""
    common = set.intersection(*({m.name for m in run.info.metrics} for run in runs))
    return {m.name: m for m in runs[0].info.metrics if m.name in common}


def labels_of(runs: Sequence[Run]) -> list[str]:
    """Names of the arms: the systems', short where that tells them apart, with a letter where two are the same."""
    whole = [run.info.system for run in runs]
    short = [short_name(name) for name in whole]
    names = [s if len({w for w, other in zip(whole, short, strict=True) if other == s}) == 1 else w
             for w, s in zip(whole, short, strict=True)]  # fmt: skip
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return [f"{n} ({letters[i % 26]})" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _controls(controls: Sequence[Run], metrics: dict[str, MetricInfo], seed: int) -> list[Arm]:
    return [arm_figures(run.path.name, True, list(metrics.values()), by_metric(run.read(Score)), seed)
            for run in controls]  # fmt: skip


def failures(summary: Summary) -> list[str]:
    """What the plan asked for and did not get, for every arm; none without a plan."""
    plan, found = summary.plan, []
    for claim in summary.claims:
        name = claim.metric.name
        held = claim.harm is not None and claim.harm.said == "none"
        if name == plan.primary and claim.verdict != "better":
            found.append(f"{name} is {claim.verdict} for {claim.arm}, not better")
        elif claim.role == "harm" and not held and claim.verdict not in ("better", "equivalent"):
            found.append(f"harm to {name} is not excluded for {claim.arm}")
        elif claim.role == "claim" and name in plan.claims and not meets(claim, plan.claims[name]):
            found.append(f"{name} is {claim.verdict} for {claim.arm}, not {plan.claims[name]}")
    return found


def meets(claim: Claim, wanted: str) -> bool:
    """Does a claim end in that word? `not-worse` is also better, equivalent and no harm."""
    if wanted == "not-worse":
        return claim.verdict in ("better", "equivalent", "no harm")
    return claim.verdict == wanted.replace("-", " ")


def to_json(summary: Summary) -> bytes:
    """The report's JSON twin."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n"
