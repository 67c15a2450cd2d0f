"""The event log of a talk: one line per thing that happened, on the clock it happened on.

`sample` counts on the page's clock (its own rate), `frame` on the system's. Nothing here is derived: lag is not
logged per packet, because position and skips give it; a `Lag` line is written when it has moved.
"""

import msgspec


class _Event(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="event", tag=str.lower, omit_defaults=True
):
    pass


class Text(_Event, frozen=True):
    """The system's own words, heard in this frame."""

    frame: int
    text: str
    start: float | None = None
    end: float | None = None


class Stepped(_Event, frozen=True):
    """One step of the system."""

    frame: int
    late_ms: float  # when it was begun, after the moment it was due
    step_ms: float
    batch: int  # talks in the same step


class Lag(_Event, frozen=True):
    """From now on what is heard comes this long after it could have been said."""

    sample: int
    ms: float


class Dropped(_Event, frozen=True):
    """The page threw agent samples away to catch up."""

    sample: int
    n: int


class Missed(_Event, frozen=True):
    """The page played silence because nothing had arrived."""

    sample: int
    n: int


class Skipped(_Event, frozen=True):
    """User samples that are recorded as heard and were never given to the system."""

    sample: int
    n: int
    why: str


class Gap(_Event, frozen=True):
    """Packets that never arrived; silence stands for them."""

    sample: int
    n: int


class Cut(_Event, frozen=True):
    """The connection broke."""

    sample: int


class Back(_Event, frozen=True):
    """A new connection goes on with the talk."""

    sample: int
    connection: int


class Marked(_Event, frozen=True):
    """The person marked a moment."""

    sample: int
    kind: str


class Ended(_Event, frozen=True):
    sample: int
    reason: str


LiveEvent = Text | Stepped | Lag | Dropped | Missed | Skipped | Gap | Cut | Back | Marked | Ended


def read_events(data: bytes) -> list[LiveEvent]:
    """Every whole line of an events.jsonl."""
    decoder = msgspec.json.Decoder(LiveEvent)
    return [decoder.decode(line) for line in data.split(b"\n")[:-1]]
