"""What an OpenAI Realtime server sends and is sent, as typed values: only the fields that are used.

Read strictly: an event of a known kind whose fields have other types is nonsense and fails the talk; unknown kinds and
fields are ignored, as the interface grows. What follows from an event is `openai_realtime`'s business.
"""

import base64
import json
from typing import Any

import msgspec
import numpy as np

from protocols.duplex import SAMPLE_RATE, Audio


class Details(msgspec.Struct, frozen=True):
    text_tokens: int | None = None
    audio_tokens: int | None = None
    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    input_token_details: Details | None = None
    output_token_details: Details | None = None

    def counts(self) -> dict[str, float]:
        """Tokens by kind; the cached ones are part of the input."""
        heard, said = self.input_token_details or Details(), self.output_token_details or Details()
        return {
            "text_in": heard.text_tokens or 0,
            "audio_in": heard.audio_tokens or 0,
            "cached_in": heard.cached_tokens or 0,
            "text_out": said.text_tokens or 0,
            "audio_out": said.audio_tokens or 0,
        }


class Problem(msgspec.Struct, frozen=True):
    message: str | None = None
    code: str | None = None
    event_id: str | None = None  # of the event of ours that caused it


class StatusDetails(msgspec.Struct, frozen=True):
    error: Problem | None = None


class Response(msgspec.Struct, frozen=True):
    status: str | None = None
    status_details: StatusDetails | None = None
    usage: Usage | None = None


class Event(msgspec.Struct, frozen=True):
    """Any event; `type` says which fields matter."""

    type: str
    item_id: str = ""
    delta: str = ""
    transcript: str = ""
    audio_start_ms: float | None = None
    audio_end_ms: float | None = None
    error: Problem | None = None
    response: Response | None = None


def read_event(data: bytes) -> Event:
    """Raises msgspec.DecodeError (ValidationError among them) or UnicodeDecodeError."""
    return msgspec.json.decode(data, type=Event)


def update(voice: str | None, transcription: str | None, vad: dict[str, float]) -> bytes:
    """How a talk is held: sound only, 24 kHz both ways, the server decides whose turn it is."""
    pcm = {"type": "audio/pcm", "rate": SAMPLE_RATE}
    heard: dict[str, Any] = {"format": pcm, "turn_detection": {"type": "server_vad", **vad}}
    said: dict[str, Any] = {"format": pcm}
    if transcription:
        heard["transcription"] = {"model": transcription}
    if voice:
        said["voice"] = voice
    audio = {"input": heard, "output": said}
    return _event("session.update", session={"type": "realtime", "output_modalities": ["audio"], "audio": audio})


def append(frame: Audio) -> bytes:
    return _event("input_audio_buffer.append", audio=base64.b64encode(to_pcm(frame)).decode("ascii"))


def truncate(item: str, played: int, event_id: str) -> bytes:
    """Tell the server how many samples of an utterance have been heard."""
    ms = 1000 * played // SAMPLE_RATE
    return _event("conversation.item.truncate", event_id=event_id, item_id=item, content_index=0, audio_end_ms=ms)


def _event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def to_pcm(audio: Audio) -> bytes:
    """Little-endian 16 bit."""
    return np.round(np.clip(audio, -1, 1) * 32_767).astype("<i2").tobytes()


def from_pcm(encoded: str) -> Audio:
    """Base64 of little-endian 16-bit samples as float32 [n]. Raises ValueError."""
    return np.frombuffer(base64.b64decode(encoded, validate=True), "<i2").astype(np.float32) / np.float32(32_768)
