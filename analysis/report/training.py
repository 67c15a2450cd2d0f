"""A training as curves: one panel per question, a folded table under each, on a page of its own.

The contract is the training's journal: one mapping of names to numbers per step, with what was not measured left out
or None. A validation figure (`eval_X`) is drawn beside the training's X. Panels of which nothing was measured are
not there. Lines differ in dash and sign, not in colour alone.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go

from analysis.report.figures import LEGEND, blank
from analysis.report.page import COLOURS, DASHES, SYMBOLS, plot, write_page

Line = Mapping[str, float | None]
TABLE_ROWS = 60  # of a panel's table; a longer training is thinned


class Panel(NamedTuple):
    title: str
    axis: str
    names: tuple[str, ...]


STREAMS = ("words", "padding", "semantic", "acoustic", "timing")
PANELS = (
    Panel("Loss", "loss", ("loss", "eval_loss")),
    Panel("Pairs ranked as wanted", "share of pairs", ("rewards/accuracies", "eval_rewards/accuracies")),
    Panel("Margin between chosen and rejected", "reward", ("rewards/margins", "eval_rewards/margins")),
    Panel(
        "How it talks: shares",
        "share of talks",
        ("probe/spoke", "probe/right", "probe/cut_in", "probe/yielded", "probe/endless"),
    ),
    Panel("How it talks: reply length", "words", ("probe/replay",)),
    Panel("How it talks: time to the first word", "seconds", ("probe/latency",)),
    Panel("Heard while it says nothing", "share of that time", ("probe/wordless",)),
    Panel("Chosen replies that became less likely", "share of pairs", ("chosen_fell", "eval_chosen_fell")),
    Panel("Chosen replies against the reference", "log-ratio", tuple(f"ratios/{s}/chosen" for s in STREAMS)),
    Panel("Rejected replies against the reference", "log-ratio", tuple(f"ratios/{s}/rejected" for s in STREAMS)),
    Panel("Length of what is compared", "words", ("words/chosen", "words/rejected")),
    Panel("Correlation of length and margin", "correlation", ("length_bias",)),
    Panel("Gradient before clipping", "norm", ("grad_norm",)),
    Panel("Learning rate", "rate", ("lr",)),
    Panel("Pairs per second", "pairs per second", ("pairs_per_second",)),
)


class Curve(NamedTuple):
    name: str
    steps: tuple[float, ...]
    values: tuple[float, ...]


def curves_of(panel: Panel, lines: Sequence[Line]) -> list[Curve]:
    """What was measured of a panel."""
    found = []
    for name in panel.names:
        known = [(line["step"], value) for line in lines if (value := line.get(name)) is not None]
        if known:
            steps, values = zip(*known, strict=True)
            found.append(Curve(name, steps, values))
    return found


def training_html(lines: Sequence[Line]) -> str:
    """Every panel with its table; needs plotly's script on the page."""
    parts = []
    for panel in PANELS:
        if curves := curves_of(panel, lines):
            parts.append(f"<h2>{escape(panel.title)}</h2>{plot(_figure(panel, curves))}")
            parts.append(f"<details><summary>Table</summary>{_table(curves)}</details>")
    return "".join(parts) or "<p>Nothing was measured.</p>"


def write_training(lines: Sequence[Line], title: str, path: Path) -> Path:
    """One self-contained page; its path."""
    return write_page(title, training_html(lines), path)


def _figure(panel: Panel, curves: Sequence[Curve]) -> go.Figure:
    figure = blank(height=280)
    for i, curve in enumerate(curves):
        style = (i + 1) % len(COLOURS)
        few = len(curve.steps) <= 40
        figure.add_trace(
            go.Scatter(
                x=curve.steps,
                y=curve.values,
                name=curve.name,
                mode="lines+markers" if few else "lines",
                line={"width": 2, "color": COLOURS[style], "dash": DASHES[style]},
                marker={"size": 8, "symbol": SYMBOLS[style]},
                hovertemplate=f"{escape(curve.name)} after step %{{x}}: %{{y:.4g}}<extra></extra>",
            )
        )
    figure.update_layout(legend=LEGEND, showlegend=True)
    figure.update_xaxes(title="steps")
    figure.update_yaxes(title=panel.axis)
    return figure


def _table(curves: Sequence[Curve]) -> str:
    columns = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    steps = sorted({step for curve in curves for step in curve.steps})
    every = -(-len(steps) // TABLE_ROWS)
    shown = sorted({*steps[::every], steps[-1]})
    head = "".join(f"<th>{escape(curve.name)}</th>" for curve in curves)
    rows = []
    for step in shown:
        cells = "".join(f"<td>{_number(column.get(step))}</td>" for column in columns)
        rows.append(f"<tr><td>{step:g}</td>{cells}</tr>")
    return f"<table><tr><th>step</th>{head}</tr>{''.join(rows)}</table>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
