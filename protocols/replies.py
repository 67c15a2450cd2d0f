"""What a better reply is made of: who writes it, whose voice says it, and how a system lays out its tokens.

A reply is text until a voice has said it; said, it has sound, words with times and, where the system has a token grid,
columns of that grid. How columns stand against the recording's clock is the system's affair and said by its
`GridLayout`, so nobody else has to know a model.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from protocols.contracts import Line, Verdict
from protocols.duplex import FRAME, Audio
from protocols.records import Word

Tokens = npt.NDArray[np.int16]  # [streams, frames]


class GridLayout(NamedTuple):
    """The rows of a system's token grid and the moment each column is about.

    Column c holds what the agent says in frame c + agent_lag of the recording and what the user is heard to say in
    frame c + user_lag.
    """

    streams: int
    text: int
    agent: slice
    user: slice
    pad: int  # of the text row, where no word begins
    agent_silence: tuple[int, ...]
    user_silence: tuple[int, ...]
    agent_lag: int = 0
    user_lag: int = 0
    frame: float = FRAME
    source: str = ""  # the codec
    card: int = 0  # codes of an audio row: 0 to card - 1; 0: not known
    text_card: int = 0
    delays: tuple[int, ...] = ()  # frames by which the model holds each row back; the grid itself is without them

    def described(self) -> dict[str, str]:
        """What each row is, as text, for whoever reads a grid without knowing the model."""
        rows = {"text": str(self.text), "agent": _rows(self.agent), "user": _rows(self.user)}
        known = {"codec": self.source, "codes": f"0 to {self.card - 1}" if self.card else "",
                 "text tokens": str(self.text_card or ""), "delays": " ".join(map(str, self.delays))}  # fmt: skip
        return {
            "rows": str(self.streams), **{f"row of {k}" if k == "text" else f"rows of {k}": v for k, v in rows.items()},
            "padding of text": str(self.pad), **{k: v for k, v in known.items() if v},
            "silence of agent": " ".join(map(str, self.agent_silence)),
            "silence of user": " ".join(map(str, self.user_silence)), "seconds of a column": f"{self.frame:g}",
            "agent is heard, columns later": str(self.agent_lag), "user is heard, columns later": str(self.user_lag),
        }  # fmt: skip


NO_GRID = GridLayout(0, 0, slice(0, 0), slice(0, 0), 0, (), ())  # of systems that give no tokens


def _rows(of: slice) -> str:
    return f"{of.start} to {of.stop - 1}"


class Said(NamedTuple):
    """A reply as the agent's voice says it; 0 s is its first sound."""

    words: tuple[Word, ...]
    duration: float
    audio: Audio | None = None  # [n] at 24 kHz; None: only tokens are known
    columns: Tokens | None = None  # [1 + agent streams, n]: text, then the agent's own rows
    lead: int = 0  # columns before the one that sounds at 0 s


class ReplyVoice(Protocol):
    """The agent's voice at its own pace."""

    @property
    def source(self) -> str: ...

    def reply(self, text: str) -> Said | None:
        """`text` said; None where this voice cannot say it."""
        ...


class Improved(Protocol):
    """A better reply, as a writer proposes it."""

    @property
    def improved(self) -> str: ...

    @property
    def how_much_better(self) -> int:
        """0 to 3."""
        ...


class Rewriter(Protocol):
    """Puts a faulty reply right with as little change as it can."""

    @property
    def source(self) -> str: ...

    def rewrite(self, talk: Sequence[Line], fault: Verdict) -> Improved:
        """A better reply in the place of a faulty turn; DuologueError where none can be had."""
        ...


class Answerer(Protocol):
    """Writes the reply that never came."""

    @property
    def source(self) -> str: ...

    def answer(self, talk: Sequence[Line]) -> str | None:
        """A reply to the user's last line; None where none is known."""
        ...

    def complete(self, said: str) -> str | None:
        """The whole of a reply that was broken off after `said`; None where it is whole, or nobody knows."""
        ...
