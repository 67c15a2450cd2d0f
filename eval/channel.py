"""The user's channel of one talk, frame by frame: what is placed on it beforehand, and what waits for the agent.

Fixed cues start with the user's audio: after the lead-in, and with greeting "wait" once the agent has been silent for
`GREETING_SILENCE` (at most `GREETING_LIMIT`), so a system that speaks first is not talked over.

A cue with `after_agent` is played at the first moment, `at` or later, by which the agent's utterance under way has
lasted that long and the agent is sounding; such cues are played in order and never over each other. One that would
end after the sample's `length` is not played: its events then say so. The agent's frame k is known before the user's
frame k is made (`protocols.duplex`), so a cue starts at the very sample that is due, inside a frame.

What the agent does is decided by `eval.onset` alone, from this talk's own frames, so it depends neither on the clock
nor on the talks beside it.
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np

from eval.onset import AgentSpeech
from eval.tasks.user import UserSound
from protocols.duplex import Audio, SystemInfo, TextPiece
from protocols.records import Event, Sample

GREETING_SILENCE = 1.0
GREETING_LIMIT = 15.0
ENDED = "the talk ended before it"


class User(Protocol):
    """Whoever makes the user's channel of a talk. Frame k is asked for once the agent's frames up to k are heard."""

    def hear(self, said: Audio, text: Sequence[TextPiece] = ()) -> None:
        """The agent's next frame, [frame_size], from its frame 0 on, and the text it gave with it."""
        ...

    def frame(self, number: int) -> Audio:
        """The user's frame, [frame_size]. Asked for once, in order."""
        ...

    @property
    def starts_at(self) -> int | None:
        """The sample of the session at which the user's audio begins; None while it waits."""
        ...

    @property
    def ends_at(self) -> int | None:
        """Where the user is done; None while that is not known."""
        ...

    def events(self, duration: float) -> tuple[Event, ...]:
        """What happened on the user's channel; what did not says why."""
        ...


class UserChannel:
    """What a sample plays, as a user. Makes the user's frames. Times inside are samples on the session's clock."""

    def __init__(
        self, sample: Sample, sound: UserSound, info: SystemInfo, lead_in: float, greeting: Literal["none", "wait"]
    ) -> None:
        self._sample, self._sound = sample, sound
        self._size, self._rate = info.frame_size, info.sample_rate
        self._earliest = round(lead_in * self._rate)
        self.starts_at: int | None = self._earliest if greeting == "none" else None
        self._agent = AgentSpeech(self._rate)
        self._frames = 0  # of the agent, heard so far
        self._waiting = deque(sorted(sound.live, key=lambda cue: (cue.earliest, cue.number)))
        self._played: dict[int, int] = {}  # cue -> where it starts
        self._playing: tuple[int, Audio] | None = None
        self._free_from = 0  # where the last live cue is over

    def frame(self, number: int) -> Audio:
        """The user's frame, [frame_size]; silence where nothing is played. Asked for once, in order."""
        start = number * self._size
        out = np.zeros(self._size, np.float32)
        if self.starts_at is not None:
            mix(self._sound.fixed, self.starts_at, start, out)
            self._cue(start, out)
        return out

    def hear(self, said: Audio, text: Sequence[TextPiece] = ()) -> None:
        self._agent.hear(said)
        if self.starts_at is None:
            self._try_start(self._frames * self._size)
        self._frames += 1

    def _try_start(self, now: int) -> None:
        """With greeting "wait": start the user's audio if it has waited long enough; `now` is where the user's next
        frame begins."""
        waited = self._agent.quiet >= GREETING_SILENCE * self._rate or now >= GREETING_LIMIT * self._rate
        if waited and now >= self._earliest:
            self.starts_at = now

    @property
    def ends_at(self) -> int | None:
        """Where the user's audio is over; None while it waits to begin."""
        return None if self.starts_at is None else self.starts_at + len(self._sound.fixed)

    def _cue(self, start: int, out: Audio) -> None:
        """Play the live cues that are due in the frame that begins at `start`."""
        while True:
            if self._playing is None and not self._take_due(start):
                return
            assert self._playing is not None
            at, audio = self._playing
            mix(audio, at, start, out)
            if at + len(audio) > start + len(out):
                return
            self._playing = None

    def _take_due(self, start: int) -> bool:
        """Whether the next waiting cue begins in the frame from `start` on; if so, it is the one that plays."""
        onset, sounding = self._agent.onset, self._agent.sounding_since
        if not self._waiting or onset is None or sounding is None:
            return False
        cue, offset = self._waiting[0], self.starts_at or 0
        due = max(onset + cue.after_agent, sounding, offset + cue.earliest, self._free_from, start)
        if due >= start + self._size or due > offset + cue.latest:
            return False
        self._waiting.popleft()
        self._played[cue.number] = due
        self._playing = (due, cue.audio)
        self._free_from = due + len(cue.audio)
        return True

    def events(self, duration: float) -> tuple[Event, ...]:
        """The sample's events on the session's clock, in the sample's order; those that did not happen say why."""
        return tuple(self._event(event, duration) for event in self._sample.events)

    def _event(self, event: Event, duration: float) -> Event:
        if self.starts_at is None:
            return _replaced(event, duration, duration, ENDED)
        offset = self.starts_at / self._rate
        live = next((cue for cue in self._sound.live if cue.number == event.cue), None)
        if live is not None and live.number not in self._played:
            at = min(offset + live.latest / self._rate, duration)
            need = live.after_agent / self._rate
            return _replaced(event, at, at, f"the agent never spoke for {need:g} s when it was waited for")
        if live is not None:
            offset = self._played[live.number] / self._rate - self._sample.cues[live.number].at
        if event.start + offset >= duration:
            return _replaced(event, duration, duration, ENDED)
        return _replaced(event, event.start + offset, event.end + offset, None)


def _replaced(event: Event, start: float, end: float, missed: str | None) -> Event:
    return msgspec.structs.replace(event, start=start, end=end, missed=missed)


def mix(audio: Audio, at: int, start: int, out: Audio) -> None:
    """Add to the frame that begins at `start` what lies in it of a sound that begins at `at`."""
    low, high = max(start - at, 0), min(start + len(out) - at, len(audio))
    if low < high:
        out[low + at - start : high + at - start] += audio[low:high]
