"""What the page and the server say to each other over one WebSocket; nothing here knows a talk's state.

Sound travels in binary messages. The page sends a packet per 20 or 40 ms of its own audio clock: the microphone and
what the loudspeaker played in the very same samples, so a recording needs no alignment. The server sends a frame per
step of the system. Both are little-endian int16 at the page's rate. Everything else is one small JSON object per text
message, read strictly: an unknown kind, key or type is a `Malformed`.
"""

import struct
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError

Pcm = npt.NDArray[np.int16]

RATES = (SAMPLE_RATE, 44_100, 48_000)  # Hz a page may run at; 24 kHz unless the browser refuses it
PACKET_SECONDS = (0.02, 0.04)
MAX_MESSAGE = 16_384  # bytes; the largest packet has 7,700
MAX_TEXT = 4_096
_PACKET = struct.Struct("<IIII")
_FRAME = struct.Struct("<II")


class Malformed(InputError):
    """A message that no page of ours would send."""


# --- sound -----------------------------------------------------------------------------------------------------


class Packet(NamedTuple):
    """Up: the page's samples from number * n on."""

    number: int
    position: int  # of the agent's stream: the next sample to be played
    dropped: int  # agent samples thrown away so far to catch up
    missed: int  # samples of silence played so far because nothing had arrived
    mic: Pcm  # [n]
    heard: Pcm  # [n]


def pack_packet(packet: Packet) -> bytes:
    head = _PACKET.pack(packet.number, packet.position, packet.dropped, packet.missed)
    return head + packet.mic.tobytes() + packet.heard.tobytes()


def read_packet(data: bytes, n: int) -> Packet:
    """A packet of n samples a side. Malformed if the size is another."""
    if len(data) != _PACKET.size + 4 * n:
        raise Malformed(f"a packet of {len(data)} bytes where {_PACKET.size + 4 * n} are due")
    both = np.frombuffer(data, "<i2", offset=_PACKET.size)
    number, position, dropped, missed = _PACKET.unpack_from(data)
    return Packet(number, position, dropped, missed, both[:n], both[n:])


class AgentFrame(NamedTuple):
    """Down: the agent's samples from `position` on."""

    number: int
    position: int
    audio: Pcm


def pack_frame(frame: AgentFrame) -> bytes:
    return _FRAME.pack(frame.number, frame.position) + frame.audio.tobytes()


def read_frame(data: bytes) -> AgentFrame:
    if len(data) < _FRAME.size or (len(data) - _FRAME.size) % 2:
        raise Malformed(f"an agent frame of {len(data)} bytes")
    number, position = _FRAME.unpack_from(data)
    return AgentFrame(number, position, np.frombuffer(data, "<i2", offset=_FRAME.size))


# --- words of the page -----------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="hello"):
    """The first message of every connection."""

    token: str
    rate: int
    packet: int  # samples a side
    number: int | None = 0  # of the next packet it will make: what lies before was recorded while away; None: a page
    # that was just loaded and goes on wherever the talk is
    settings: dict[str, str | int | float | bool | None] = {}  # what the browser says about the microphone

    def __post_init__(self) -> None:
        if self.rate not in RATES or self.packet not in {round(s * self.rate) for s in PACKET_SECONDS}:
            raise ValueError(f"{self.packet} samples a packet at {self.rate} Hz are not supported")
        if len(self.settings) > 40 or not 0 <= (self.number or 0) < 2**32:
            raise ValueError("a hello that no page of ours sends")


class Ping(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="ping"):
    """Still there. The page sends one each second, and shows the round trip."""

    at: float


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="mark"):
    """The person says something about this moment. Sent until it is `Noted`; a second time it changes nothing."""

    sample: int  # on the page's clock
    kind: str

    def __post_init__(self) -> None:
        if not 0 < len(self.kind) <= 40 or not 0 <= self.sample < 2**48:
            raise ValueError("a mark has a kind of at most 40 letters and a sample index")


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="end"):
    """The person ends the talk."""


Said = Hello | Ping | Mark | End

# --- words of the server ---------------------------------------------------------------------------------------


class Waiting(msgspec.Struct, frozen=True, tag_field="type", tag="waiting"):
    position: int  # 1: next


class Ready(msgspec.Struct, frozen=True, tag_field="type", tag="ready"):
    """The talk runs. The page sends packets from `expects` on; one that was just loaded begins there."""

    expects: int
    position: int  # of the agent's stream: what is said next
    token: str  # for the next connection, should this one break
    limit: float  # seconds the talk may still last


class Pong(msgspec.Struct, frozen=True, tag_field="type", tag="pong"):
    at: float


class Noted(msgspec.Struct, frozen=True, tag_field="type", tag="noted"):
    """A mark is in the event log."""

    sample: int
    kind: str


Outcome = Literal["done", "voided"]


class Over(msgspec.Struct, frozen=True, tag_field="type", tag="over"):
    """The talk has ended; nothing follows."""

    outcome: Outcome
    reason: str


class Refused(msgspec.Struct, frozen=True, tag_field="type", tag="refused"):
    """This connection ends; the talk, if there is one, is as it was."""

    reason: str


class Moved(msgspec.Struct, frozen=True, tag_field="type", tag="moved"):
    """This connection ends, because the talk goes on in another tab."""


Told = Waiting | Ready | Pong | Noted | Over | Refused | Moved

_said: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)
_told: msgspec.json.Decoder[Told] = msgspec.json.Decoder(Told)


def read_said(text: str) -> Said:
    """A text message of the page."""
    if len(text) > MAX_TEXT:
        raise Malformed(f"a message of {len(text)} letters")
    try:
        return _said.decode(text)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Malformed(f"not a message: {error}") from error


def read_told(text: str) -> Told:
    """A text message of the server, as a client reads it."""
    return _told.decode(text)


def to_text(message: Said | Told) -> str:
    return msgspec.json.encode(message).decode()
