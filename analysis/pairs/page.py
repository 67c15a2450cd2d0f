"""Pairs as one self-contained HTML file: both continuations on one time axis, with sound, filters and marks.

The page is given plain values (`PagePair`), so that what stands on it can be tested without a browser. A mark is kept
in the reader's browser and leaves it as a list of ids, which `duologue pairs mix --without` takes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from protocols.errors import StoreError
from protocols.records import Channel

KINDS = {"content": "different content", "cuts_user": "cuts the user", "silent": "silent or late",
         "mixed": "content and timing"}  # fmt: skip


class Block(NamedTuple):
    """Speech of one side; seconds on the page's axis."""

    channel: Channel
    start: float
    end: float
    text: str = ""


class Lane(NamedTuple):
    """One continuation, its shared past included. `sound`: a data URI; None: there is none, and `why`."""

    side: Literal["chosen", "rejected"]
    blocks: tuple[Block, ...]
    sound: str | None
    why: str | None = None


class PagePair(NamedTuple):
    id: str
    kind: str
    faults: tuple[str, ...]
    axes: tuple[str, ...]
    strength: float | None
    judges: tuple[str, ...]
    writer: str | None
    start: float  # of the axis
    end: float
    diverges: float
    lanes: tuple[Lane, Lane]

    def place(self, time: float) -> float:
        """A moment as per cent of the axis."""
        return round(100 * (time - self.start) / (self.end - self.start), 2)


class Page(NamedTuple):
    title: str
    digest: str
    total: int  # pairs of the dataset; the page may show fewer
    pairs: tuple[PagePair, ...]


def write_page(page: Page, path: Path) -> Path:
    """Write the page, whole or not at all."""
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(render(page), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return path


def render(page: Page) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("analysis.pairs"), autoescape=select_autoescape(["html", "j2"]), undefined=StrictUndefined
    )
    return environment.get_template("pairs.html.j2").render(
        page=page, kinds=_present(KINDS, [p.kind for p in page.pairs]), names=KINDS, ticks=ticks,
        axes=sorted({axis for p in page.pairs for axis in p.axes}),
    )  # fmt: skip


def _present(names: dict[str, str], found: Sequence[str]) -> dict[str, str]:
    return {kind: name for kind, name in names.items() if kind in found}


def ticks(pair: PagePair) -> list[int]:
    """Whole seconds to write under the axis: at most a dozen."""
    span = pair.end - pair.start
    step = next(s for s in (1, 2, 5, 10, 30, 60, 600) if span / s <= 12)
    first = -(-int(pair.start) // step) * step
    return [t for t in range(first, int(pair.end) + 1, step) if t >= pair.start]
