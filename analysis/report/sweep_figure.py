"""A sweep as a figure with its table under it, and as a page of its own. Systems differ in dash and sign, not colour
alone; the band is the 95 % interval of each point."""

from html import escape
from pathlib import Path

import plotly.graph_objects as go

from analysis.paired import Estimate
from analysis.report.figures import LEGEND, blank
from analysis.report.page import COLOURS, DASHES, SYMBOLS, plot, write_page
from analysis.sweep import Curve, Sweep


def sweep_figure(made: Sweep) -> go.Figure:
    """Shares in per cent over the threshold."""
    figure = blank(height=360)
    for i, curve in enumerate(made.curves):
        for trace in _traces(curve, i % len(COLOURS)):
            figure.add_trace(trace)
    figure.update_layout(legend=LEGEND)
    figure.update_xaxes(title=made.threshold)
    figure.update_yaxes(range=[-2, 102], title=f"{made.title.lower()}, % of items")
    return figure


def _traces(curve: Curve, style: int) -> list[go.Scatter]:
    known = [(p.threshold, p.estimate) for p in curve.points if p.estimate is not None]
    x = [t for t, _ in known]
    low = [100 * (e.value if e.low is None else e.low) for _, e in known]
    high = [100 * (e.value if e.high is None else e.high) for _, e in known]
    colour = COLOURS[style]
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    band = go.Scatter(
        x=[*x, *reversed(x)],
        y=[*high, *reversed(low)],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    line = go.Scatter(
        x=x,
        y=[100 * e.value for _, e in known],
        name=curve.system,
        mode="lines+markers",
        line={"width": 2.5, "color": colour, "dash": DASHES[style]},
        marker={"size": 9, "symbol": SYMBOLS[style]},
        customdata=[_cell(e) for _, e in known],
        hovertemplate=f"{escape(curve.system)} at %{{x:g}}: %{{customdata}}<extra></extra>",
    )
    return [band, line]


def sweep_html(made: Sweep) -> str:
    """The figure, what flips, and the table folded under it; needs plotly's script on the page."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in made.flips)
    return f"{plot(sweep_figure(made))}{said}<details><summary>Table</summary>{_table(made)}</details>"


def _table(made: Sweep) -> str:
    head = "".join(f"<th>{escape(c.system)} [95 % interval]</th><th>items</th><th>no value</th>" for c in made.curves)
    thresholds = sorted({p.threshold for c in made.curves for p in c.points})
    points = [{p.threshold: p for p in c.points} for c in made.curves]
    rows = []
    for threshold in thresholds:
        cells = []
        for by_threshold in points:
            point = by_threshold.get(threshold)
            figures = ("", "", "") if point is None else (
                "none" if point.estimate is None else _cell(point.estimate), point.n_items, point.unscored
            )  # fmt: skip
            cells += [f"<td>{c}</td>" for c in figures]
        rows.append(f"<tr><td>{threshold:g}</td>{''.join(cells)}</tr>")
    return f"<table><tr><th>{escape(made.threshold)}</th>{head}</tr>{''.join(rows)}</table>"


def _cell(e: Estimate) -> str:
    if e.low is None or e.high is None:
        return f"{100 * e.value:.1f} % [no interval]"
    return f"{100 * e.value:.1f} % [{100 * e.low:.1f}, {100 * e.high:.1f}]"


def write_sweep(made: Sweep, path: Path) -> Path:
    """One self-contained page; its path."""
    return write_page(f"{made.title} by {made.threshold}", sweep_html(made), path)
