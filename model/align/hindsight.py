"""A reply and the user's next words, as data of the trainer: no preference, one reply in two places.

    chosen     [context | reply]               what was said, scored where it was said
    rejected   [context | next words | reply]  the same, scored by a model that has heard how the user took it

The user's next words are given, never scored. Both hang on one trunk, so the hindsight costs its own frames only. The
reference says by how much the reply gains or loses by them, and the loss `sdpo` brings that back into the model that
has not heard them. A reply the user accepts becomes likelier, one that is corrected less likely.
"""

import numpy as np

from model.align.data import TokenPair, Tokens

KIND = "hindsight"


def hindsight(
    name: str, talk: str, window_start_frame: int, context: Tokens, reply: Tokens, after: Tokens
) -> TokenPair:
    """Tokens [streams, frames]; `after`: the user's next words, the agent silent in them. Empty parts: InputError."""
    told = np.concatenate([after, reply], 1)
    return TokenPair(name, talk, window_start_frame, KIND, context, reply, told, after.shape[1])
