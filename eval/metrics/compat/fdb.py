"""Full-Duplex-Bench v1: takeover, turn latency and interruption, on timed words.

Takeover: no words, or at most 3 words that span less than a second from the first one's start to the last one's
end, is none; anything else is one, wherever in the file it lies. Events are looked at for latency only.
"""

from collections.abc import Sequence

from eval.metrics.compat.quirks import PUBLISHED, Quirks
from protocols.records import Word
from protocols.timeline import Span, track

SHORT = 1.0  # seconds
FEW = 3  # words
JOINED = 1.0  # without `whole_file_span`: words closer than this belong together


def takeover(words: Sequence[Word], quirks: Quirks = PUBLISHED, user_start: float = 0.0) -> bool:
    """Did the agent take the floor. `user_start`: what begins before it is a greeting."""
    if not quirks.greeting_counts:
        words = [w for w in words if w.start >= user_start]
    if quirks.whole_file_span:
        return _takes(words)
    joined = track(((w.start, w.end) for w in words), gap=JOINED)
    return any(_takes([w for w in words if s.start <= w.start and w.end <= s.end]) for s in joined)


def _takes(words: Sequence[Word]) -> bool:
    if not words:
        return False
    span = max(w.end for w in words) - min(w.start for w in words)
    return not (span < SHORT and len(words) <= FEW)


def turn_latency(
    words: Sequence[Word], turn_end: float, quirks: Quirks = PUBLISHED, user_start: float = 0.0
) -> float | None:
    """The first word's start minus the user's end; None if there was no takeover."""
    if not takeover(words, quirks, user_start):
        return None
    kept = [w.start for w in words if quirks.greeting_counts or w.start >= user_start]
    late = min(kept) - turn_end
    return max(late, 0.0) if quirks.early_is_zero else late


def after(words: Sequence[Word], cut: float) -> list[Word]:
    """The words of a recording that is cut off before `cut`."""
    return [Word(w.text, max(w.start, cut), w.end) for w in words if w.end > cut]


def interruption(words: Sequence[Word], event: Span, quirks: Quirks = PUBLISHED) -> tuple[bool, float | None]:
    """Takeover after a user's interruption, and the latency from its end (None without a takeover)."""
    if not quirks.talking_through_succeeds and _through(words, event):
        return False, None
    rest = after(words, event.end)
    return takeover(rest, quirks), turn_latency(rest, event.end, quirks)


def _through(words: Sequence[Word], event: Span) -> bool:
    """One stretch of speech runs from the interruption's start to its end."""
    joined = track(((w.start, w.end) for w in words), gap=JOINED)
    return any(s.start <= event.start and s.end >= event.end for s in joined)
