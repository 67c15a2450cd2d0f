"""A timeline as one HTML page: the picture, its scores as a table, and the recording as a linked file.

Time runs to the right, agent above, user below; words lie under their sound. Every colour has a word or a sign beside
it. Nothing is loaded but the recording, which stays where it is.
"""

import os
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from markupsafe import Markup

from analysis.report.page import templates, write_whole
from analysis.report.timeline import Outcome, Timeline, Worth
from protocols.records import CHANNELS, Channel, Transcript
from protocols.timeline import intersect, union

SIGNS: dict[Worth, str] = {"good": "✓", "bad": "✗", "open": "○"}
LEFT, RIGHT, WAVE, ROW, LETTER = 92, 20, 46, 15, 6.6  # pixels
LEAST, PER_SECOND = 1000, 60  # width of a picture, or of a second of a longer one

X = Callable[[float], float]


def write_page(made: Timeline, path: Path) -> Path:
    """Write the page; its path."""
    page = render(made, os.path.relpath(made.sound.resolve(), path.parent.resolve()))
    write_whole({path: page.encode()})
    return path


def render(made: Timeline, sound: str) -> str:
    """The page; `sound` is where the recording lies, relative to it."""
    return (
        templates()
        .get_template("talk.html.j2")
        .render(talk=made, picture=Markup(svg(made)), sound=sound.replace(os.sep, "/"), signs=SIGNS, figure=_figure)
    )


def svg(made: Timeline) -> str:
    """The picture. Rows grow with what there is: transcripts, events and scores with evidence."""
    width = max(LEAST, round(LEFT + RIGHT + PER_SECOND * made.duration))

    def x(time: float) -> float:
        return LEFT + time / max(made.duration, 1e-6) * (width - LEFT - RIGHT)

    labels, top = _events(made, x)
    parts, bottom = [], top + 6
    for channel, level in zip(CHANNELS, (made.agent_level, made.user_level), strict=True):
        drawn, bottom = _lane(made, channel, level, bottom, x)
        parts += drawn
    lanes = (top + 2, bottom - 4)
    marks, bottom = _outcomes(made, bottom, x)
    lines = [
        f'<line x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{lanes[0]}" y2="{lanes[1]}" class="event"/>'
        for t, _ in _times(made)
    ]
    ticks = _ticks(made.duration, bottom + 14, x)
    return (
        f'<svg viewBox="0 0 {width} {bottom + 22}" width="{width}" role="img" class="talk" data-left="{LEFT}"'
        f' data-span="{width - LEFT - RIGHT}" data-duration="{made.duration:.3f}">'
        f"<title>{escape(made.sample)}: agent above, user below</title>"
        + "".join([*_overlaps(made, lanes, x), *parts, *lines, *labels, *marks, *ticks])
        + f'<line class="cursor" y1="{lanes[0]}" y2="{bottom}" x1="-9" x2="-9"/></svg>'
    )


def _lane(made: Timeline, channel: Channel, level: tuple[float, ...], top: int, x: X) -> tuple[list[str], int]:
    """One side: its level, a bar per detector, a row of words per source; and where the next thing may begin."""
    middle = top + WAVE / 2
    step = made.duration / max(len(level), 1)
    upper = [f"{x(i * step):.1f},{middle - v * WAVE / 2:.1f}" for i, v in enumerate(level)]
    lower = [f"{x(i * step):.1f},{middle + v * WAVE / 2:.1f}" for i, v in enumerate(level)]
    parts = [
        f'<text x="0" y="{middle + 4:.0f}" class="lane {channel}">{channel}</text>',
        f'<line x1="{x(0):.1f}" x2="{x(made.duration):.1f}" y1="{middle:.1f}" y2="{middle:.1f}" class="axis"/>',
        f'<polygon class="wave {channel}" points="{" ".join([*upper, *reversed(lower)])}"/>',
    ]
    at = top + WAVE + 3
    for row in (a for a in made.activity if a.channel == channel):
        parts.append(f'<text x="0" y="{at + 8}" class="source">{escape(_short(row.source))}</text>')
        parts += [
            f'<rect x="{x(s.start):.1f}" y="{at + 1}" width="{max(x(s.end) - x(s.start), 1):.1f}" height="8" rx="3"'
            f' class="bar {channel}"><title>{channel} speaks {s.start:.2f} to {s.end:.2f} s ({escape(row.source)})'
            "</title></rect>"
            for s in row.spans
        ]
        at += 13
    for said in (t for t in made.transcripts if t.channel == channel and t.words):
        drawn, at = _words(said, at, x)
        parts += drawn
    return parts, at + 12


def _words(said: Transcript, top: int, x: X) -> tuple[list[str], int]:
    """Words under their sound in as many rows as keep them apart (three at most)."""
    free = [0.0]
    parts = [f'<text x="0" y="{top + 12}" class="source">{escape(_short(said.source))}</text>']
    for word in said.words:
        at = x(word.start)
        row = next((i for i, end in enumerate(free) if end <= at), len(free))
        if row == len(free):
            if len(free) < 3:
                free.append(0.0)
            else:
                row = free.index(min(free))
        at = max(at, free[row])
        free[row] = at + LETTER * len(word.text) + 6
        parts.append(
            f'<text x="{at:.1f}" y="{top + 12 + ROW * row}" class="word">{escape(word.text)}'
            f"<title>{word.start:.2f} to {word.end:.2f} s</title></text>"
        )
    return parts, top + ROW * len(free) + 2


def _times(made: Timeline) -> list[tuple[float, str]]:
    """Where a line stands and what it says; the end of a stretch has a line and no label, a turn's end has both."""
    marks = []
    for event in made.events:
        name = event.kind.replace("_", " ") + ("" if event.missed is None else " (never played)")
        marks += [
            (event.start, name if event.kind != "turn" else "turn"),
            (event.end, "turn end" * (event.kind == "turn")),
        ]
    return sorted((t, label) for t, label in marks if 0 <= t <= made.duration)


def _events(made: Timeline, x: X) -> tuple[list[str], int]:
    labelled = [(x(time), label) for time, label in _times(made) if label]
    return _rows(
        labelled, 0, lambda at, y, label: f'<text x="{at:.1f}" y="{y}" class="event-label">{escape(label)}</text>'
    )


def _outcomes(made: Timeline, top: int, x: X) -> tuple[list[str], int]:
    """A sign and the outcome's name under the evidence that made it."""
    marks = []
    for made_of in made.outcomes:
        if made_of.score.evidence:
            title = made_of.title[0].lower() + made_of.title[1:]
            label = f"{SIGNS[made_of.worth]} {title}: {made_of.score.outcome.replace('_', ' ')}"
            marks.append(
                (min(x(made_of.score.evidence[-1].start), x(made.duration) - LETTER * len(label)), label, made_of)
            )
    worth = {(at, label): o.worth for at, label, o in marks}
    return _rows(
        sorted((at, label) for at, label, _ in marks),
        top,
        lambda at, y, label: f'<text x="{at:.1f}" y="{y}" class="outcome {worth[at, label]}">{escape(label)}</text>',
    )


def _rows(
    marks: Iterable[tuple[float, str]], top: int, draw: Callable[[float, int, str], str]
) -> tuple[list[str], int]:
    """Labels in as few rows as keep them apart, and where the rows end."""
    free: list[float] = []
    parts = []
    for at, label in marks:
        row = next((i for i, end in enumerate(free) if end <= at), len(free))
        free[row : row + 1] = [at + LETTER * len(label) + 10]
        parts.append(draw(at, top + 13 + ROW * row, label))
    return parts, top + ROW * len(free) + 3


def _overlaps(made: Timeline, lanes: tuple[int, int], x: X) -> list[str]:
    """Time in which any detector hears both."""
    agent, user = (
        union([s for a in made.activity if a.channel == channel for s in a.spans], ()) for channel in ("agent", "user")
    )
    return [
        f'<rect x="{x(s.start):.1f}" y="{lanes[0]}" width="{x(s.end) - x(s.start):.1f}" height="{lanes[1] - lanes[0]}"'
        ' class="overlap"><title>both speak</title></rect>'
        for s in intersect(agent, user)
    ]


def _ticks(duration: float, y: int, x: X) -> list[str]:
    step = next((s for s in (1, 2, 5, 10, 30) if duration / s <= 30), 60)
    return [f'<text x="{x(t):.1f}" y="{y}" class="tick">{t} s</text>' for t in range(0, int(duration) + 1, step)]


def _short(source: str) -> str:
    """A source's first name, as much of it as fits beside the lane."""
    name = source.split("/")[0].split("+")[0]
    return name if len(name) <= 13 else name[:12] + "…"


def _figure(outcome: Outcome) -> str:
    if outcome.score.value is None:
        return "none"
    return (
        f"{100 * outcome.score.value:g} %" if outcome.unit == "share" else f"{outcome.score.value:.2f} {outcome.unit}"
    )
