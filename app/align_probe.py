"""The users of the probe that runs while a model is aligned: spoken questions of a suite, as the model's own codes.

A question is asked as it is, with a pause put into it, or its answer is interrupted, in a voice training never heard.
The rule for a right answer is the benchmark's.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from app.reply_length import Due
from eval.activity import SileroActivity
from eval.metrics.qa_match import find_alias
from eval.tasks.suite import Suite, load_suite
from eval.tasks.user import render, user_sound
from model.align.probe import Probe, Stimulus
from model.codec import Codec
from model.tiny.clips import encode_many
from model.tiny.voice import layout_of
from protocols.duplex import FRAME, SAMPLE_RATE
from protocols.errors import InputError
from protocols.records import Sample

LEAD_IN, TAIL = 0.96, 5.0  # seconds of silence around the user's audio
TASKS = ("facts", "pauses", "interruptions")


def probe_of(base: Path, codec: Codec, n_talks: int, suite: Suite | None = None) -> Probe:
    """A probe for the embedded model in a folder; suite: another one than `world`.

    InputError: the folder has no words, so what the model says cannot be read.
    """
    try:
        words = msgspec.json.decode((base / "words.json").read_bytes(), type=tuple[str, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(
            f"the probe talks to an embedded model, and {base / 'words.json'} cannot be read: {error}; "
            "give --set run.probe_every=0 to do without"
        ) from error
    made = suite or load_suite("world", SileroActivity())
    silence = layout_of(codec).agent_silence[0]
    return Probe(stimuli_of(_chosen(made, n_talks), made.root, codec), words, silence=silence)


def stimuli_of(samples: Sequence[Sample], root: Path, codec: Codec) -> list[Stimulus]:
    """Samples as users made of codes, in silence before and after."""
    around = [(round(seconds * SAMPLE_RATE)) for seconds in (LEAD_IN, TAIL)]
    audios = [np.pad(render(sample, root), around) for sample in samples]
    said = {sample.id: live[0].audio for sample in samples if (live := user_sound(sample, root, SAMPLE_RATE).live)}
    interruptions = dict(zip(said, encode_many(codec, list(said.values())), strict=True)) if said else {}
    due = Due()
    return [
        _stimulus(sample, codes, interruptions.get(sample.id), due)
        for sample, codes in zip(samples, encode_many(codec, audios), strict=True)
    ]


def _stimulus(sample: Sample, codes: np.ndarray, interruption: np.ndarray | None, due: Due) -> Stimulus:
    def frame(time: float) -> int:
        return int((LEAD_IN + time) / FRAME)

    turns = [event.end for event in sample.events if event.kind == "turn"]
    # A frame that sound and silence share belongs to the sound.
    pauses = tuple((frame(e.start) + 1, frame(e.end)) for e in sample.events if e.kind == "pause")
    asks = sample.answers and not pauses and interruption is None
    return Stimulus(
        sample.id,
        codes,
        frame(max(turns, default=sample.length)) + 1,
        pauses,
        partial(_right, sample.answers, sample.text) if asks else None,
        interruption,
        due.words(sample.text) if asks else None,
    )


def _right(answers: tuple[str, ...], question: str, said: str) -> bool:
    return find_alias(said, answers, question) is not None


def _chosen(suite: Suite, n_talks: int) -> list[Sample]:
    """About as many of each task, spread over it."""
    tasks = [task for task in suite.tasks if task.name in TASKS] or list(suite.tasks)
    share = max(1, n_talks // len(tasks))
    picked: list[Sample] = []
    for task in tasks:
        every = max(1, len(task.samples) // share)
        picked += task.samples[::every][:share]
    return picked
