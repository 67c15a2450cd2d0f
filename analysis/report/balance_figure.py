"""The balance of dynamics as small panels, a point per run; same look as the other figures."""

import textwrap
from collections.abc import Sequence

import plotly.graph_objects as go
from markupsafe import Markup
from plotly.subplots import make_subplots

from analysis.estimates import Estimate
from analysis.report.balance import BalancePoint, Panel
from analysis.report.figures import ARM_A, ARMS, GRID, LEGEND, SYMBOLS, blank
from analysis.report.page import plot

ACROSS = 3
LETTERS = 28  # of a line of an axis title
AT_ONCE = 6  # panels of one figure, which stays whole on paper
CONTROL = "#7F7F7F"


def balance_html(panels: Sequence[Panel], arms: Sequence[str]) -> Markup:
    """Every panel, in figures of AT_ONCE; nothing for none."""
    return Markup("").join(plot(balance_figure(panels[i : i + AT_ONCE], arms)) for i in range(0, len(panels), AT_ONCE))


def balance_figure(panels: Sequence[Panel], arms: Sequence[str]) -> go.Figure:
    """A panel per pair of metrics, a point per run, intervals both ways; controls are joined by a dotted line."""
    rows = -(-len(panels) // ACROSS)
    figure = make_subplots(rows=rows, cols=ACROSS, horizontal_spacing=0.09, vertical_spacing=0.32 / max(rows, 1))
    figure.update_layout(blank(height=80 + 290 * rows).layout)
    for i, panel in enumerate(panels):
        at = {"row": i // ACROSS + 1, "col": i % ACROSS + 1}
        scale_x, scale_y = (100 if m.unit == "share" else 1 for m in (panel.x, panel.y))
        controls = [p for p in panel.points if p.control]
        if controls:
            figure.add_trace(_trace(controls, "base told to talk more or less", CONTROL, "circle-open", scale_x,
                                    scale_y, i == 0, dotted=True), **at)  # fmt: skip
        for point in panel.points:
            if point.control:
                continue
            place = arms.index(point.run)
            colour = ARM_A if place == 0 else ARMS[(place - 1) % len(ARMS)]
            symbol = "circle" if place == 0 else SYMBOLS[(place - 1) % len(SYMBOLS)]
            figure.add_trace(_trace([point], point.run, colour, symbol, scale_x, scale_y, i == 0), **at)
        for axis, m in (("x", panel.x), ("y", panel.y)):
            words = textwrap.wrap(f"{m.title}, {'%' if m.unit == 'share' else m.unit}", LETTERS)
            title = {"text": "<br>".join(words), "font": {"size": 11}}
            update = figure.update_xaxes if axis == "x" else figure.update_yaxes
            update(title=title, gridcolor=GRID, zeroline=False, automargin=True, **at)
    figure.update_layout(legend=LEGEND, height=80 + 290 * rows)
    return figure


def _trace(
    points: Sequence[BalancePoint], name: str, colour: str, symbol: str, scale_x: int, scale_y: int, legend: bool,
    dotted: bool = False,
) -> go.Scatter:  # fmt: skip
    return go.Scatter(
        x=[scale_x * p.x.value for p in points], y=[scale_y * p.y.value for p in points],
        error_x=_error([p.x for p in points], scale_x), error_y=_error([p.y for p in points], scale_y),
        mode="lines+markers" if dotted else "markers", line={"dash": "dot", "width": 1.5, "color": colour},
        marker={"size": 10, "color": colour, "symbol": symbol}, name=name, legendgroup=name, showlegend=legend,
        text=[p.run for p in points], hovertemplate="%{text}: %{x:.2f}, %{y:.2f}<extra></extra>",
    )  # fmt: skip


def _error(estimates: Sequence[Estimate], scale: int) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * ((e.value if e.high is None else e.high) - e.value) for e in estimates],
        "arrayminus": [scale * (e.value - (e.value if e.low is None else e.low)) for e in estimates],
        "thickness": 1.5,
        "width": 4,
    }
