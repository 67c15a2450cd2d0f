"""Whether the embedded model's sound still follows its words, in talks that were held.

Of the time in which it says no word, the share in which it is heard: codes of anything but silence. Where text alone is
trained too hard, sound and text part; words and their times are then as good as ever, and a detector of speech need
not hear the murmur.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.estimates import Estimate
from analysis.paired import mean_estimate
from model.align.probe import unworded, words_in
from model.tiny.codec import load_codec
from model.tiny.grid import EPAD
from model.tiny.voice import layout_of
from protocols.records import Conversation
from protocols.replies import GridLayout
from protocols.store import Run


def wordless(runs: Sequence[Run]) -> Estimate | None:
    """The mean over talks, its interval over samples; None where no talk of the embedded model has tokens."""
    layout = layout_of(load_codec())
    found = [talk for run in runs if run.info.system.startswith("tiny:") for talk in _shares(run, layout)]
    shares = np.array([share for _, share in found])
    return mean_estimate(shares, [sample for sample, _ in found], False, 0) if found else None


def _shares(run: Run, layout: GridLayout) -> Iterator[tuple[str, float]]:
    for talk in run.read(Conversation):
        if talk.tokens is None:
            continue
        tokens = run.read_tokens(talk.tokens)
        spoken = words_in(tokens[layout.text], (layout.pad, EPAD))
        share = unworded(spoken, tokens[layout.agent][0], layout.agent_silence[0])
        if share is not None:
            yield talk.sample, share
