"""The report's figures of claims, by plotly: forest, shares, distributions, outcomes. They work offline, in print and
in the dark: text takes the page's ink colour by style sheet, and nothing is told by colour alone.

Colours follow the house's look: the first run grey, the others in the order of `ARMS`.
"""

from collections.abc import Sequence

import plotly.graph_objects as go

from analysis.paired import Estimate
from analysis.report.claims import Claim
from analysis.report.measure import Curve
from analysis.report.words import amount, interval

ARM_A, ARM_B = "#999999", "#009E73"
ARMS = (ARM_B, "#CC79A7", "#56B4E9", "#D55E00")
SYMBOLS = ("diamond", "square", "triangle-up", "star")
GRID = "rgba(128,128,128,0.25)"
BAND = "rgba(128,128,128,0.15)"
WIDEST = 40.0  # margins; what lies beyond is drawn at the edge
# Outcomes share nine fills that differ in lightness and pattern, so that print and colour-blind eyes tell them apart.
FILLS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999", "#666666")
PATTERNS = ("", "/", "\\", "x", "-", "|", "+", ".", "")


def forest(claims: Sequence[Claim]) -> go.Figure:
    """Every claim on one axis: the difference in multiples of the smallest one that matters, better to the right. The
    thin grey bar beside a point spans the differences that such a comparison would not have found."""
    shown = [c for c in claims if c.result is not None]
    figure = blank(height=120 + 46 * len(shown))
    figure.add_vrect(x0=-1, x1=1, fillcolor=BAND, line_width=0, layer="below")
    figure.add_vline(x=0, line_color="rgba(128,128,128,0.8)", line_width=1)
    arms = list(dict.fromkeys(c.arm for c in claims))
    several = len(arms) > 1
    edge = 1.0
    for claim in reversed(shown):
        assert claim.result is not None
        d, scale = claim.result.difference, (-1 if claim.metric.better == "lower" else 1) / claim.margin
        name = f"{claim.metric.title}{f', {claim.arm}' if several else ''}  "
        place = arms.index(claim.arm) % len(ARMS)
        if claim.result.detectable:
            reach = min(claim.result.detectable / claim.margin, WIDEST)
            figure.add_trace(_reach(name, reach, amount(claim.result.detectable, claim.metric)))
            edge = max(edge, reach)
        point, far = _point(d, scale)
        edge = max(edge, far)
        figure.add_trace(go.Scatter(
            y=[name], mode="markers+text", marker={"size": 11, "color": ARMS[place], "symbol": SYMBOLS[place]},
            text=[f" {claim.verdict}"], textposition="top center",
            hovertemplate=f"{claim.sentence}<extra></extra>", showlegend=False, **point,
        ))  # fmt: skip
    figure.update_xaxes(
        range=[-1.15 * edge, 1.15 * edge],
        title={"text": "difference in multiples of the smallest one that matters<br>"
               "(grey field), better to the right; thin grey bar: what such<br>"
               "a comparison does not find in 80 of 100 cases", "font": {"size": 12}},
    )  # fmt: skip
    figure.update_layout(margin={"b": 90})
    figure.update_yaxes(range=[-0.6, len({t.y[0] for t in figure.data}) - 0.2])
    return figure


def _reach(name: str, reach: float, words: str) -> go.Scatter:
    return go.Scatter(
        x=[-reach, reach], y=[name, name], mode="lines", line={"width": 5, "color": "rgba(128,128,128,0.35)"},
        showlegend=False, hovertemplate=f"detectable: {words}<extra></extra>",
    )  # fmt: skip


def _point(d: Estimate, scale: float) -> tuple[dict[str, object], float]:
    """Where a point and its interval are drawn, and how far out they reach."""

    def clip(x: float) -> float:
        return max(-WIDEST, min(WIDEST, scale * x))

    edges = sorted(clip(x) for x in (d.low, d.high) if x is not None) or [clip(d.value)] * 2
    bar = {"type": "data", "symmetric": False, "array": [edges[1] - clip(d.value)],
           "arrayminus": [clip(d.value) - edges[0]], "thickness": 2, "width": 6}  # fmt: skip
    return {"x": [clip(d.value)], "error_x": bar}, max(abs(e) for e in edges)


def claim_figure(claim: Claim, second: Claim | None = None) -> go.Figure:
    """Shares as two points with intervals, other figures as two cumulative curves, beside those of a second reading."""
    labels = (claim.against, claim.arm)
    if claim.curve_a is None or claim.curve_b is None:
        return _shares(claim, labels)
    figure = _curves(claim, labels, claim.curve_a, claim.curve_b)
    if claim.other_clock is not None:
        named = claim.other_clock.clock
        for curve, label, colour in ((claim.other_clock.a, labels[0], ARM_A), (claim.other_clock.b, labels[1], ARM_B)):
            figure.add_trace(step(curve, f"{label}, {named}", colour, "longdashdot", 1.5))
    if second is not None and second.curve_a is not None and second.curve_b is not None:
        for curve, label, colour in ((second.curve_a, labels[0], ARM_A), (second.curve_b, labels[1], ARM_B)):
            figure.add_trace(step(curve, f"{label}, by words", colour, "dot", 1.5))
    return figure


def _shares(claim: Claim, labels: tuple[str, str]) -> go.Figure:
    figure = blank(height=170)
    if claim.result is not None:
        for estimate, label, colour, symbol in (
            (claim.result.a, labels[0], ARM_A, "circle"),
            (claim.result.b, labels[1], ARM_B, "diamond"),
        ):
            low = estimate.value if estimate.low is None else estimate.low
            high = estimate.value if estimate.high is None else estimate.high
            figure.add_trace(go.Scatter(
                x=[100 * estimate.value], y=[f"{label}  "], mode="markers", showlegend=False,
                error_x={"type": "data", "symmetric": False, "array": [100 * (high - estimate.value)],
                         "arrayminus": [100 * (estimate.value - low)], "thickness": 2, "width": 7},
                marker={"size": 13, "color": colour, "symbol": symbol},
                hovertemplate=f"{label}: {interval(estimate, claim.metric)}<extra></extra>",
            ))  # fmt: skip
    figure.update_xaxes(range=[-2, 102], title="% of items, with 95 % interval")
    figure.update_yaxes(autorange="reversed")
    return figure


def _curves(claim: Claim, labels: tuple[str, str], a: Curve, b: Curve) -> go.Figure:
    figure = blank(height=300)
    for curve, label, colour, dash in ((a, labels[0], ARM_A, "dash"), (b, labels[1], ARM_B, "solid")):
        figure.add_trace(step(curve, label, colour, dash, 2.5))
    if any(v < 0 for v in (*a.values[:1], *b.values[:1])):
        figure.add_vline(x=0, line_color="rgba(128,128,128,0.8)", line_width=1)
    small = amount(claim.margin, claim.metric)
    figure.update_xaxes(title=f"{claim.metric.title.lower()}, {claim.metric.unit} (under {small} does not matter)")
    figure.update_yaxes(title="% of items at or below", range=[0, 102])
    figure.update_layout(legend=LEGEND)
    return figure


def step(curve: Curve, name: str, colour: str, dash: str, width: float, of: str = "items") -> go.Scatter:
    """A distribution as the share of its values at or below each."""
    return go.Scatter(
        x=[round(v, 4) for v in (curve.values[0], *curve.values)], name=name,
        y=[0.0, *(round(100 * s, 2) for s in curve.shares)],
        mode="lines", line={"shape": "hv", "width": width, "color": colour, "dash": dash},
        hovertemplate=f"{name}: %{{y:.0f}} % of {of} at most %{{x:.2f}}<extra></extra>",
    )  # fmt: skip


def outcome_figure(claim: Claim) -> go.Figure | None:
    """Every item's outcome by task and arm; None where there is but one outcome."""
    names = list(dict.fromkeys([*claim.outcomes_a, *claim.outcomes_b]))
    if len(names) < 2:
        return None
    rows = [(f"{t.task}, {label}  ", counts) for t in claim.by_task
            for label, counts in ((claim.against, t.a), (claim.arm, t.b))]  # fmt: skip
    figure = blank(height=110 + 26 * len(rows))
    for i, name in enumerate(names):
        share = [100 * counts.get(name, 0) / max(sum(counts.values()), 1) for _, counts in rows]
        figure.add_trace(go.Bar(
            x=share, y=[label for label, _ in rows], orientation="h", name=name.replace("_", " "),
            customdata=[counts.get(name, 0) for _, counts in rows],
            marker={"color": FILLS[i % len(FILLS)], "pattern": {"shape": PATTERNS[i % len(PATTERNS)], "size": 6}},
            hovertemplate=f"{name.replace('_', ' ')}: %{{customdata}} items, %{{x:.1f}} %<extra></extra>",
        ))  # fmt: skip
    figure.update_layout(barmode="stack", legend={**LEGEND, "traceorder": "normal"}, bargap=0.25)
    figure.update_xaxes(range=[0, 100], title="% of all items, with those that have no value")
    figure.update_yaxes(autorange="reversed")
    return figure


LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}


def blank(height: int) -> go.Figure:
    """An empty figure in the house's look; without plotly's own template, which would be 7 kB in each."""
    figure = go.Figure(layout={"template": go.layout.Template()})
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 20, "t": 36, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True, title={"standoff": 8, "font": {"size": 12}})
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True, title={"font": {"size": 12}})
    return figure
