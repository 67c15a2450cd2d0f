"""`duologue paper-card`: which differences of published tables could have been shown at all."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.options import as_json

if TYPE_CHECKING:
    from app.printing import Form


@click.command("paper-card")
@click.argument("card", required=False, type=click.Path(path_type=Path))
@click.option(
    "--items", multiple=True, metavar="SET=N", help="Another number of items of a set, instead of the card's."
)
@click.option("--out", type=click.Path(path_type=Path), help="Where the page goes. [default: runs/NAME.html]")
@click.option("--print", "forms", multiple=True, type=click.Choice(["pdf", "png"]), help="Draw the page as a file, "
              "too; needs Chromium.")  # fmt: skip
@as_json
def paper_card(
    card: Path | None, items: tuple[str, ...], out: Path | None, forms: tuple["Form", ...], as_json: bool
) -> None:
    """Say which differences of published tables were detectable, given the sizes of their sets.

    CARD is a YAML file with title, items and tables; without it, the one of Wu et al. 2025 (tables 2 to 5) that comes
    with duologue.
    """
    import msgspec

    from analysis.report.card_page import HEAD, cells, summary, write_card
    from analysis.report.study_card import LIBRARY, observed, read_card, resized
    from app.printing import browser, print_page
    from app.show import Terminal

    program = browser() if forms else ""
    terminal = Terminal(as_json)
    path = card or LIBRARY / "wu2025.yaml"
    read = resized(read_card(path), items)
    found = list(observed(read))
    for table in read.tables:
        rows = [cells(o) for o in found if o.table == table.name]
        terminal.table(list(HEAD), rows, title=f"\n{table.name}, against {table.base}")
    page = write_card(read, out or Path("runs") / f"{path.stem}.html")
    drawn = [str(made) for made in print_page(page, forms, program)]
    terminal.say("\n".join([f"\n{summary(found)}\n", f"Page: {page}", *(f"Drawn: {made}" for made in drawn)]))
    terminal.result({"title": read.title, "items": read.items, "differences": msgspec.to_builtins(found),
                     "summary": summary(found), "page": str(page), "drawn": drawn})  # fmt: skip
