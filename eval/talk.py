"""One talk in progress: what has been heard and said so far, and the record it becomes.

What the user's channel plays next is `eval.channel`'s business. The talk lasts until the tail after the user's audio
is over, or until the system ends it.
"""

import numpy as np

from eval.channel import User
from protocols.audio import resample
from protocols.duplex import SAMPLE_RATE, Account, AccountableSession, Audio, Session, Step, SystemInfo, TextPiece
from protocols.errors import InputError
from protocols.records import Conversation, Key, Pacing, Recording, Sample, StoredFile, Transcript, Word


class Talk:
    def __init__(
        self, sample: Sample, key: Key, seed: int, info: SystemInfo, session: Session, user: User, tail: float
    ) -> None:
        self.sample, self.key, self.seed, self.session = sample, key, seed, session
        self._info = info
        self._user = user
        self._tail = round(tail * info.sample_rate)
        self._heard: list[Audio] = []
        self._said: list[Audio] = [np.zeros(info.frame_size, np.float32)]
        self._pieces: list[tuple[int, TextPiece]] = []
        self._columns: list[np.ndarray] = []
        self._late: list[float] = []
        self._steps: list[float] = []
        self.over = False
        user.hear(self._said[0])

    @property
    def started(self) -> bool:
        return bool(self._heard)

    def next_frame(self) -> Audio:
        """The user's next frame, [frame_size]."""
        frame = self._user.frame(len(self._heard))
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
        self._user.hear(step.audio, step.text)
        now = len(self._heard) * self._info.frame_size
        self.over = self._user.ends_at is not None and now >= self._user.ends_at + self._tail

    def end(self) -> None:
        """The system has ended the talk before its time."""
        self._heard.pop()
        self.over = True

    # --- the record ---

    def recorded(self) -> Audio:
        """Both channels at 24 kHz, [2, n], on one clock."""
        n = len(self._heard)
        both = [np.concatenate(frames[:n] or [np.zeros(0, np.float32)]) for frames in (self._said, self._heard)]
        return np.stack([resample(channel, self._info.sample_rate, SAMPLE_RATE) for channel in both])

    def tokens(self) -> np.ndarray | None:
        """The system's own token grid, [streams, frames], if it gave one."""
        return np.stack(self._columns, axis=1) if self._columns else None

    def conversation(self, recording: Recording, tokens: StoredFile | None) -> Conversation:
        agent = Transcript("agent", "model", words_of(self._pieces, self._info.frame))
        account = self._account()
        user = Transcript("user", "model", words_of([(0, piece) for piece in account.heard], 0.0))
        return Conversation(
            sample=self.sample.id,
            take=self.key.take,
            system=self._info.name,
            seed=self.seed,
            recording=recording,
            user_offset=(self._user.starts_at or 0) / self._info.sample_rate,
            events=self._user.events(recording.duration),
            transcripts=(*([agent] if self._info.has_text else ()), *([user] if user.words else ())),
            tokens=tokens,
            pacing=self.pacing(),
            usage=dict(account.usage),
        )

    def failed(self, reason: str) -> Conversation:
        name = self._info.name
        usage = dict(self._account().usage)
        return Conversation(
            self.sample.id, self.key.take, name, self.seed, None, reason, pacing=self.pacing(), usage=usage
        )

    def _account(self) -> Account:
        return self.session.account() if isinstance(self.session, AccountableSession) else Account()

    def pacing(self) -> Pacing | None:
        """How well the schedule was kept so far; None on the simulated clock."""
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
