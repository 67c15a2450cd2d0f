"""The sounds of training as tokens: users' utterances as microphones hear them, replies in the agent's voice.

A talk is composed of tokens, not of sound, because encoding is slower than training. So what a microphone does to a
voice (level, noise, a little room, where a frame happens to begin) is done to each utterance before it is encoded, a
few times over; played faster or slower as well, one voice gives several. Between utterances a user's channel is digital
silence, noise, or faint speech of others.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from scipy.signal import oaconvolve, resample_poly

from model.codec import Codec
from model.tiny.grid import AgentClip, Codes, Placed, UserClip
from model.tiny.speech import Said
from model.tiny.world import Split, World, replies, spoken
from protocols.contracts import WordAligner
from protocols.duplex import FRAME, FRAME_SIZE, SAMPLE_RATE, Audio
from protocols.errors import InputError
from protocols.records import Word
from protocols.store import write_whole

MADE = 2  # of what `build` makes of the same lines; raise it when that changes
BATCH = 32  # utterances encoded side by side
NOISES, NOISE_FRAMES = 48, 250
SILENT_NOISES = 0.4  # share of user channels that are digital silence
ROOM = 0.3  # share of utterances in a small room
BABBLE = 0.2  # share with faint speech of others
GAIN_DB = (-9.0, 5.0)
NOISE_DB = (-75.0, -38.0)  # of full scale
WARP = (86, 118)  # per cent of its length an utterance is played in: pitch and formants move along
MIDDLE = (0.3, 0.75)  # part of an utterance a pause may fall into


def vocabulary(world: World) -> tuple[str, ...]:
    """Words of the text stream; the first ids are special."""
    special = ("<epad>", "<bos>", "<eos>", "<pad>")
    words = {plain(word) for text in replies(world) for word in text.split()}
    return (*special, *sorted(words))


def heard_vocabulary(world: World, held: Split) -> tuple[str, ...]:
    """Words of the users of training; the first id is no word."""
    return ("", *sorted({plain(word) for text in spoken(world, held) for word in text.split()}))


def plain(word: str) -> str:
    """A word as the text stream writes it: lower case, without the marks around it."""
    return word.strip(".,!?").lower()


Take = tuple[int, int, int, tuple[Placed, ...]]  # start, end, quiet frame, words


class ClipLibrary:
    """`talks.Clips` on arrays that can be saved: one long row of codes and where each clip lies in it."""

    def __init__(
        self,
        user_codes: Codes,
        user_clips: dict[str, list[Take]],
        agent_clips: dict[str, AgentClip],
        noises: Sequence[Codes],
        silence: Codes,
        plan: str,
    ) -> None:
        self._user_codes, self._user_clips = user_codes, user_clips
        self._agent_clips, self._noises = agent_clips, noises
        self.silence = silence
        self.plan = plan  # `plan_hash` of what it was built from

    def user(self, text: str, rng: np.random.Generator) -> UserClip:
        """`text` as one of the voices says it, chosen by `rng`; InputError for a text nobody says."""
        if text not in self._user_clips:
            raise InputError(f"no voice says {text!r}")
        takes = self._user_clips[text]
        start, end, quiet, words = takes[int(rng.integers(len(takes)))]
        return UserClip(self._user_codes[:, start:end], quiet, words)

    def agent(self, text: str) -> AgentClip:
        if text not in self._agent_clips:
            raise InputError(f"the agent's voice does not say {text!r}")
        return self._agent_clips[text]

    def noise(self, n_frames: int, rng: np.random.Generator) -> Codes:
        """[8, n_frames] of a user's channel without speech, from a random place of a random recording."""
        noise = self._noises[int(rng.integers(len(self._noises)))]
        first = int(rng.integers(noise.shape[1]))
        return noise[:, (first + np.arange(n_frames)) % noise.shape[1]]

    @property
    def texts(self) -> frozenset[str]:
        """What users can say."""
        return frozenset(self._user_clips)

    @property
    def replies(self) -> tuple[str, ...]:
        """What the agent's voice says."""
        return tuple(self._agent_clips)

    def save(self, path: Path) -> None:
        index = {
            "plan": self.plan,
            "user": self._user_clips,
            "agent": {text: [clip.codes.shape[1], clip.words] for text, clip in self._agent_clips.items()},
        }
        agent = np.concatenate([clip.codes for clip in self._agent_clips.values()], axis=1)
        file = BytesIO()
        np.savez_compressed(
            file,
            user=self._user_codes,
            agent=agent,
            noises=np.stack(self._noises),
            silence=self.silence,
            index=np.frombuffer(json.dumps(index).encode(), np.uint8),
        )
        write_whole(path, file.getvalue())

    @classmethod
    def load(cls, path: Path) -> "ClipLibrary":
        """What `save` wrote; InputError if the file is another one or was cut."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                index = json.loads(data["index"].tobytes())
                user, agent, noises, silence = (data[name] for name in ("user", "agent", "noises", "silence"))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise InputError(f"{path} is not a clip library: {error}") from error
        clips, at = {}, 0
        for text, (n, words) in index["agent"].items():
            clips[text] = AgentClip(agent[:, at : at + n], tuple(Placed(*word) for word in words))
            at += n
        users = {
            text: [(start, end, quiet, tuple(Placed(*word) for word in words)) for start, end, quiet, words in takes]
            for text, takes in index["user"].items()
        }
        return cls(user, users, clips, list(noises), silence, index.get("plan", ""))


def plan_hash(lines: Iterable[Said], variants: int, seed: int) -> str:
    """Hex sha256 of everything that decides what `build` makes."""
    return sha256(json.dumps([MADE, list(lines), variants, seed]).encode()).hexdigest()


class Sound(NamedTuple):
    """Something that was said: [n] at 24 kHz."""

    said: Said
    audio: Audio


def build(
    sounds: Iterable[Sound],
    world: World,
    held: Split,
    codec: Codec,
    aligner: WordAligner,
    variants: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> ClipLibrary:
    """Tokenise everything: replies once, every utterance of a user in `variants` conditions."""
    rng = np.random.default_rng(seed)
    ids = {word: i for i, word in enumerate(vocabulary(world))}
    heard_ids = {word: i for i, word in enumerate(heard_vocabulary(world, held))}
    lines: list[Said] = []
    agent: dict[str, AgentClip] = {}
    heard: list[tuple[str, Heard, list[float]]] = []
    for said, audio in sounds:
        lines.append(said)
        times = word_times(said.text, audio, aligner)
        if said.voice == world.agent_voice:
            agent[said.text] = agent_clip(said.text, audio, codec, [time.start for time in times], ids)
        else:
            ends = [time.end for time in times]
            heard += [(said.text, as_heard(audio, rng), ends) for _ in range(variants)]
    codes = encode_many(codec, [sound.audio for _, sound, _ in heard], progress)
    clips: dict[str, list[Take]] = {}
    at = 0
    for (text, sound, ends), made in zip(heard, codes, strict=True):
        n, words = made.shape[1], [heard_ids[plain(word)] for word in text.split()]
        frames = [min(int((sound.offset + end * sound.stretch) / FRAME), n - 1) for end in ends]
        placed = tuple(Placed(*word) for word in zip(frames, words, strict=True))
        clips.setdefault(text, []).append((at, at + n, quiet_frame(sound.audio), placed))
        at += n
    noises = encode_many(codec, [_channel([sound.audio for _, sound, _ in heard], rng) for _ in range(NOISES)])
    joined = np.concatenate(codes, axis=1) if codes else np.zeros((codec.n_codebooks, 0), np.int16)
    silence = np.asarray(codec.silence, np.int16)[:, None]
    return ClipLibrary(joined, clips, agent, noises, silence, plan_hash(lines, variants, seed))


def word_times(text: str, audio: Audio, aligner: WordAligner) -> list[Word]:
    """When each word of `text` sounds in [n] samples: aligned, or by their share of letters if that fails."""
    around, length = 0.2, len(audio) / SAMPLE_RATE  # seconds; alignment wants silence around speech
    found = aligner.times(text, np.pad(audio, round(around * SAMPLE_RATE)), SAMPLE_RATE)
    if found is not None:
        edges = np.clip([(word.start - around, word.end - around) for word in found], 0.0, length)
        return [Word(word.text, *pair) for word, pair in zip(found, edges.tolist(), strict=True)]
    words = text.split()
    letters = np.cumsum([0, *(len(plain(word)) for word in words)])
    at = (letters / letters[-1] * length).tolist()
    return [Word(word, start, end) for word, start, end in zip(words, at, at[1:], strict=False)]


def agent_clip(text: str, audio: Audio, codec: Codec, starts: Sequence[float], ids: dict[str, int]) -> AgentClip:
    """A reply with its words in the frames they start in.

    The first stands where the sound begins, wherever alignment puts it: a model that hears itself before it has decided
    on a word says whatever the sound happens to begin.
    """
    (codes,) = encode_many(codec, [audio])
    frames = [0, *(min(int(start / FRAME), codes.shape[1] - 1) for start in starts[1:])]
    return AgentClip(codes, tuple(Placed(f, ids[plain(w)]) for f, w in zip(frames, text.split(), strict=True)))


class Heard(NamedTuple):
    """An utterance as a microphone hears it: what was at t seconds is now at offset + t * stretch."""

    audio: Audio
    offset: float
    stretch: float


def as_heard(audio: Audio, rng: np.random.Generator) -> Heard:
    """Voice, level, room, noise and frame grid at random."""
    percent, offset = int(rng.integers(WARP[0], WARP[1] + 1)), int(rng.integers(FRAME_SIZE))
    heard = np.pad(resample_poly(audio.astype(np.float64), percent, 100), (offset, 0))
    if rng.random() < ROOM:
        n = int(rng.uniform(0.05, 0.25) * SAMPLE_RATE)
        room = rng.standard_normal(n) * np.exp(-np.arange(n) / (0.3 * n)) * 0.03
        room[0] = 1.0
        heard = oaconvolve(heard, room)[: len(heard)]
    heard *= 10 ** (rng.uniform(*GAIN_DB) / 20)
    if rng.random() >= SILENT_NOISES:
        heard += 10 ** (rng.uniform(*NOISE_DB) / 20) * rng.standard_normal(len(heard))
    return Heard(np.clip(heard, -1, 1).astype(np.float32), offset / SAMPLE_RATE, percent / 100)


def _channel(heard: Sequence[Audio], rng: np.random.Generator) -> Audio:
    """A user's channel on which the user says nothing, [NOISE_FRAMES * 1,920]."""
    n = NOISE_FRAMES * FRAME_SIZE
    kind = rng.random()
    if kind < SILENT_NOISES:
        return np.zeros(n, np.float32)
    channel = 10 ** (rng.uniform(*NOISE_DB) / 20) * rng.standard_normal(n)
    if kind > 1 - BABBLE and heard:
        for _ in range(12):
            audio = heard[int(rng.integers(len(heard)))][:n]
            at = int(rng.integers(n - len(audio) + 1))
            channel[at : at + len(audio)] += audio * 10 ** (rng.uniform(-34, -26) / 20)
    return channel.astype(np.float32)


def quiet_frame(audio: Audio) -> int:
    """The quietest frame in the middle of an utterance, at least 1."""
    n = -(-len(audio) // FRAME_SIZE)
    power = np.square(np.pad(audio, (0, n * FRAME_SIZE - len(audio)))).reshape(n, FRAME_SIZE).mean(axis=1)
    low, high = int(MIDDLE[0] * n), max(int(MIDDLE[1] * n), int(MIDDLE[0] * n) + 1)
    return max(low + int(np.argmin(power[low:high])), 1)


def encode_many(
    codec: Codec, audios: Sequence[Audio], progress: Callable[[int], None] = lambda done: None
) -> list[Codes]:
    """Codes [8, ceil(n / 1,920)] of each audio [n], encoded side by side; the order makes no difference."""
    out: list[Codes] = [np.zeros((codec.n_codebooks, 0), np.int16)] * len(audios)
    by_length = sorted(range(len(audios)), key=lambda i: len(audios[i]))
    for first in range(0, len(by_length), BATCH):
        rows = by_length[first : first + BATCH]
        lengths = [-(-len(audios[i]) // FRAME_SIZE) for i in rows]
        padded = np.zeros((len(rows), max(lengths, default=0) * FRAME_SIZE), np.float32)
        for row, i in enumerate(rows):
            padded[row, : len(audios[i])] = audios[i]
        stream, active = codec.encoder(len(rows)), np.ones(len(rows), np.bool_)
        frames = [np.ascontiguousarray(padded[:, t : t + FRAME_SIZE]) for t in range(0, padded.shape[1], FRAME_SIZE)]
        codes = np.stack([stream.push(frame, active) for frame in frames], axis=2)  # [B, 8, T]
        for row, i in enumerate(rows):
            out[i] = codes[row, :, : lengths[row]].astype(np.int16)
        progress(first + len(rows))
    return out
