"""A finished live talk becomes a Conversation of a run, where listening, metrics and reports begin.

A run holds one view of its talks. "heard" is what the person rated: the loudspeaker and the microphone on the page's
clock, lag included. "modelled" is what the system did: its own clock, no lag, comparable to simulated runs. Only talks
that are done are delivered; a void talk is no talk of the system.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from app.live import events
from app.live.away import here
from app.live.folder import LiveTalk, read_talk
from eval.talk import words_of
from protocols.audio import read_sound, resample
from protocols.duplex import SAMPLE_RATE, DuplexSystem, TextPiece
from protocols.errors import StoreError
from protocols.records import Conversation, Key, Sample, Transcript
from protocols.runs import Protocol, RunInfo
from protocols.store import Run

View = Literal["heard", "modelled"]
VIEWS: tuple[View, View] = ("heard", "modelled")


def run_for(system: DuplexSystem, path: Path, view: View) -> Run:
    """The run that live talks with a system are delivered to: made, or the one that is there. StoreError if that one
    is of another system."""
    if (path / "run.json").exists():
        run = Run(path)
        if (run.info.system, run.info.system_version) != (system.info.name, system.info.version):
            raise StoreError(f"{path} holds talks with {run.info.system} {run.info.system_version}; give another --out")
        return run
    protocol = Protocol(f"live, as {view}", "", 1, 0, 0.0, 0.0, "none", "real-time", decoding=system.info.decoding)
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    return Run.create(path, RunInfo(system.info.name, system.info.version, protocol, "running", begun, 0))


def deliver(talk_folder: Path, run: Run, view: View) -> Conversation | None:
    """Append a talk to a run; None if it is void, has no sound, or is there already."""
    talk = read_talk(talk_folder)
    recording = talk.heard if view == "heard" else talk.modelled
    known = {conversation.sample for conversation in run.read(Conversation)}
    if talk.status != "done" or recording is None or talk.id in known:
        return None
    sound = read_sound(here(talk_folder / recording.path))
    audio = np.stack([resample(channel, sound.sample_rate, SAMPLE_RATE) for channel in sound.samples])
    key = Key(talk.id, 0)
    with run.writing() as writing:
        stored = writing.write_audio(key, audio)
        tokens = None
        if view == "modelled" and talk.tokens is not None:
            grid = np.load(here(talk_folder / talk.tokens.path), allow_pickle=False)
            tokens = writing.write_tokens(key, grid)
        words = _words(talk_folder, talk) if view == "modelled" else None
        conversation = Conversation(
            talk.id, 0, talk.system, talk.seed, stored, None, tokens=tokens, pacing=talk.pacing,
            transcripts=() if words is None else (words,), lag=talk.lag_p50 if view == "heard" else None,
        )  # fmt: skip
        writing.append(Sample(talk.id, "live", (), stored.duration))
        writing.append(conversation)
        n_planned = run.info.n_planned + 1
        writing.update(msgspec.structs.replace(run.info, n_planned=n_planned))
    return conversation


def _words(talk_folder: Path, talk: LiveTalk) -> Transcript | None:
    """The system's own words on its own clock; None if it wrote none."""
    log = events.read_events((talk_folder / "events.jsonl").read_bytes())
    pieces = [(e.frame, TextPiece(e.text, e.start, e.end)) for e in log if isinstance(e, events.Text)]
    return Transcript("agent", "model", words_of(pieces, talk.frame)) if pieces else None
