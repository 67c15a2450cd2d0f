"""The one door to text to speech: a name on a command line becomes a speaker, with a cache where saying costs time."""

from collections.abc import Mapping
from pathlib import Path

from eval.speak import CachedSpeaker, EspeakSpeaker, KokoroSpeaker, speech_cache
from eval.speak_openai import VOICES, OpenAISpeaker
from eval.speak_piper import PiperSpeaker
from eval.speak_recorded import RecordedSpeaker
from protocols.contracts import Speaker
from protocols.errors import unknown_name

SPEAKERS: Mapping[str, str] = {
    "espeak": "the espeak-ng program: small and robotic, the same bytes everywhere",
    "kokoro:DIR": "Kokoro-82M, natural, with the voices in DIR (extra train-tiny)",
    "piper:FILE_OR_DIR": "the Piper program with local .onnx voices",
    "openai:MODEL[,VOICE...]": "a server with /v1/audio/speech (extra openai, OPENAI_BASE_URL, OPENAI_API_KEY)",
    "recorded:DIR": "recordings listed in DIR/speech.tsv",
}


def open_speaker(name: str, cache: Path | None = None, cached: bool = True) -> Speaker:
    """The speaker a command line names. What is missing for it is an InputError that says how to get it.

    cached: what was said once is not said again; not where the time that saying takes is measured.
    """
    kind, _, place = name.partition(":")
    if kind == "recorded" and place:
        return RecordedSpeaker(Path(place).expanduser())
    speaker = _open(name, kind, place)
    return CachedSpeaker(speaker, cache or speech_cache()) if cached else speaker


def _open(name: str, kind: str, place: str) -> Speaker:
    if name == "espeak":
        return EspeakSpeaker()
    if kind == "kokoro" and place:
        return KokoroSpeaker(Path(place).expanduser())
    if kind == "piper" and place:
        return PiperSpeaker(Path(place).expanduser())
    if kind == "openai" and place:
        model, *voices = (part.strip() for part in place.split(","))
        return OpenAISpeaker(model, voices or VOICES)
    raise unknown_name("speaker", name, SPEAKERS)
