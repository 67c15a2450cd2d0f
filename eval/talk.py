"""One talk in progress: what the user's channel plays next, what the agent has said so far.

The user's audio starts after the lead-in; with greeting "wait" it also waits until the agent has been silent for
`GREETING_SILENCE` (at most `GREETING_LIMIT`), so a system that speaks first is not talked over. The talk lasts
until the tail after the user's audio is over, or until the system ends it.
"""

from typing import Literal

import msgspec
import numpy as np

from protocols.audio import resample
from protocols.duplex import SAMPLE_RATE, Audio, Session, Step, SystemInfo, TextPiece
from protocols.errors import InputError
from protocols.records import Conversation, Event, Key, Pacing, Recording, Sample, StoredFile, Transcript, Word

GREETING_SILENCE = 1.0
GREETING_LIMIT = 15.0
VOICED_LEVEL = 0.01  # RMS above which an agent frame counts as speech


class Talk:
    def __init__(
        self,
        sample: Sample,
        key: Key,
        seed: int,
        info: SystemInfo,
        session: Session,
        user: Audio,  # [n] at the system's rate
        lead_in: float,
        tail: float,
        greeting: Literal["none", "wait"],
    ) -> None:
        self.sample, self.key, self.seed, self.session = sample, key, seed, session
        self._info = info
        self._user = user
        self._tail = tail
        self._user_at: int | None = None if greeting == "wait" else round(lead_in * info.sample_rate)
        self._earliest = round(lead_in * info.sample_rate)
        self._quiet = 0
        self._n_frames = 0 if self._user_at is None else self._frames_until_end(self._user_at)
        self._heard: list[Audio] = []
        self._said: list[Audio] = [np.zeros(info.frame_size, np.float32)]
        self._pieces: list[tuple[int, TextPiece]] = []
        self._columns: list[np.ndarray] = []
        self._late: list[float] = []
        self._steps: list[float] = []
        self.over = False

    @property
    def started(self) -> bool:
        return bool(self._heard)

    def next_frame(self) -> Audio:
        """The user's next frame, [frame_size]; silence outside the user's audio."""
        size = self._info.frame_size
        frame = np.zeros(size, np.float32)
        if self._user_at is not None:
            start = len(self._heard) * size - self._user_at
            low, high = max(start, 0), min(start + size, len(self._user))
            if low < high:
                frame[low - start : high - start] = self._user[low:high]
        self._heard.append(frame)
        return frame

    def take(self, step: Step, pace: tuple[float, float] | None) -> None:
        """What the agent says in the frame after the one just heard."""
        if step.audio.shape != (self._info.frame_size,):
            raise InputError(
                f"the system gave {step.audio.shape} samples in frame {len(self._heard)}, not {self._info.frame_size}"
            )
        if not np.isfinite(step.audio).all():
            raise InputError(f"the system gave samples that are not numbers in frame {len(self._heard)}")
        self._pieces += [(len(self._said), piece) for piece in step.text]
        self._said.append(step.audio)
        if step.tokens is not None:
            self._columns.append(step.tokens)
        if pace is not None:
            self._late.append(pace[0])
            self._steps.append(pace[1])
        if self._user_at is None:
            self._wait_for_silence(step.audio)
        self.over = self._user_at is not None and len(self._heard) >= self._n_frames

    def end(self) -> None:
        """The system has ended the talk before its time."""
        self._heard.pop()
        self.over = True

    def _wait_for_silence(self, said: Audio) -> None:
        frame = self._info.frame
        self._quiet = 0 if float(np.sqrt(np.mean(said**2))) > VOICED_LEVEL else self._quiet + 1
        now = len(self._heard) * self._info.frame_size
        waited = self._quiet * frame >= GREETING_SILENCE or len(self._heard) * frame >= GREETING_LIMIT
        if waited and now >= self._earliest:
            self._user_at = now
            self._n_frames = self._frames_until_end(now)

    def _frames_until_end(self, user_at: int) -> int:
        samples = user_at + len(self._user) + round(self._tail * self._info.sample_rate)
        return -(-samples // self._info.frame_size)

    # --- the record ---

    @property
    def _offset(self) -> float:
        return (self._user_at or 0) / self._info.sample_rate

    def recorded(self) -> Audio:
        """Both channels at 24 kHz, [2, n], on one clock."""
        n = len(self._heard)
        both = [np.concatenate(frames[:n] or [np.zeros(0, np.float32)]) for frames in (self._said, self._heard)]
        return np.stack([resample(channel, self._info.sample_rate, SAMPLE_RATE) for channel in both])

    def tokens(self) -> np.ndarray | None:
        """The system's own token grid, [streams, frames], if it gave one."""
        return np.stack(self._columns, axis=1) if self._columns else None

    def conversation(self, recording: Recording, tokens: StoredFile | None) -> Conversation:
        offset = self._offset
        events = tuple(
            msgspec.structs.replace(event, start=event.start + offset, end=event.end + offset)
            for event in self.sample.events
        )
        words = words_of(self._pieces, self._info.frame)
        return Conversation(
            sample=self.sample.id,
            take=self.key.take,
            system=self._info.name,
            seed=self.seed,
            recording=recording,
            user_offset=offset,
            events=_inside(events, recording.duration),
            transcripts=(Transcript("agent", "model", words),) if self._info.has_text else (),
            tokens=tokens,
            pacing=self._pacing(),
        )

    def failed(self, reason: str) -> Conversation:
        return Conversation(self.sample.id, self.key.take, self._info.name, self.seed, None, reason)

    def _pacing(self) -> Pacing | None:
        if not self._late:
            return None
        late, steps = np.array(self._late) * 1e3, np.array(self._steps) * 1e3
        return Pacing(
            frames=len(late),
            late_p50_ms=float(np.percentile(late, 50)),
            late_p99_ms=float(np.percentile(late, 99)),
            late_max_ms=float(late.max()),
            step_p50_ms=float(np.percentile(steps, 50)),
            step_p99_ms=float(np.percentile(steps, 99)),
        )


def words_of(pieces: list[tuple[int, TextPiece]], frame: float) -> tuple[Word, ...]:
    """Text pieces joined to words. A piece without times of its own sounds in its frame."""
    words: list[Word] = []
    for index, piece in pieces:
        start = index * frame if piece.start is None else piece.start
        end = (index + 1) * frame if piece.end is None else piece.end
        text = piece.text.strip()
        if not text:
            continue
        if words and not piece.text.startswith(" "):
            last = words[-1]
            words[-1] = Word(last.text + text, last.start, max(last.end, end))
        else:
            words.append(Word(text, start, max(start, end)))
    return tuple(words)


def _inside(events: tuple[Event, ...], duration: float) -> tuple[Event, ...]:
    """Events that had begun when a talk was ended early; the others never happened."""
    return tuple(event for event in events if event.start < duration)
