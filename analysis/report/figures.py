"""The report's figures: plotly for numbers, plain SVG for talks, so that both work offline, in print and in the dark.

Colours follow the house's look: arm A grey, arm B green; agent blue, user orange. Text takes the page's ink colour
by style sheet, and nothing is told by colour alone.
"""

from collections.abc import Callable, Sequence
from html import escape

import plotly.graph_objects as go

from analysis.paired import Estimate
from analysis.report.summarize import Claim, Summary, TalkPicture, amount
from protocols.timeline import Span, intersect

ARM_A, ARM_B = "#999999", "#009E73"
AGENT, USER = "#0072B2", "#E69F00"
GRID = "rgba(128,128,128,0.25)"

X = Callable[[float], str]  # seconds -> place on the picture


def forest(summary: Summary) -> go.Figure:
    """Every claim on one axis: the difference in multiples of the smallest one that matters, better to the right."""
    figure = _figure(height=110 + 44 * len(summary.claims))
    figure.add_vrect(x0=-1, x1=1, fillcolor="rgba(128,128,128,0.15)", line_width=0, layer="below")
    figure.add_vline(x=0, line_color="rgba(128,128,128,0.8)", line_width=1)
    for claim in reversed(summary.claims):
        if claim.result is None:
            continue
        d = claim.result.difference
        scale = (1 if claim.metric.better == "higher" else -1) / claim.metric.margin
        edges = sorted(scale * x for x in (d.low, d.high) if x is not None) or [scale * d.value] * 2
        figure.add_trace(
            go.Scatter(
                x=[scale * d.value],
                y=[f"{claim.metric.title}  "],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [edges[1] - scale * d.value],
                    "arrayminus": [scale * d.value - edges[0]],
                    "thickness": 2,
                    "width": 6,
                },
                mode="markers+text",
                marker={"size": 11, "color": ARM_B, "symbol": "diamond"},
                text=[f" {claim.verdict}"],
                textposition="top center",
                hovertemplate=f"{claim.sentence}<extra></extra>",
                showlegend=False,
            )
        )
    figure.update_xaxes(
        title="difference in multiples of the smallest one that matters (grey: too small to matter); right is better"
    )
    return figure


def claim_figure(claim: Claim, labels: tuple[str, str]) -> go.Figure:
    """Shares as two points with intervals, seconds as two cumulative curves."""
    return _shares(claim, labels) if claim.metric.kind == "binary" else _curves(claim, labels)


def _shares(claim: Claim, labels: tuple[str, str]) -> go.Figure:
    figure = _figure(height=190)
    if claim.result is not None:
        for estimate, label, colour in ((claim.result.a, labels[0], ARM_A), (claim.result.b, labels[1], ARM_B)):
            figure.add_trace(_point(estimate, label, colour))
    figure.update_xaxes(range=[-2, 102], title="% of items, with 95 % interval")
    figure.update_yaxes(autorange="reversed")
    return figure


def _point(estimate: Estimate, label: str, colour: str) -> go.Scatter:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return go.Scatter(
        x=[100 * estimate.value],
        y=[f"{label}  "],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [100 * (high - estimate.value)],
            "arrayminus": [100 * (estimate.value - low)],
            "thickness": 2,
            "width": 7,
        },
        mode="markers",
        marker={"size": 13, "color": colour},
        showlegend=False,
        hovertemplate=f"{label}: %{{x:.1f}} %<extra></extra>",
    )


def _curves(claim: Claim, labels: tuple[str, str]) -> go.Figure:
    figure = _figure(height=300)
    for values, label, colour, dash in (
        (claim.values_a, labels[0], ARM_A, "dash"),
        (claim.values_b, labels[1], ARM_B, "solid"),
    ):
        x = sorted(values)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[100 * (i + 1) / len(x) for i in range(len(x))],
                name=label,
                mode="lines",
                line={"shape": "hv", "width": 2.5, "color": colour, "dash": dash},
                hovertemplate=f"{label}: %{{y:.0f}} % of items at most %{{x:.2f}} {claim.metric.unit}<extra></extra>",
            )
        )
    small = amount(claim.metric.margin, claim.metric)
    figure.update_xaxes(title=f"{claim.metric.title.lower()}, {claim.metric.unit} (under {small} does not matter)")
    figure.update_yaxes(title="% of items at or below", range=[0, 102])
    figure.update_layout(legend={"orientation": "h", "y": 1.15, "x": 0})
    return figure


def _figure(height: int) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 20, "t": 36, "b": 50},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure


# --- talks -----------------------------------------------------------------------------------------------------

WIDTH, LEFT, LANE = 1000, 60, 26
LANES = {"agent": 30, "user": 96}


def talk_svg(talk: TalkPicture) -> str:
    """One talk: time to the right, agent above, user below, words under it, overlap shaded, events as lines."""
    scale = (WIDTH - LEFT) / talk.duration

    def x(time: float) -> str:
        return f"{LEFT + time * scale:.1f}"

    parts = [
        f'<svg viewBox="0 0 {WIDTH} 160" role="img" class="talk" data-left="{LEFT}" data-width="{WIDTH}" '
        f'data-duration="{talk.duration:.3f}"><title>{escape(talk.sample)}: agent above, user below</title>'
    ]
    parts += [
        f'<text x="0" y="{LANES[name] + 18}" class="lane">{name}</text>'
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{LANES[name] + LANE}" y2="{LANES[name] + LANE}" class="axis"/>'
        for name in ("agent", "user")
    ]
    for overlap in intersect(talk.agent, talk.user):
        parts.append(
            f'<rect x="{x(overlap.start)}" y="26" width="{overlap.duration * scale:.1f}" height="100" class="overlap"/>'
        )
    parts += _bars(talk.agent, LANES["agent"], AGENT, x, scale) + _bars(talk.user, LANES["user"], USER, x, scale)
    parts += _words(talk, x)
    parts += _events(talk, x)
    step = 1 if talk.duration <= 20 else 5
    parts += [f'<text x="{x(t)}" y="156" class="tick">{t} s</text>' for t in range(0, int(talk.duration) + 1, step)]
    return "".join([*parts, '<line class="cursor" y1="20" y2="132" x1="-9" x2="-9"/></svg>'])


def _bars(spans: Sequence[Span], top: int, colour: str, x: X, scale: float) -> list[str]:
    return [
        f'<rect x="{x(s.start)}" y="{top}" width="{max(s.duration * scale, 1):.1f}" height="{LANE}" rx="4"'
        f' fill="{colour}"/>'
        for s in spans
    ]


def _words(talk: TalkPicture, x: X) -> list[str]:
    """Words under the agent's sound, in two rows so that they do not run into each other."""
    out, free = [], [0.0, 0.0]
    for word in talk.words:
        at = float(x(word.start))
        row = 0 if free[0] <= at else 1
        at = max(at, free[row])
        top = LANES["agent"] + LANE + 13 + 13 * row
        out.append(f'<text x="{at:.1f}" y="{top}" class="word">{escape(word.text)}</text>')
        free[row] = at + 7.2 * len(word.text) + 5
    return out


def _events(talk: TalkPicture, x: X) -> list[str]:
    out = []
    for event in talk.events:
        marks = [(event.end, "turn end")] if event.kind == "turn" else [(event.start, event.kind), (event.end, "")]
        for time, label in marks:
            out.append(f'<line x1="{x(time)}" x2="{x(time)}" y1="20" y2="132" class="event"/>')
            if label:
                out.append(f'<text x="{x(time)}" y="14" class="event-label">{escape(label)}</text>')
    return out
