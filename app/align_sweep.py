"""`duologue align sweep`: one training per row of a table, then all of them side by side, and the base beside them.

Every row is what `duologue align` makes, in its own folder, so a stopped sweep goes on where it was and each row's
curves can be looked at. Margins of different losses are not one scale; what can be compared is how the models talk.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from app.alignment import Aligned, Watch, align, pairs_in, resolved
from app.show import Terminal
from model.align.config import AlignConfig
from model.align.tables import Row, Table, paper_rows, placed, varied
from protocols.errors import InputError

COLUMNS = {  # of a figure in the journal
    "probe/spoke": "reply", "probe/right": "right", "probe/cut_in": "cut in", "probe/yielded": "yielded",
    "probe/endless": "endless",
    "probe/latency": "latency (s)", "probe/replay": "words",
    "probe/length": "of due", "probe/wordless": "wordless", "eval_rewards/accuracies": "ranked",
    "eval_chosen_fell": "chosen fell", "eval_loss": "loss",
}  # fmt: skip
MEANING = (
    "reply: talks with a reply; right: right answers; cut in: pauses cut into; yielded: interruptions yielded to; "
    "endless: talks without an end; latency: to the first word; words: of a reply; of due: beside a reply "
    "without faults; wordless: heard in the time it says nothing; ranked: validation pairs ranked as "
    "wanted; chosen fell: chosen replies that became less likely; loss: of validation, each row's own."
)


class Compared(NamedTuple):
    name: str
    step: int
    figures: Mapping[str, float]

    def cells(self, columns: Sequence[str]) -> list[str]:
        known = (self.figures.get(column) for column in columns)
        return [self.name, f"{self.step}", *("" if value is None else f"{value:.3f}" for value in known)]


def run_sweep(rows: Sequence[Row], folder: Path, what: str, terminal: Terminal, watch: Watch) -> list[Compared]:
    """Make (or finish) every row and print and write them side by side. `what` they are rows of; `folder`: of all."""
    compared: list[Compared] = []
    for row in placed(rows):
        terminal.note(row.name)
        made = align(row.config, terminal, watch)
        if not compared:
            compared.append(Compared("base", 0, made.line(0)))
        compared.append(_compared(row, made))
    _show(compared, folder, what, terminal)
    return compared


def rows_of(config: AlignConfig, table: Table | None, vary: str | None, knobs: Sequence[str] = ()) -> list[Row]:
    """The rows of a table, or of a setting's values. `knobs`: of single rows of the table of losses."""
    config = resolved(config)
    if vary is not None or table is None:
        if knobs:
            raise InputError("knobs of one loss each are for the table of losses")
        return varied(config, vary or "")
    return paper_rows(table, config, _kinds(config) if table == "data" else (), knobs)


def _compared(row: Row, made: Aligned) -> Compared:
    """The figures of the very step the model is of; empty where nothing was measured then."""
    return Compared(row.name, made.best_step, made.line(made.best_step))


def _show(compared: Sequence[Compared], folder: Path, what: str, terminal: Terminal) -> None:
    used = [column for column in COLUMNS if any(column in row.figures for row in compared)]
    head = ["row", "step", *(COLUMNS[column] for column in used)]
    cells = [row.cells(used) for row in compared]
    terminal.table(head, cells)
    page = _write(folder, what, head, cells)
    terminal.say(f"\n{MEANING}\nTrainings: {folder}\nTable:     {page}")
    found: list[dict[str, Any]] = [
        {"row": row.name, "step": row.step, "figures": {column: row.figures.get(column) for column in used}}
        for row in compared
    ]
    terminal.result({"folder": str(folder), "table": str(page), "rows": found})


def _write(folder: Path, what: str, head: Sequence[str], cells: Sequence[Sequence[str]]) -> Path:
    from analysis.report.page import write_page

    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in cells)
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = f"<table><tr>{titles}</tr>{rows}</table><p>{escape(MEANING)}</p>"
    return write_page(f"Alignments by {what}", body, folder / "comparison.html")


def _kinds(config: AlignConfig) -> list[str]:
    return sorted({pair.kind for pair in pairs_in(Path(config.data.pairs))})
