"""One talk as plain SVG: time to the right, agent above, user below, words under it, overlap shaded."""

from collections.abc import Callable, Sequence
from html import escape

from analysis.report.talks import TalkPicture
from protocols.timeline import Span, intersect

AGENT, USER = "#0072B2", "#E69F00"

X = Callable[[float], str]  # seconds -> place on the picture

WIDTH, LEFT, LANE = 1000, 60, 26
TICK = 24  # what a time takes beside its place
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
    ticks = [t for t in range(0, int(talk.duration) + 1, step) if t == 0 or float(x(t)) <= WIDTH - TICK]
    parts += [f'<text x="{x(t)}" y="156" class="tick">{t} s</text>' for t in ticks]
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
    """Lines where the user's channel was made to do something; what was never played has none."""
    out = []
    for event in talk.events:
        if event.missed is not None:
            continue
        marks = (
            [(event.end, "turn end")]
            if event.kind == "turn"
            else [(event.start, event.kind.replace("_", " ")), (event.end, "")]
        )
        for time, label in marks:
            out.append(f'<line x1="{x(time)}" x2="{x(time)}" y1="20" y2="132" class="event"/>')
            if label:
                out.append(f'<text x="{x(time)}" y="14" class="event-label">{escape(label)}</text>')
    return out
