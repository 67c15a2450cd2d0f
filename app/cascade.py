"""A cascade out of its parts: the house's own detector, recogniser and voices, and a chat server."""

import hashlib
from pathlib import Path

import msgspec

from eval.gate import SileroGate
from eval.speakers import open_speaker
from eval.words import load_transcriber
from model.systems.cascade import CascadeSystem, Parts
from model.systems.cascade_config import read_cascade
from model.systems.chat import ChatServer
from protocols.duplex import SystemInfo
from protocols.errors import InputError


def open_cascade(name: str, path: Path, real_time: bool) -> CascadeSystem:
    """The cascade of a configuration. What is missing for it is an InputError that says how to get it."""
    config = read_cascade(path)
    transcriber = load_transcriber(config.asr)
    if transcriber is None:
        raise InputError(f"{path}: {config.asr} recognises nothing")
    speaker = open_speaker(config.voice.speaker, cached=False)  # what saying costs is a part of what is measured
    parts = Parts(SileroGate, transcriber, ChatServer(config.chat), speaker)
    version = hashlib.sha256(msgspec.json.encode(config)).hexdigest()[:12]
    decoding: dict[str, float | int | str | bool] = {
        "model": config.chat.model,
        "temperature": config.chat.temperature,
        "asr": transcriber.source,
        "voice": speaker.source,
        "gate": SileroGate.source,
        "silence": config.turns.silence,
        "barge_in": config.turns.barge_in,
        "compute": "real time" if real_time else config.clock.compute,
    }
    return CascadeSystem(SystemInfo(name, version, decoding=decoding), config, parts, real_time)
