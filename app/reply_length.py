"""How long replies are beside those of a model without faults: words said over words due, question by question.

What is due is known where the world is closed: the mean length of all right replies to a question. What was said ends
as the paper's replay length does, with 1.6 s without a word. A talk without a reply has no length; whether there is a
reply at all is another figure's matter. Talks whose user pauses or interrupts are left out, because there a model
without faults may be cut short too.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from model.align.probe import SILENT_FRAMES
from model.tiny.truth import WorldTruth, fold
from model.tiny.world import World, load_world
from protocols.duplex import FRAME
from protocols.records import Conversation, Key, Sample
from protocols.store import Run

PLAIN = {"turn"}  # kinds of events in a talk whose reply can run to its end


class Due:
    """How many words a model without faults says to a question."""

    def __init__(self, world: World | None = None) -> None:
        self._world = world or load_world()
        self._truth = WorldTruth(self._world)

    def words(self, question: str) -> float | None:
        """None: nothing of this world was asked."""
        if (item := self._truth.item(question)) is None:
            return None
        replies = item.fact.replies if item.fact else (item.reply,)
        if item.kind == "unsafe":
            replies = self._world.refusal
        return float(np.mean([len(fold(reply).split()) for reply in replies]))


def said_and_due(run: Run, due: Due) -> dict[Key, tuple[int, float]]:
    """Of each talk of a run that has a reply: words of the reply, words due."""
    wanted = dict(_wanted(run, due))
    found = {}
    for talk in run.read(Conversation):
        if talk.sample in wanted and (said := _replay(talk)):
            found[talk.key] = said, wanted[talk.sample]
    return found


def _wanted(run: Run, due: Due) -> Iterator[tuple[str, float]]:
    for sample in {s.id: s for s in run.read(Sample)}.values():
        if {event.kind for event in sample.events} == PLAIN and _alone(sample):
            words = due.words(sample.text)
            if words is not None:
                yield sample.id, words


def _alone(sample: Sample) -> bool:
    return all(cue.after_agent is None for cue in sample.cues)


def _replay(talk: Conversation) -> int:
    """Words after the user's end, until there is none for 1.6 s."""
    end = max((event.end for event in talk.events), default=0.0)
    own = (t for t in talk.transcripts if t.channel == "agent" and t.source == "model")
    starts = [word.start for transcript in own for word in transcript.words if word.start >= end]
    gaps = np.flatnonzero(np.diff(starts) > SILENT_FRAMES * FRAME)
    return int(gaps[0]) + 1 if len(gaps) else len(starts)


def ratios(found: Mapping[Key, tuple[int, float]]) -> np.ndarray:
    return np.array([said / due for said, due in found.values()], dtype=np.float64)
