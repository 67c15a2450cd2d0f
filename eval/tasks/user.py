"""What the user's channel plays: cues placed on one timeline, and questions with a pause put into them.

A pause is made by cutting a recording at its quietest moment near the middle and moving the rest, so its times are
exact. Cut edges get a short fade, so that the cut itself is not heard as a click.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.tasks.questions import Question
from protocols.audio import cached_channel, resample
from protocols.duplex import SAMPLE_RATE, Audio
from protocols.errors import InputError
from protocols.records import Cue, Event, Sample

FADE = 0.005  # seconds, at cut edges
QUIET = 0.03  # seconds of quiet looked for
INTO = 0.4  # seconds of an answer before it is interrupted
WAIT = 4.0  # seconds within which the answer that is to be interrupted must begin
MIDDLE = (0.35, 0.7)  # part of the speech a pause may fall into


class LiveCue(NamedTuple):
    """A cue that waits for the agent, ready to play; times in samples on the sample's clock."""

    number: int  # its index among the sample's cues
    audio: Audio  # [n]
    earliest: int
    latest: int  # last start at which it still ends inside the sample's length
    after_agent: int


class UserSound(NamedTuple):
    """What the user's channel plays, at one sample rate."""

    fixed: Audio  # [length * rate], the sum of the cues that have their place beforehand
    live: tuple[LiveCue, ...] = ()


def user_sound(sample: Sample, root: Path, sample_rate: int) -> UserSound:
    """Everything a sample's user plays, at the given rate."""
    live = []
    for number, cue in enumerate(sample.cues):
        if cue.after_agent is not None:
            audio = resample(_loud(cue, root), SAMPLE_RATE, sample_rate)
            earliest, latest = round(cue.at * sample_rate), round(sample.length * sample_rate) - len(audio)
            if latest < earliest:
                raise InputError(f"sample {sample.id}: {cue.path} does not fit into {sample.length} s")
            live.append(LiveCue(number, audio, earliest, latest, round(cue.after_agent * sample_rate)))
    return UserSound(resample(render(sample, root), SAMPLE_RATE, sample_rate), tuple(live))


def render(sample: Sample, root: Path) -> Audio:
    """The fixed part of a sample's user audio, [round(length * 24,000)], summed over its cues."""
    out = np.zeros(round(sample.length * SAMPLE_RATE), np.float32)
    for cue in sample.cues:
        if cue.after_agent is not None:
            continue
        sound = _loud(cue, root)
        start = round(cue.at * SAMPLE_RATE)
        if start < 0 or start + len(sound) > len(out) + 1:
            raise InputError(f"sample {sample.id}: {cue.path} does not fit into {sample.length} s")
        part = out[start : start + len(sound)]
        part += sound[: len(part)]
    return out


def _loud(cue: Cue, root: Path) -> Audio:
    return _cut(cue, root) * np.float32(10 ** (cue.gain_db / 20))


def _cut(cue: Cue, root: Path) -> Audio:
    audio = cached_channel(root / cue.path, cue.channel)
    start = round(cue.start * SAMPLE_RATE)
    end = len(audio) if cue.end is None else round(cue.end * SAMPLE_RATE)
    if not 0 <= start < end <= len(audio):
        raise InputError(
            f"{cue.path} lasts {len(audio) / SAMPLE_RATE:g} s; nothing can be cut from {cue.start:g} s to "
            f"{end / SAMPLE_RATE:g} s"
        )
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


def interrupted_sample(question: Question, over: Question, task: str, root: Path) -> Sample:
    """The question, and something said into its answer once the agent has spoken for `INTO` seconds."""
    asked, said = (str(q.file.relative_to(root)) for q in (question, over))
    at = question.duration
    cues = (Cue(path=asked, at=0.0), Cue(path=said, at=at, after_agent=INTO))
    events = (
        Event("turn", question.speech.start, question.speech.end, question.speech_source),
        Event("interruption", at + over.speech.start, at + over.speech.end, over.speech_source, over.text, 1),
    )
    return _sample(question, task, cues, at + WAIT + INTO + over.duration, events)


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
