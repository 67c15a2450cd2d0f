"""The memory of many talks side by side: every array of a state has one row per talk.

The one non-obvious decision: a step works on a copy of the active rows and puts them back, and every product of
matrices in a step is a stack of products of one talk each (`[B, n, k] @ [k, m]`). So no rounding depends on how many
rows take part, and a row cannot touch another.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.intp]


@dataclass
class Rows:
    """Base of a state; all fields of a subclass are arrays [B, ...] with the same B, or states themselves."""

    def take(self, rows: Indices) -> Self:
        """A copy of some rows; a row may be taken more than once."""
        return type(self)(*(_taken(value, rows) for value in self._values()))

    def put(self, rows: Indices, state: Self) -> None:
        """Overwrites `rows` with the rows of `state`, in that order."""
        for mine, new in zip(self._values(), state._values(), strict=True):
            if isinstance(mine, Rows):
                mine.put(rows, new)
            else:
                mine[rows] = new

    def _values(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]


def _taken(value: Any, rows: Indices) -> Any:
    return value.take(rows) if isinstance(value, Rows) else value[rows]


def first_row(n: int) -> Indices:
    """Indices that take row 0 `n` times."""
    return np.zeros(n, np.intp)
