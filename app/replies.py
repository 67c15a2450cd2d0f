"""What a scripted agent can say to a suite's questions: recorded replies where the suite has them, else speech made
from the accepted answer, else one recorded sentence that is honest about it."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eval.speak import EspeakSpeaker, espeak_available
from eval.tasks.suite import LIBRARY, Suite
from model.systems.behaviour import Clip
from protocols.audio import read_channel
from protocols.records import Sample

SPOKEN = LIBRARY.parent / "spoken"
TALKATIVE = (  # to a user who wants to be heard while the agent speaks
    "There is quite a lot to say about that, so let me take one thing after the other. First of all it depends on the "
    "season, and then on how much time you have. Most people start with the easy part and leave the rest for later."
)
VOICED = 0.01  # share of a clip's peak at which its speech begins


class Replies(NamedTuple):
    clips: dict[str, Clip]  # by sample id
    note: str | None


def replies_for(suite: Suite) -> Replies:
    """A right reply to every sample of the suite."""
    recorded = _recorded(suite.root / "questions.tsv", "Id") if (suite.root / "questions.tsv").is_file() else {}
    missing = [s for s in suite.samples if s.cluster not in recorded]
    spoken, note = _spoken(missing) if missing else ({}, None)
    clips = {s.id: recorded[s.cluster] if s.cluster in recorded else spoken[s.id] for s in suite.samples}
    return Replies(clips, note)


def _spoken(samples: Iterable[Sample]) -> tuple[dict[str, Clip], str | None]:
    if not espeak_available():
        unknown = _recorded(SPOKEN / "replies.tsv", "Id")["unknown"]
        note = f'espeak-ng is not installed, so the scripted systems answer every question with "{unknown.text}"'
        return {s.id: unknown for s in samples}, note
    speaker = EspeakSpeaker()
    by_text: dict[str, Clip] = {}
    clips = {}
    for sample in samples:
        text = _answer(sample)
        if text not in by_text:
            audio = speaker.say(text, speed=0.85)  # the speed and wording an ASR understands best
            by_text[text] = Clip(audio, text, _onset(audio))
        clips[sample.id] = by_text[text]
    return clips, None


def _answer(sample: Sample) -> str:
    if any(cue.after_agent is not None for cue in sample.cues):
        return TALKATIVE
    return f"The answer is {sample.answers[0]}." if sample.answers else "I do not know."


def _recorded(table: Path, key: str) -> dict[str, Clip]:
    """Replies of a table that has the columns Reply, Reply Filename and Reply start; none if it lacks them."""
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {
        row[key]: Clip(read_channel(table.parent / row["Reply Filename"]), row["Reply"], float(row["Reply start"]))
        for row in rows
        if row.get("Reply Filename") and row.get("Reply start")
    }


def _onset(audio: np.ndarray) -> float:
    level = np.abs(audio)
    return float(np.argmax(level > VOICED * level.max())) / 24_000
