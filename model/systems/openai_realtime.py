"""`openai-realtime:MODEL[,voice=V][,transcription=M][@URL]`: OpenAI's Realtime interface, or a server that speaks it.

A talk is one session from its first frame to its last: 24 kHz PCM both ways, turns found by the server. The key comes
from OPENAI_API_KEY. When the server hears the user over the agent, playing stops at that sample and the server is told
how much of the utterance was heard, so that its memory of the talk is what the user heard.

The one non-obvious decision: the ceiling on cost is in money, but prices are the user's to give (`usd_audio_in` and so
on, for a million tokens), because any we wrote here would soon be wrong. Cached tokens are counted at the full price,
so the ceiling is never passed for a discount. When it is reached the run stops and can be continued; it is counted for
each command anew. The interface has no seed: repeats differ.
"""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec

from model.systems import openai_events as events
from model.systems.paced import PacedSession
from model.systems.utterance import Utterance, spread
from protocols.duplex import SAMPLE_RATE, Account, Audio, SystemInfo, TextPiece
from protocols.errors import CeilingReached, InputError, SystemUnreachable, unknown_name

AHEAD = 300.0  # seconds of speech that may wait to be heard
LONGEST_MESSAGE = 16 << 20  # bytes
VAD = {"vad_threshold": "threshold", "vad_silence_ms": "silence_duration_ms", "vad_prefix_ms": "prefix_padding_ms"}
PRICES = {f"usd_{kind}": kind for kind in ("text_in", "audio_in", "text_out", "audio_out")}
OPTIONS = (*VAD, *PRICES, "max_usd")
MILLION = 1_000_000


class Patience(NamedTuple):
    """How many seconds a server may take."""

    connect: float = 10.0
    handshake: float = 20.0


PATIENCE = Patience()


class Budget:
    """What a command's talks have cost. `prices`: dollars for a million tokens of a kind."""

    def __init__(self, prices: Mapping[str, float], ceiling: float | None) -> None:
        self._prices, self._ceiling = prices, ceiling
        self._spent = 0.0

    @property
    def known(self) -> bool:
        return bool(self._prices)

    def spend(self, counts: Mapping[str, float]) -> float:
        """Add tokens by kind; what they cost."""
        cost = sum(price * counts.get(kind, 0) / MILLION for kind, price in self._prices.items())
        self._spent += cost
        return cost

    def check(self) -> None:
        """Raise CeilingReached where no more may be spent."""
        if self._ceiling is not None and self._spent >= self._ceiling:
            raise CeilingReached(
                f"the ceiling of ${self._ceiling:g} is reached (${self._spent:.4f} spent by this command); the same "
                "command goes on from here, a higher max_usd lets it run longer"
            )


class OpenAIRealtimeSystem:
    """A model of a server. Nothing is connected until a talk opens."""

    def __init__(self, spec: str, options: Mapping[str, float] = {}, patience: Patience = PATIENCE) -> None:
        chosen, _, url = spec.partition("@")
        self._model, *rest = chosen.split(",")
        self._strings = {key: value for key, _, value in (part.partition("=") for part in rest)}
        for key in self._strings:
            if key not in ("voice", "transcription"):
                raise unknown_name("option of openai-realtime", key, ("voice", "transcription"))
        for key in options:
            if key not in OPTIONS:
                raise unknown_name("option of openai-realtime", key, OPTIONS)
        prices = {kind: options[name] for name, kind in PRICES.items() if name in options}
        if "max_usd" in options and len(prices) < len(PRICES):
            raise InputError(f"max_usd needs the prices of a million tokens: {', '.join(PRICES)}")
        self._budget = Budget(prices, options.get("max_usd"))
        self._vad = {VAD[key]: value for key, value in options.items() if key in VAD}
        self._client = _client(url.replace("ws", "http", 1) if url.startswith("ws") else url)
        self._patience = patience
        decoding: dict[str, float | int | str | bool] = {key: v for key, v in options.items() if key in VAD}
        self.info = SystemInfo(f"openai-realtime:{spec}", self._model, real_time_only=True, decoding=decoding)

    def open(self, seed: int, sample_id: str | None = None) -> "OpenAIRealtimeSession":
        """Begin a session and set it up. SystemUnreachable if there is no server or it refuses the key."""
        self._budget.check()
        peer = f"the server of {self._model} at {self._client.base_url.host}"
        connection = self._connect(peer)
        session = OpenAIRealtimeSession(self.info, peer, connection, self._budget)
        session.begin()
        try:
            setup = events.update(self._strings.get("voice"), self._strings.get("transcription"), self._vad)
            session.set_up(setup, self._patience.handshake)
        except BaseException:
            session.close()
            raise
        return session

    def _connect(self, peer: str) -> Any:
        from websockets.exceptions import InvalidHandshake

        limits = {"open_timeout": self._patience.connect, "close_timeout": 1.0, "max_size": LONGEST_MESSAGE}
        try:
            return self._client.realtime.connect(
                model=self._model, websocket_connection_options=cast(Any, limits)
            ).enter()
        except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
            raise SystemUnreachable(f"{peer} takes no talks: {error}") from error

    def close(self) -> None:
        self._client.close()


def _client(url: str) -> Any:
    try:
        import openai
        import websockets  # noqa: F401
    except ImportError as error:
        raise InputError(f"openai-realtime needs {error.name}; pip install -e '.[openai]'") from error
    try:
        return openai.OpenAI(base_url=url or None, max_retries=0)
    except openai.OpenAIError as error:
        raise InputError(
            "openai-realtime needs OPENAI_API_KEY in the environment (any word for a local server)"
        ) from error


class OpenAIRealtimeSession(PacedSession):
    """One talk."""

    def __init__(self, info: SystemInfo, peer: str, connection: Any, budget: Budget) -> None:
        super().__init__(info, peer)
        self._connection, self._budget = connection, budget
        self._ready = threading.Event()
        self._utterances: dict[str, Utterance] = {}  # by the server's name, in order
        self._turns: dict[str, list[float]] = {}  # the user's: where the server hears each begin and end, seconds
        self._heard: list[TextPiece] = []
        self._usage: dict[str, float] = {}
        self._lock = threading.Lock()  # the utterances belong to two threads

    def set_up(self, setup: bytes, patience: float) -> None:
        """Send the setup; returns when the server has agreed to it."""
        self._outgoing.put(setup)
        deadline = time.monotonic() + patience
        while not (self._ready.wait(0.02) or self._stop.is_set()) and time.monotonic() < deadline:
            pass
        self._raise()
        if not self._ready.is_set():
            raise self._failed(f"did not set the talk up within {patience:g} s")

    def account(self) -> Account:
        return Account(dict(self._usage), tuple(sorted(self._heard, key=lambda piece: piece.start or 0.0)))

    def _encode(self, frame: Audio) -> bytes:
        return events.append(frame)

    def _send(self, data: bytes) -> None:
        self._connection.send(json.loads(data))

    def _hang_up(self) -> None:
        self._connection.close()

    def _text(self, until: float) -> tuple[TextPiece, ...]:
        with self._lock:
            last = round(until * SAMPLE_RATE)
            return tuple(piece for utterance in self._utterances.values() for piece in utterance.words(last))

    def _receive(self) -> None:
        data = self._connection.recv_bytes()
        try:
            event = events.read_event(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._failed(f"sent {data[:60]!r}, which is no event ({error})") from error
        if event.type == "session.updated":
            self._ready.set()
        elif event.type == "response.output_audio.delta":
            self._say(event)
        elif event.type == "response.output_audio_transcript.delta":
            with self._lock:
                self._utterance(event.item_id).transcript += event.delta
        elif event.type == "response.done":
            self._count(event.response or events.Response())
        elif event.type == "error":
            self._complain(event.error or events.Problem())
        else:
            self._hear(event)

    def _utterance(self, name: str) -> Utterance:
        return self._utterances.setdefault(name, Utterance(SAMPLE_RATE))

    def _say(self, event: events.Event) -> None:
        try:
            audio = events.from_pcm(event.delta)
        except ValueError as error:
            raise self._failed(f"sent audio that is no 16-bit PCM: {error}") from error
        now = self._clock.now()
        with self._lock:
            utterance = self._utterance(event.item_id)
            if utterance.cut_at is not None:
                return  # it was on its way when the user spoke
            placed = self._playout.add(audio, now)
            utterance.place(placed.start, placed.end)
        if self._playout.ahead(now) > AHEAD:
            raise self._failed(f"sent more than {AHEAD:g} s of audio ahead of its time")

    def _hear(self, event: events.Event) -> None:
        """What the server hears the user do."""
        turn = self._turns.setdefault(event.item_id, [])
        if event.type == "input_audio_buffer.speech_started" and event.audio_start_ms is not None:
            turn[:] = [event.audio_start_ms / 1000] * 2
            self._barge_in()
        elif event.type == "input_audio_buffer.speech_stopped" and event.audio_end_ms is not None and turn:
            turn[1] = max(event.audio_end_ms / 1000, turn[0])
        elif event.type == "conversation.item.input_audio_transcription.completed" and turn:
            self._heard += spread(event.transcript, *turn)

    def _barge_in(self) -> None:
        """Stop what is being said, and tell the server how much of it was heard."""
        with self._lock:
            at = self._playout.cut(self._clock.now())
            for name, utterance in self._utterances.items():
                if utterance.cut_at is None and utterance.heard(at) < utterance.samples:
                    utterance.cut_at = at
                    self._outgoing.put(events.truncate(name, utterance.heard(at), f"truncate-{name}"))

    def _count(self, response: events.Response) -> None:
        counts = response.usage.counts() if response.usage else {}
        for kind, count in counts.items():
            self._usage[kind] = self._usage.get(kind, 0.0) + count
        cost = self._budget.spend(counts)
        if self._budget.known:
            self._usage["usd"] = self._usage.get("usd", 0.0) + cost
        if response.status == "failed":
            problem = response.status_details.error if response.status_details else None
            raise self._failed(f"could not answer: {_words(problem)}")
        self._budget.check()

    def _complain(self, problem: events.Problem) -> None:
        if not (problem.event_id or "").startswith("truncate-"):  # what is to be cut may be gone already
            raise self._failed(f"said: {_words(problem)}")


def _words(problem: events.Problem | None) -> str:
    return (problem and (problem.message or problem.code)) or "no reason given"
