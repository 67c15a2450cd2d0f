"""`duologue score` and the thresholds of `score` and `compare`: scoring again, and failing where a claim must hold."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from analysis.report.claims import Claim
from analysis.report.summarize import Summary, meets
from app.figures import Figure
from app.judging import JudgeOptions, ask, only_judged
from app.show import Terminal
from eval.metrics import metric
from eval.metrics.base import Metric
from eval.score import score
from protocols.errors import ClaimFailed, InputError, unknown_name
from protocols.records import Sample
from protocols.store import Run

VERDICTS = ("better", "worse", "equivalent", "different", "undecided", "not-worse")


def rescore(
    run: Run, scorers: Sequence[str] = (), judge: JudgeOptions | None = None, terminal: Terminal | None = None
) -> Run:
    """Score a run by today's scorers, and a judge or guard if given; older rows stay in the file, the newest counts.

    scorers: only these; one that the run was not made with is added to every task that has something for it.
    Without a judge, what only a judge can give stays as the last one left it.
    """
    find: Callable[[str], Metric] = metric
    tasks: Mapping[str, Sequence[str]] = run.info.tasks
    judged: frozenset[str] = frozenset()
    _check_names(scorers, judge is not None and judge.given)
    if judge is not None and judge.given:
        find, tasks, judged = ask(run, judge, terminal or Terminal(as_json=True), scorers)
    if scorers:
        tasks = _tasks_for(run, scorers, find)
    kept = {name for names in tasks.values() for name in names if only_judged(name)} - judged
    tasks = {task: [name for name in names if name not in kept] for task, names in tasks.items()}
    score(run, tasks, find)
    today = {name: find(name).info for names in tasks.values() for name in names}
    metrics = tuple(({m.name: m for m in run.info.metrics} | today).values())
    protocol = msgspec.structs.replace(run.info.protocol, scorers=tuple(f"{m.name}/{m.version}" for m in metrics))
    every = {task: tuple(dict.fromkeys((*names, *tasks.get(task, ())))) for task, names in run.info.tasks.items()}
    with run.writing() as writing:
        writing.update(msgspec.structs.replace(run.info, protocol=protocol, metrics=metrics, tasks=every))
        writing.seal()
    return run


def _check_names(scorers: Sequence[str], judging: bool) -> None:
    """InputError for what cannot be scored, before anything is asked."""
    for name in scorers:
        if not only_judged(name):
            metric(name)
        elif not judging:
            raise InputError(f"{name} needs a judge; give --judge-url and --judge-model")


def _tasks_for(run: Run, scorers: Sequence[str], find: Callable[[str], Metric]) -> dict[str, tuple[str, ...]]:
    """Task -> those of the scorers that have something to read in it."""
    wanted = [find(name) for name in dict.fromkeys(scorers)]
    fits: dict[str, dict[str, None]] = {task: {} for task in run.info.tasks}
    for sample in run.read(Sample):
        fits[sample.task].update({m.info.name: None for m in wanted if m.applies(sample)})
    for m in wanted:
        if not any(m.info.name in names for names in fits.values()):
            raise InputError(f"no sample of {run.path} has what {m.info.name} reads; see `duologue suites`")
    return {task: tuple(names) for task, names in fits.items()}


def check(requirements: Iterable[str], figures: Iterable[Figure]) -> None:
    """Raise ClaimFailed unless every METRIC>=VALUE or METRIC<=VALUE holds."""
    by_name = {f.metric.name: f for f in figures}
    failed = []
    for text in requirements:
        match = re.fullmatch(r"\s*([\w.]+)\s*(>=|<=)\s*(-?[\d.]+)\s*", text)
        if match is None:
            raise InputError(f"--require {text!r} is not METRIC>=VALUE or METRIC<=VALUE")
        name, sign, limit = match[1], match[2], float(match[3])
        if name not in by_name:
            raise unknown_name("metric", name, by_name)
        estimate = by_name[name].estimate
        if estimate is None or not (estimate.value >= limit if sign == ">=" else estimate.value <= limit):
            value = "without value" if estimate is None else f"{estimate.value:.4g}"
            failed.append(f"{name} is {value}, not {sign} {limit:g}")
    if failed:
        raise ClaimFailed("; ".join(failed))


def check_verdicts(requirements: Iterable[str], summary: Summary) -> None:
    """Raise ClaimFailed unless every METRIC=VERDICT holds for every run."""
    by_name: dict[str, list[Claim]] = {}
    for claim in summary.claims:
        by_name.setdefault(claim.metric.name, []).append(claim)
    failed = []
    for text in requirements:
        name, _, wanted = (part.strip() for part in text.partition("="))
        if name not in by_name:
            raise unknown_name("metric", name, by_name)
        if wanted not in VERDICTS:
            raise unknown_name("verdict", wanted, VERDICTS)
        _has_direction(by_name[name][0], wanted)
        several = len(by_name[name]) > 1
        failed += [
            f"{name} is {c.verdict}{f' for {c.arm}' if several else ''}, not {wanted}"
            for c in by_name[name] if not meets(c, wanted)
        ]  # fmt: skip
    if failed:
        raise ClaimFailed("; ".join(failed))


def _has_direction(claim: Claim, wanted: str) -> None:
    """A metric without direction is never better or worse, and published rules end in no word at all."""
    if claim.role == "published":
        raise InputError(f"{claim.metric.name} is a published rule or a floor; nothing is claimed of it")
    neutral = claim.metric.better == "none"
    if wanted in (("better", "worse", "not-worse") if neutral else ("different",)):
        raise InputError(f"{claim.metric.name} cannot be {wanted}: it has {'no' if neutral else 'a'} direction")
