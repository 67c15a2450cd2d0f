"""Safety on the command line: what a judge or a guard model decides of it, and the table by type."""

from collections.abc import Callable, Sequence

from app.show import Terminal
from app.subject import Step, Subject
from eval.guarded import GuardedReader
from eval.judge.ask import Judge
from eval.judge.reader import JudgedReader
from eval.judge.replies import ReplyLog
from eval.metrics.base import Metric
from eval.metrics.channels import CHANNELS, TITLES
from eval.metrics.safety import RULES, exchange, label_of, safety_metrics
from eval.refusal import agreement
from eval.safety_report import OUTCOMES, Row, SafetyReport, safety_reports
from eval.score import heard_talks
from protocols.contracts import Exchange, Finding, Guard, SafetyReader
from protocols.records import Sample, Score
from protocols.store import Run

HARM = tuple(f"safety.harmful.{channel}" for channel in CHANNELS)  # metrics that only a judge or a guard can give
NAMES = frozenset(safety_metrics())


class _Found:
    """Findings that were made in one batch, served one by one."""

    def __init__(self, source: str, found: dict[Exchange, Finding]) -> None:
        self.source = source
        self._found = found

    def read(self, exchanges: Sequence[Exchange]) -> list[Finding]:
        return [self._found[exchange] for exchange in exchanges]


def judged_safety(run: Run, judge: Judge) -> Subject | None:
    """What the rules are not sure of, and all harm, put to the judge; None for a run without safety tasks."""
    asked = _exchanges(run)
    n = sum((not found.sure) + (found.outcome != "no_answer") for found in RULES.read(asked))
    return _subject(run, asked, n, lambda step: JudgedReader(RULES, judge, progress=step))


def guarded_safety(run: Run, guard: Guard, log: ReplyLog) -> Subject | None:
    """The same, put to a guard model."""
    asked = _exchanges(run)
    n = sum(found.outcome != "no_answer" for found in RULES.read(asked))
    return _subject(run, asked, n, lambda step: GuardedReader(RULES, guard, log, progress=step))


def _subject(run: Run, asked: list[Exchange], n: int, reader: Callable[[Step], SafetyReader]) -> Subject | None:
    tasks = [task for task, names in run.info.tasks.items() if NAMES & set(names)]

    def metrics(step: Step) -> dict[str, Metric]:
        second = reader(step)
        return safety_metrics(_Found(second.source, dict(zip(asked, second.read(asked), strict=True))))

    return Subject(dict.fromkeys(tasks, HARM), n, metrics, NAMES) if tasks else None


def _exchanges(run: Run) -> list[Exchange]:
    """Every different request and reply of the run's safety tasks, on both channels."""
    asked = (
        exchange(heard, channel)
        for heard in heard_talks(run)
        if label_of(heard.sample) is not None
        for channel in CHANNELS
    )
    return list(dict.fromkeys(found[0] for found in asked if found is not None))


def print_safety(run: Run, terminal: Terminal) -> list[dict[str, object]]:
    """The safety report as tables, and as data; nothing where the run has no safety metrics."""
    if not any(info.name.startswith("safety.") for info in run.info.metrics):
        return []
    reports = safety_reports(run.read(Sample), run.read(Score))
    columns = ["requests", "share refused", "share silent", *(o.replace("_", " ") for o in OUTCOMES)]
    for r in reports:
        title = f"\nSafety, {TITLES[r.channel]}"
        terminal.table(columns, [_cells(row) for row in (*r.totals, *r.groups, *r.kinds)], title=title)
        right = f"{_percent(r.accuracy)}; {_mean_of(r.kinds, 'type', r.macro)}"
        if r.groups:
            right += f"; {_mean_of(r.groups, 'group', r.macro_groups)}"
        terminal.say(f"right (refused if unsafe, answered if safe): {right}")
    if reports:
        terminal.say(agreement())
    return [_data(r) for r in reports]


def _cells(row: Row) -> list[str]:
    name = row.label if row.kind is None else f"  {row.kind}"
    return [name, _percent(row.refused), _percent(row.no_answer), *(str(row.counts[o]) for o in OUTCOMES)]


def _mean_of(rows: Sequence[Row], what: str, share: float | None) -> str:
    return f"mean of {len(rows)} {what}{'' if len(rows) == 1 else 's'} {_percent(share)}"


def _percent(share: float | None) -> str:
    return "no value" if share is None else f"{100 * share:.1f} %"


def _data(r: SafetyReport) -> dict[str, object]:
    def rows(of: Sequence[Row], key: str) -> list[dict[str, object]]:
        return [{"label": w.label, key: w.kind, "n": w.n, "refused": w.refused, "outcomes": dict(w.counts)} for w in of]

    return {
        "channel": r.channel,
        "over_refusal": r.over_refusal,
        "refusal": r.refusal,
        "accuracy": r.accuracy,
        "macro_accuracy": r.macro,
        "macro_groups_accuracy": r.macro_groups,
        "rows": rows((*r.totals, *r.kinds), "type"),
        "groups": rows(r.groups, "group"),
        "agreement": agreement(),
    }
