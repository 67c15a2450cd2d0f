"""A dataset's pairs as a page to look at and listen to: rows and their sounds to the values the page is made of."""

import base64
from pathlib import Path

import numpy as np

from analysis.pairs.page import Block, Lane, Page, PagePair, write_page
from eval.pairs.dataset import Dataset
from eval.pairs.rows import PairRow, TalkRow
from eval.pairs.sides import both_sides
from protocols.audio import read_channel
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.encoding import encoded
from protocols.errors import InputError
from protocols.records import Channel, Word
from protocols.timeline import Span, utterances

BEFORE = 6.0  # seconds of the shared past that are shown
FADE = 0.005  # seconds, at cut edges
JOINED = 0.5  # words closer than this are one block


def write_pairs_page(dataset: Dataset, out: Path, limit: int, kind: str | None = None) -> Page:
    """Write the page of the first `limit` pairs (of a type, evenly over the types if None)."""
    chosen = _choose(dataset, limit, kind)
    page = Page(f"Preference pairs of {dataset.path.resolve().name}", dataset.info.digest, dataset.info.pairs,
                tuple(page_pair(dataset, talk, pair) for talk, pair in chosen))  # fmt: skip
    write_page(page, out)
    return page


def _choose(dataset: Dataset, limit: int, kind: str | None) -> list[tuple[TalkRow, PairRow]]:
    found: dict[str, list[tuple[TalkRow, PairRow]]] = {}
    for talk, pair in dataset.with_talks():
        group = found.setdefault(pair.kind, [])
        if (kind is None or pair.kind == kind) and len(group) < limit:
            group.append((talk, pair))
    rows = [group[i] for i in range(limit) for group in found.values() if i < len(group)]
    return rows[:limit]


def page_pair(dataset: Dataset, talk: TalkRow, pair: PairRow) -> PagePair:
    """One pair as the page shows it."""
    start = max(pair.diverges_at - BEFORE, 0.0)
    end = max(pair.chosen_until, pair.rejected_until)
    return PagePair(pair.id, pair.kind, pair.faults, pair.axes, pair.strength, pair.judges, pair.writer, start, end,
                    pair.diverges_at, (_lane(dataset, talk, pair, start, end, chosen=True),
                                       _lane(dataset, talk, pair, start, end, chosen=False)))  # fmt: skip


def _lane(dataset: Dataset, talk: TalkRow, pair: PairRow, start: float, end: float, chosen: bool) -> Lane:
    words = pair.chosen_words if chosen else pair.rejected_words
    user_until = pair.user_silent_from if chosen else None
    agent = [Block("agent", *_clipped(x.start, min(x.end, pair.diverges_at), start, end), x.text)
             for x in talk.lines if x.channel == "agent"]  # fmt: skip
    agent += [b for b in _blocks("agent", words) if b.start < end]
    until = end if user_until is None else user_until
    texts = {round(x.start, 3): x.text for x in talk.lines if x.channel == "user"}
    user = [Block("user", *_clipped(s.start, min(s.end, until), start, end), texts.get(round(s.start, 3), ""))
            for s in talk.user_speech]  # fmt: skip
    blocks = tuple(b for b in (*agent, *user) if b.end > b.start)
    sound = _sound(dataset, talk, pair, start, end, chosen)
    return Lane("chosen" if chosen else "rejected", blocks, sound, None if sound else "no sound: known as tokens alone")


def _clipped(start: float, end: float, low: float, high: float) -> tuple[float, float]:
    return max(start, low), min(end, high)


def _blocks(channel: Channel, words: tuple[Word, ...]) -> list[Block]:
    spans = utterances([Span(w.start, w.end) for w in words], JOINED)
    said = [" ".join(w.text for w in words if s.start <= (w.start + w.end) / 2 <= s.end) for s in spans]
    return [Block(channel, s.start, s.end, text) for s, text in zip(spans, said, strict=True)]


def _sound(dataset: Dataset, talk: TalkRow, pair: PairRow, start: float, end: float, chosen: bool) -> str | None:
    """Both sides, left agent, right user, as a data URI; None where the sound is not there any more."""
    if talk.sound is None or (chosen and pair.chosen_words and not pair.chosen_sound):
        return None
    try:
        both = both_sides(dataset.path / talk.sound)  # its own path, where it is a whole one
        n = round((end - start) * SAMPLE_RATE)
        out = np.zeros((2, n), np.float32)
        _put(out[0], both[0], start, start, pair.diverges_at, start)
        until = end if not chosen or pair.user_silent_from is None else pair.user_silent_from
        _put(out[1], both[1], start, start, min(until, end), start)
        for cut in pair.chosen_sound if chosen else pair.rejected_sound:
            own = cut.path.startswith("sounds/")
            source = read_channel(dataset.path / cut.path, 0) if own else both[0]
            _put(out[0], source, cut.at, cut.start, cut.end, start)
    except InputError:
        return None
    return "data:audio/ogg;base64," + base64.b64encode(encoded(out.T, SAMPLE_RATE, "OGG")).decode()


def _put(out: Audio, source: Audio, at: float, start: float, end: float, origin: float) -> None:
    """source[start:end] at a moment of `out`, which begins at `origin`; seconds. Edges are faded."""
    part = source[max(round(start * SAMPLE_RATE), 0) : max(round(end * SAMPLE_RATE), 0)].copy()
    ramp = np.linspace(0, 1, round(FADE * SAMPLE_RATE), dtype=np.float32)[: len(part)]
    part[: len(ramp)] *= ramp
    part[len(part) - len(ramp) :] *= ramp[::-1]
    first = round((at - origin) * SAMPLE_RATE)
    part = part[max(-first, 0) :]
    first = max(first, 0)
    room = out[first : first + len(part)]
    room += part[: len(room)]
