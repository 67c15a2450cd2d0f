"""People's answers as diverging bars, each rater's means as a line between the arms, differences by scenario and
duration as a map, and votes as one bar."""

import plotly.graph_objects as go

from analysis.report.conduct import Technical
from analysis.report.figures import ARM_A, ARMS, LEGEND, blank, step
from analysis.report.questions import Choice, Scale
from analysis.sensitivity import Situation

LIKERT = ("#D9762B", "#EFBE66", "#C4C4C4", "#8CC9EE", "#4A9FD0")  # low to high; dark letters are read on each


def likert_figure(scale: Scale) -> go.Figure:
    """Shares of each answer per arm, diverging around the middle of the scale."""
    figure = blank(height=190)
    k, rows = len(scale.levels), ((scale.a, scale.counts_a), (scale.b, scale.counts_b))
    shares = [[100 * n / max(sum(counts), 1) for n in counts] for _, counts in rows]
    starts = [-sum(s[: k // 2]) - (s[k // 2] / 2 if k % 2 else 0) for s in shares]
    for i, level in enumerate(scale.levels):
        colour = LIKERT[round(i * (len(LIKERT) - 1) / max(k - 1, 1))]
        figure.add_trace(go.Bar(
            x=[s[i] for s in shares], base=[start + sum(s[:i]) for start, s in zip(starts, shares, strict=True)],
            y=[f"{name}  " for name, _ in rows], orientation="h", name=str(level), marker={"color": colour},
            text=[f"{level}: {s[i]:.0f} %" if s[i] >= 8 else "" for s in shares],
            textposition="inside", insidetextanchor="middle",
            customdata=[counts[i] for _, counts in rows], hovertemplate=f"{level}: %{{customdata}}<extra></extra>",
        ))  # fmt: skip
    figure.update_layout(
        uniformtext={"minsize": 10, "mode": "hide"},
        barmode="overlay",
        legend={**LEGEND, "traceorder": "normal"},
        bargap=0.3,
    )
    figure.update_xaxes(title="% of ratings, the middle of the scale at 0", range=[-102, 102])
    figure.update_yaxes(autorange="reversed")
    return figure


def slopes_figure(scale: Scale) -> go.Figure:
    """A line per rater from their mean of one arm to that of the other; rising lines solid, falling ones dashed."""
    figure = blank(height=320)
    for line in scale.raters:
        up = line.b >= line.a
        figure.add_trace(go.Scatter(
            x=[scale.a, scale.b], y=[line.a, line.b], mode="lines+markers", showlegend=False,
            line={"width": 1.5, "color": ARMS[0] if up else ARMS[3], "dash": "solid" if up else "dash"},
            marker={"size": 5}, hovertemplate=f"{line.rater}: %{{y:.2f}}<extra></extra>",
        ))  # fmt: skip
    figure.update_yaxes(title="rater's mean")
    figure.update_xaxes(range=[-0.2, 1.2])
    return figure


def map_figure(scale: Scale) -> go.Figure | None:
    """B minus A by scenario and planned duration, its figure in every field; None where neither varies."""
    if not scale.situations:
        return None
    names = list(dict.fromkeys(s.scenario for s in scale.situations))
    lengths = sorted({-1.0 if s.duration is None else s.duration for s in scale.situations})
    at = {(s.scenario, -1.0 if s.duration is None else s.duration): s for s in scale.situations}
    fields = [[at.get((name, length)) for length in lengths] for name in names]
    values = [[f.difference.value if f and f.difference else None for f in row] for row in fields]
    widest = max((abs(v) for row in values for v in row if v is not None), default=1.0) or 1.0
    figure = blank(height=130 + 52 * len(names))
    figure.add_trace(go.Heatmap(
        z=values, x=["all durations" if length < 0 else f"{length:g} s" for length in lengths],
        y=[f"{name or 'all scenarios'}  " for name in names], zmin=-widest, zmax=widest, xgap=2, ygap=2,
        colorscale=[[0.0, LIKERT[1]], [0.5, "#DDDDDD"], [1.0, LIKERT[3]]], showscale=False,
        text=[[_field(f) for f in row] for row in fields], texttemplate="%{text}", textfont={"color": "#111111"},
        hovertemplate="%{y} %{x}: %{text}<extra></extra>",
    ))  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title=f"{scale.b} minus {scale.a}, points [95 %]; blue: {scale.b} is rated higher")
    return figure


def lag_figure(made: Technical) -> go.Figure:
    """How much later than spoken each arm's talks were heard, as cumulative curves."""
    figure = blank(height=260)
    for i, (arm, of) in enumerate(made.curves.items()):
        colour, dash = (ARM_A, "dash") if i == 0 else (ARMS[(i - 1) % len(ARMS)], "solid")
        figure.add_trace(step(of, arm, colour, dash, 2.5, "talks"))
    figure.update_layout(legend=LEGEND)
    figure.update_xaxes(title=f"{made.title}, ms")
    figure.update_yaxes(title="% of talks at or below", range=[0, 102])
    return figure


def _field(field: Situation | None) -> str:
    if field is None or field.difference is None:
        return "one arm only" if field else ""
    d = field.difference
    ends = "no interval" if d.low is None or d.high is None else f"{d.low:+.2f}, {d.high:+.2f}"
    return f"{d.value:+.2f}<br>[{ends}]"


def votes_figure(choice: Choice) -> go.Figure:
    """Votes for either arm and ties as one bar."""
    r = choice.result
    total = max(r.wins + r.ties + r.losses, 1)
    figure = blank(height=130)
    for name, n, colour, shape in (
        (choice.a, r.losses, ARM_A, ""), ("ties", r.ties, "#DDDDDD", "/"), (choice.b, r.wins, ARMS[0], ""),
    ):  # fmt: skip
        figure.add_trace(go.Bar(
            x=[100 * n / total], y=["votes  "], orientation="h", name=name, text=f"{name}: {n}", textposition="inside",
            insidetextanchor="middle", marker={"color": colour, "pattern": {"shape": shape, "size": 6}},
            hovertemplate=f"{name}: {n} votes, %{{x:.1f}} %<extra></extra>",
        ))  # fmt: skip
    figure.add_vline(x=50, line_dash="dot", line_color="rgba(128,128,128,0.8)", line_width=1)
    figure.update_layout(
        barmode="stack", legend={**LEGEND, "traceorder": "normal"}, uniformtext={"minsize": 10, "mode": "hide"}
    )
    figure.update_xaxes(range=[0, 100], title="% of votes")
    return figure
