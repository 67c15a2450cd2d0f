"""A study card as a page: every published difference beside the ones that its set could have shown.

The bars behind a point span what could not be told from none: dark, if as few items as possible came out differently;
light, if as many did. Beyond both the difference is detectable, between them it depends on what was not published.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from analysis.report.figures import blank
from analysis.report.page import plot, write_page
from analysis.report.study_card import Detectable, Observed, StudyCard, observed

WORDS: dict[Detectable, str] = {"yes": "▲ detectable", "no": "? not detectable", "depends": "~ depends"}
COLOURS: dict[Detectable, str] = {"yes": "#009E73", "no": "#999999", "depends": "#E69F00"}
SYMBOLS: dict[Detectable, str] = {"yes": "diamond", "no": "circle-open", "depends": "square"}
HEAD = ("row", "set", "items", "base", "row's", "difference", "detectable, least", "detectable, most", "said")


def write_card(card: StudyCard, path: Path) -> Path:
    """The page of a card; its path."""
    found = list(observed(card))
    parts = [f"<p>{summary(found)}</p>", f"<p>{_sizes(card)}</p>"]
    for table in card.tables:
        rows = [o for o in found if o.table == table.name]
        parts += [f"<h2>{escape(table.name)}</h2>", f"<p>Every row against {escape(table.base)}.</p>",
                  plot(card_figure(rows)), _table(rows)]  # fmt: skip
    return write_page(card.title, "".join(parts), path)


def summary(found: Sequence[Observed]) -> str:
    """How many of a card's differences could be told from none."""
    count = {word: sum(o.detectable == word for o in found) for word in WORDS}
    return (
        f"Of {len(found)} published differences {count['yes']} could be told from none whatever the items' outcomes "
        f"were, {count['depends']} depending on them, and {count['no']} could not at all (80 % power, two-sided 5 %, "
        "no correction for their number)."
    )


def _sizes(card: StudyCard) -> str:
    sets = ", ".join(f"{escape(name)} {n:,}" for name, n in card.items.items())
    means = "; ".join(f"{escape(name)} is the mean of {escape(', '.join(of))}" for name, of in card.averages.items())
    return f"Assumed numbers of items: {sets}. {means + '.' if means else ''} {escape(card.assumed)}"


def card_figure(rows: Sequence[Observed]) -> go.Figure:
    """One table's differences in points, with what could not be shown as bars behind them."""
    figure = blank(height=110 + 24 * len(rows))
    names = [f"{o.row}, {o.set}  " for o in rows]
    for reach, colour, label in (
        ([100 * o.most for o in rows], "rgba(128,128,128,0.22)", "not shown if many items differ"),
        ([100 * o.least for o in rows], "rgba(128,128,128,0.45)", "not shown even if few differ"),
    ):
        figure.add_trace(go.Bar(
            x=[2 * r for r in reach], base=[-r for r in reach], y=names, orientation="h", name=label,
            marker={"color": colour}, hoverinfo="skip",
        ))  # fmt: skip
    for said, word in WORDS.items():
        of = [i for i, o in enumerate(rows) if o.detectable == said]
        figure.add_trace(go.Scatter(
            x=[100 * rows[i].difference for i in of], y=[names[i] for i in of], mode="markers", name=word,
            marker={"size": 10, "color": COLOURS[said], "symbol": SYMBOLS[said]},
            text=[escape(rows[i].sentence) for i in of], hovertemplate="%{text}<extra></extra>",
        ))  # fmt: skip
    figure.update_layout(
        barmode="overlay", bargap=0.35, legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    )
    figure.update_xaxes(title="difference, points", zeroline=True, zerolinecolor="rgba(128,128,128,0.8)")
    figure.update_yaxes(autorange="reversed")
    return figure


def cells(o: Observed) -> list[str]:
    """A difference as a row of HEAD."""
    return [o.row, o.set, f"{o.n:,}", f"{100 * o.base:.1f}", f"{100 * (o.base + o.difference):.1f}",
            f"{100 * o.difference:+.1f}", f"{100 * o.least:.1f}", f"{100 * o.most:.1f}",
            WORDS[o.detectable]]  # fmt: skip


def _table(rows: Sequence[Observed]) -> str:
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(o)) + "</tr>" for o in rows)
    return f"<details><summary>Table</summary><table><tr>{head}</tr>{body}</table></details>"
