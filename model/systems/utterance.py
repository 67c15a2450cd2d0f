"""One utterance of an agent whose sound and words come apart: how much of it has been heard, and which words.

A server sends an utterance's sound faster than it is heard, and its words without times. A word is dated by its share
of the letters among what has arrived so far, and given out when that part of the sound begins; what was cut off has
never been said. It knows samples and letters, nothing of servers.
"""

from protocols.duplex import TextPiece


class Utterance:
    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._stretches: list[tuple[int, int]] = []  # where its sound is heard, [start, end) on the session's clock
        self._given = 0  # words
        self.transcript = ""
        self.cut_at: int | None = None  # from here on it was not heard

    def place(self, start: int, end: int) -> None:
        self._stretches.append((start, end))

    @property
    def samples(self) -> int:
        """How much of it has arrived."""
        return sum(end - start for start, end in self._stretches)

    def heard(self, until: int) -> int:
        """How many of its samples have been heard by a sample of the session's clock."""
        last = until if self.cut_at is None else min(until, self.cut_at)
        return sum(max(min(end, last) - start, 0) for start, end in self._stretches)

    def words(self, until: int) -> tuple[TextPiece, ...]:
        """The words whose sound begins before `until` and that have not been given yet."""
        words = self.transcript.split()
        letters = sum(map(len, words))
        found, done = [], 0
        for i, word in enumerate(words):
            first, last = done * self.samples // letters, (done + len(word)) * self.samples // letters
            if i >= self._given and first < self.heard(until):
                found.append(TextPiece(f" {word}", self._time(first), self._time(last)))
            done += len(word)
        self._given += len(found)
        return tuple(found)

    def said(self) -> str:
        """The words that have been given: what a listener has heard of it."""
        return " ".join(self.transcript.split()[: self._given])

    def _time(self, sample: int) -> float:
        """When its n-th sample is heard, in seconds."""
        for start, end in self._stretches:
            if sample <= end - start:
                return (start + sample) / self._rate
            sample -= end - start
        return self._stretches[-1][1] / self._rate


def spread(text: str, start: float, end: float) -> tuple[TextPiece, ...]:
    """Words that fill [start, end], each with its share of the letters."""
    words = text.split()
    letters = sum(map(len, words))
    pieces, done = [], 0
    for word in words:
        first, done = done, done + len(word)
        at = (start + (end - start) * first / letters, start + (end - start) * done / letters)
        pieces.append(TextPiece(f" {word}", *at))
    return tuple(pieces)
