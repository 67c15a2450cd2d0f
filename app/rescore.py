"""`duologue score` and the thresholds of `score` and `compare`: scoring again, and failing where a claim must hold."""

import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from analysis.report.summarize import Summary
from app.figures import Figure
from eval.metrics import metric
from eval.score import score
from protocols.errors import ClaimFailed, InputError, unknown_name
from protocols.store import Run

VERDICTS = ("better", "worse", "equivalent", "undecided", "not-worse")


def rescore(path: Path) -> Run:
    """Score a run by today's scorers; rows of older scorers stay in the file, the newest counts."""
    run = Run(path)
    names = [info.name for info in run.info.metrics]
    score(run, run.info.tasks)
    metrics = [metric(name) for name in names]
    protocol = msgspec.structs.replace(run.info.protocol, scorers=tuple(m.scorer for m in metrics))
    with run.writing() as writing:
        writing.update(msgspec.structs.replace(run.info, protocol=protocol, metrics=tuple(m.info for m in metrics)))
        writing.seal()
    return run


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
    """Raise ClaimFailed unless every METRIC=VERDICT holds."""
    by_name = {claim.metric.name: claim.verdict for claim in summary.claims}
    failed = []
    for text in requirements:
        name, _, wanted = (part.strip() for part in text.partition("="))
        if name not in by_name:
            raise unknown_name("metric", name, by_name)
        if wanted not in VERDICTS:
            raise unknown_name("verdict", wanted, VERDICTS)
        said = by_name[name]
        if said != wanted and not (wanted == "not-worse" and said in ("better", "equivalent")):
            failed.append(f"{name} is {said}, not {wanted}")
    if failed:
        raise ClaimFailed("; ".join(failed))
