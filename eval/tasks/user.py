"""What the user's channel plays: cues placed on one timeline, and questions with a pause put into them.

A pause is made by cutting a recording at its quietest moment near the middle and moving the rest, so its times are
exact. Cut edges get a short fade, so that the cut itself is not heard as a click.
"""

from pathlib import Path

import numpy as np

from eval.tasks.questions import Question
from protocols.audio import cached_channel
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError
from protocols.records import Cue, Event, Sample

FADE = 0.005  # seconds, at cut edges
QUIET = 0.03  # seconds of quiet looked for
MIDDLE = (0.35, 0.7)  # part of the speech a pause may fall into


def render(sample: Sample, root: Path) -> Audio:
    """The user's audio of a sample, [round(length * 24,000)], summed over its cues."""
    out = np.zeros(round(sample.length * SAMPLE_RATE), np.float32)
    for cue in sample.cues:
        sound = _cut(cue, root)
        start = round(cue.at * SAMPLE_RATE)
        if start < 0 or start + len(sound) > len(out) + 1:
            raise InputError(f"sample {sample.id}: {cue.path} does not fit into {sample.length} s")
        part = out[start : start + len(sound)]
        part += sound[: len(part)] * np.float32(10 ** (cue.gain_db / 20))
    return out


def _cut(cue: Cue, root: Path) -> Audio:
    audio = cached_channel(root / cue.path, cue.channel)
    start = round(cue.start * SAMPLE_RATE)
    end = len(audio) if cue.end is None else round(cue.end * SAMPLE_RATE)
    sound = audio[start:end].copy()
    ramp = np.linspace(0, 1, round(FADE * SAMPLE_RATE), dtype=np.float32)[: len(sound)]
    if cue.start > 0:
        sound[: len(ramp)] *= ramp
    if cue.end is not None:
        sound[len(sound) - len(ramp) :] *= ramp[::-1]
    return sound


def plain_sample(question: Question, task: str, root: Path) -> Sample:
    """The question as it was recorded."""
    turn = Event("turn", question.speech.start, question.speech.end, question.speech_source)
    cue = Cue(path=str(question.file.relative_to(root)), at=0.0)
    return _sample(question, task, (cue,), question.duration, (turn,))


def paused_sample(question: Question, task: str, root: Path, pause: float) -> Sample:
    """The question with `pause` seconds of silence in its middle."""
    path = str(question.file.relative_to(root))
    cut = quietest_moment(question)
    cues = (Cue(path=path, at=0.0, end=cut), Cue(path=path, at=cut + pause, start=cut))
    events = (
        Event("turn", question.speech.start, question.speech.end + pause, question.speech_source),
        Event("pause", cut, cut + pause, "made"),
    )
    return _sample(question, task, cues, question.duration + pause, events)


def quietest_moment(question: Question) -> float:
    """The middle of the quietest 30 ms in the middle part of the question's speech, in seconds."""
    audio = cached_channel(question.file)
    low, high = (question.speech.start + question.speech.duration * share for share in MIDDLE)
    width = round(QUIET * SAMPLE_RATE)
    part = audio[round(low * SAMPLE_RATE) : max(round(high * SAMPLE_RATE), round(low * SAMPLE_RATE) + width)]
    energy = np.concatenate([[0.0], np.cumsum(part.astype(np.float64) ** 2)])
    at = int(np.argmin(energy[width:] - energy[:-width])) if len(part) > width else 0
    return round(low + (at + width / 2) / SAMPLE_RATE, 6)


def _sample(question: Question, task: str, cues: tuple[Cue, ...], length: float, events: tuple[Event, ...]) -> Sample:
    return Sample(
        id=f"{task}/{question.id}",
        task=task,
        cues=cues,
        length=length,
        events=events,
        text=question.text,
        answers=question.answers,
        cluster=question.id,
        tags=() if question.voice is None else (f"voice:{question.voice}",),
    )
