"""Published figures typed in as a study card: which of their differences could such a study have shown at all?

Without the outcomes of items nothing can be tested. What can be said rests on assumed set sizes and on how many items
come out differently in two systems: at least the observed difference, at most what two independent systems of these
shares would give. A difference under the detectable one of the first is never detectable; over that of the second,
always. A mean of m sets counts as m^2 / (1/n1 + ... + 1/nm) items, which is what its variance comes to where the same
share of items changes in every set.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from analysis.power import detectable_share
from protocols.config import read_yaml
from protocols.errors import InputError, unknown_name

LIBRARY = Path(__file__).resolve().parents[2] / "protocols" / "library" / "studies"
Detectable = Literal["yes", "no", "depends"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of shares in per cent, all compared with the row `base`."""

    name: str
    base: str
    rows: dict[str, dict[str, float]]


class StudyCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`items`: an assumed number of items per set; `averages`: figures that are the plain mean of some sets."""

    title: str
    items: dict[str, int]
    tables: tuple[Table, ...]
    averages: dict[str, tuple[str, ...]] = {}
    assumed: str = ""  # where the numbers of items come from

    def size(self, name: str) -> int:
        """Items of a set, or of a mean of sets what it counts as."""
        if name in self.items:
            return self.items[name]
        of = [self.items[part] for part in self.averages[name]]
        return round(len(of) ** 2 / sum(1 / n for n in of))


class Observed(msgspec.Struct, frozen=True):
    """One difference. `least` and `most` are what the assumed set shows with 80 % power, if as few or as many items
    as possible come out differently."""

    table: str
    row: str
    against: str
    set: str
    n: int
    base: float  # share
    difference: float  # of shares, 0 to 1
    least: float
    most: float
    detectable: Detectable

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        points = f"{100 * self.difference:+.1f} points on {self.set} ({self.row} against {self.against})"
        if self.detectable == "yes":
            return f"{points} can be told from none on {self.n:,} items ({100 * self.most:.1f} points can)."
        if self.detectable == "no":
            return f"{points} cannot be told from none on {self.n:,} items ({100 * self.least:.1f} points can at best)."
        return (
            f"{points} may or may not be told from none on {self.n:,} items: that takes {100 * self.least:.1f} to "
            f"{100 * self.most:.1f} points, as few or many items come out differently."
        )


def read_card(path: Path) -> StudyCard:
    """A card's file; every set has a size and every table its base."""
    card = read_yaml(path, StudyCard)
    for name, of in card.averages.items():
        if not of or any(part not in card.items for part in of):
            raise InputError(f"{path}: {name} is to be the mean of {', '.join(of) or 'nothing'}; give sets of `items`")
    for name, n in card.items.items():
        if n < 2:
            raise InputError(f"{path}: {name} has {n} items; give 2 or more")
    for table in card.tables:
        if table.base not in table.rows:
            raise InputError(f"{path}: {table.name!r} has no row {table.base!r}")
        for row, figures in table.rows.items():
            for name, value in figures.items():
                if name not in card.items and name not in card.averages:
                    raise InputError(f"{path}: {table.name!r} has {name}, whose number of items is not given")
                if not 0 < value < 100:
                    raise InputError(f"{path}: {row}, {name} is {value}, not a share in per cent between 0 and 100")
    return card


def resized(card: StudyCard, sizes: Sequence[str]) -> StudyCard:
    """The card with other numbers of items, each given as SET=N."""
    items = dict(card.items)
    for given in sizes:
        name, _, n = given.partition("=")
        if not n.isdecimal() or int(n) < 2:
            raise InputError(f"{given!r} cannot be used; give SET=N with N of 2 or more")
        if name not in items:
            raise unknown_name("set", name, items)
        items[name] = int(n)
    return msgspec.structs.replace(card, items=items)


def observed(card: StudyCard) -> Iterable[Observed]:
    """Every row of every table against its base."""
    for table in card.tables:
        base = table.rows[table.base]
        for row, figures in table.rows.items():
            if row == table.base:
                continue
            for name, value in figures.items():
                if name in base:
                    yield _observed(table, row, name, card.size(name), base[name] / 100, value / 100)


def _observed(table: Table, row: str, name: str, n: int, a: float, b: float) -> Observed:
    difference = b - a
    least = detectable_share(n, max(abs(difference), 1 / n))
    most = detectable_share(n, a * (1 - b) + b * (1 - a))
    least = min(least, most)
    size = abs(difference)
    said: Detectable = "no" if size < least else "yes" if size >= most else "depends"
    return Observed(table.name, row, table.base, name, n, a, difference, least, most, said)
