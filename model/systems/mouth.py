"""What an agent that speaks sentence by sentence has said: placed one after the other, cut where it is interrupted.

A sentence is heard at max(its arrival, the end of what came before). Its words are dated by their share of the
letters and given as they are heard, so what is remembered of a reply that was cut is what a listener heard of it.
Fillers are heard like everything else, and belong to no reply.
"""

from model.systems.playout import Playout
from model.systems.utterance import Utterance
from protocols.duplex import FRAME_SIZE, SAMPLE_RATE, Audio, TextPiece


class Mouth:
    def __init__(self) -> None:
        self._playout = Playout(SAMPLE_RATE, FRAME_SIZE)
        self._all: list[Utterance] = []
        self._reply: list[Utterance] = []  # those of the reply that is being given
        self.taken = FRAME_SIZE  # samples of the talk that are settled

    def say(self, text: str, audio: Audio, at: float, filler: bool = False) -> None:
        """Speak from `at` seconds on, or as soon as there is room."""
        placed = self._playout.add(audio, at)
        utterance = Utterance(SAMPLE_RATE)
        utterance.transcript = text
        utterance.place(placed.start, placed.end)
        self._all.append(utterance)
        if not filler:
            self._reply.append(utterance)

    def cut(self, at: float) -> None:
        """Fall silent `at` seconds, at the earliest after what is settled."""
        until = self._playout.cut(at)
        for utterance in self._all:
            if utterance.cut_at is None and utterance.heard(until) < utterance.samples:
                utterance.cut_at = until

    def busy(self, at: float) -> bool:
        """Whether it speaks, or is about to, at `at` seconds."""
        return self._playout.ahead(at) > 0

    @property
    def begun(self) -> bool:
        """Whether something of the present reply has been heard."""
        return any(utterance.heard(self.taken) for utterance in self._reply)

    def take(self) -> Audio:
        """The next frame, [FRAME_SIZE]."""
        frame = self._playout.take(self.taken, FRAME_SIZE)
        self.taken += FRAME_SIZE
        return frame

    def words(self) -> tuple[TextPiece, ...]:
        """The words whose sound has begun and that have not been given yet."""
        pieces = tuple(piece for utterance in self._all for piece in utterance.words(self.taken))
        self._all = [u for u in self._all if u.cut_at is None and u.heard(self.taken) < u.samples]
        return pieces

    def finish(self) -> str:
        """What was heard of the present reply; the next one begins."""
        heard = " ".join(filter(None, (utterance.said() for utterance in self._reply)))
        self._reply = []
        return heard
