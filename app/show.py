"""What a terminal shows: calm progress on stderr, then a short table on stdout, then where the files lie."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from protocols.errors import ClaimFailed


class Terminal:
    """Where a command's words go. With `as_json` stdout carries one JSON object and nothing else."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._err = Console(stderr=True, highlight=False)
        self._out = self._err if as_json else Console(highlight=False)
        if not self._out.is_terminal:
            self._out.width = 140  # a file or a pipe has no width; do not fold for it

    def say(self, text: str) -> None:
        self._out.print(text, markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self._err.print(text, style="dim", markup=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))  # brackets in a cell are no markup
        self._out.print(table)

    def result(self, data: Any) -> None:
        """The command's outcome for machines; printed only with --json."""
        if self._as_json:
            print(json.dumps(data, indent=2, ensure_ascii=False))

    def unchanged(self, what: str, path: Path, found: Sequence[str]) -> None:
        """What verifying a folder found, in words and for machines; ClaimFailed if it is not as it was made."""
        self.say("\n".join(found) if found else f"{path}: every row and every file is as it was written")
        self.result({what: str(path), "changed": list(found)})
        if found:
            raise ClaimFailed(f"{path} is not as it was made")

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar with time left; the yielded function takes how many are done."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err) as bar:
            task = bar.add_task(f"{what:<8}", total=total)
            yield lambda done: bar.update(task, completed=done)
