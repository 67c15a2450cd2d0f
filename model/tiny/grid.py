"""A talk as a token grid [17, T]: text, eight agent codebooks, eight user codebooks, composed from tokenised clips.

Frames are 80 ms. The text row says a word in the frame in which it starts to sound, EPAD in the frame before an
utterance's first word and PAD everywhere else; when two words start in one frame the later one moves on by a frame.
Beside the grid lies a row of what the user was heard to say: a word in the frame in which its sound ends.
Nothing here decides who says what and when (that is `talks`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

EPAD, PAD = 0, 3
FIRST_WORD = 4  # ids below are special
NO_WORD = 0  # in the row of what was heard
N_CODEBOOKS = 8
TEXT, AGENT, USER = 0, slice(1, 9), slice(9, 17)

Codes = npt.NDArray[np.int16]  # [8, n]


class Placed(NamedTuple):
    """A word and its frame from the start of its utterance: of an agent's word the first, of a user's the last."""

    frame: int
    word: int


class AgentClip(NamedTuple):
    """A reply in the agent's voice."""

    codes: Codes
    words: tuple[Placed, ...]


class UserClip(NamedTuple):
    """Something a user says; `quiet` is the frame at which a pause can be put in."""

    codes: Codes
    quiet: int
    words: tuple[Placed, ...] = ()

    def split(self, frame: int) -> tuple["UserClip", "UserClip"]:
        """What is said before a frame and from it on."""
        before = tuple(word for word in self.words if word.frame < frame)
        after = tuple(Placed(word.frame - frame, word.word) for word in self.words if word.frame >= frame)
        rest = self.codes[:, frame:]
        quiet = self.quiet - frame if self.quiet > frame else max(rest.shape[1] // 2, 1)
        return UserClip(self.codes[:, :frame], min(self.quiet, frame), before), UserClip(rest, quiet, after)

    def after_words(self, n: int) -> int:
        """The frame in which the first n words are over."""
        return self.words[n - 1].frame + 1 if n else 0

    def slower(self, by: float) -> "UserClip":
        """The same, `by` times as long: frames are repeated or left out at even distances."""
        n = int(self.codes.shape[1])
        length = max(round(n * by), 2)
        kept = np.arange(length) * n // length
        now = [max(int(np.searchsorted(kept, word.frame + 1)) - 1, 0) for word in self.words]
        words = tuple(Placed(frame, word.word) for frame, word in zip(now, self.words, strict=True))
        quiet = min(max(int(np.searchsorted(kept, self.quiet)), 1), length - 1)
        return UserClip(self.codes[:, kept], quiet, words)

    def then(self, other: "UserClip") -> "UserClip":
        """This and, at once, the other; a pause goes into the other."""
        n = int(self.codes.shape[1])
        words = (*self.words, *(Placed(word.frame + n, word.word) for word in other.words))
        return UserClip(np.concatenate([self.codes, other.codes], axis=1), n + other.quiet, words)


class Grid:
    """A talk being written. Both sides begin silent; writing past the end is cut off."""

    def __init__(self, n_frames: int, agent_silence: Codes, user_noise: Codes) -> None:
        self.codes = np.empty((1 + 2 * N_CODEBOOKS, n_frames), np.int16)
        self.codes[TEXT] = PAD
        self.codes[AGENT] = agent_silence[:, :1]
        self.codes[USER] = user_noise[:, :n_frames]
        self.heard = np.full(n_frames, NO_WORD, np.int16)
        self._silence = agent_silence[:, :1]

    @property
    def n_frames(self) -> int:
        return int(self.codes.shape[1])

    def user(self, at: int, clip: UserClip) -> int:
        """The user speaks from frame `at`; the frame after the last one."""
        end = min(at + clip.codes.shape[1], self.n_frames)
        self.codes[USER, at:end] = clip.codes[:, : max(end - at, 0)]
        for frame, word in zip(spread([at + word.frame for word in clip.words]), clip.words, strict=True):
            if frame < self.n_frames:
                self.heard[frame] = word.word
        return at + int(clip.codes.shape[1])

    def agent(self, at: int, clip: AgentClip) -> int:
        """The agent speaks from frame `at` (at least 1); the frame after the last one."""
        end = min(at + clip.codes.shape[1], self.n_frames)
        self.codes[AGENT, at:end] = clip.codes[:, : max(end - at, 0)]
        frames = spread([at + word.frame for word in clip.words])
        for frame, word in zip(frames, clip.words, strict=True):
            if frame < self.n_frames:
                self.codes[TEXT, frame] = word.word
        if frames and frames[0] - 1 < self.n_frames:
            self.codes[TEXT, frames[0] - 1] = EPAD
        return at + int(clip.codes.shape[1])

    def hush(self, at: int, until: int) -> None:
        """The agent falls silent from frame `at`."""
        self.codes[TEXT, at:until] = PAD
        self.codes[AGENT, at:until] = self._silence


def spread(frames: Sequence[int]) -> list[int]:
    """The same frames, each at least one after the one before."""
    out: list[int] = []
    for frame in frames:
        out.append(max(frame, out[-1] + 1) if out else frame)
    return out
