"""Small models and preference pairs for the tests of alignment."""

from dataclasses import replace

import numpy as np

from model.align.data import TokenPair, Tokens
from model.lm import LMConfig

SMALL = LMConfig(
    dim=16, num_layers=2, num_heads=2, n_q=5, dep_q=3, card=11, text_card=13, delays=(0, 0, 1, 1, 0, 1), context=40,
    depformer_dim=8, depformer_num_layers=2, depformer_num_heads=2, depformer_multi_linear=True,
)  # fmt: skip
LONG = replace(SMALL, delays=(0, 1, 3, 0, 2, 0), depformer_multi_linear=False, depformer_low_rank_embeddings=3)
LATE = replace(SMALL, delays=(1, 2, 1, 1, 2, 1), num_layers=3)
CONFIGS = [SMALL, LONG, LATE]


def tokens(config: LMConfig, frames: int, seed: int) -> Tokens:
    """Random tokens [streams, frames], half of the text padding."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, np.array(config.cards)[:, None], (len(config.cards), frames))
    codes[0, rng.random(frames) < 0.5] = config.existing_text_padding_id
    return codes.astype(np.int16)


def pair(
    name: str, context: int, chosen: int, rejected: int, talk: str = "t", seed: int = 0, config: LMConfig = SMALL
) -> TokenPair:
    """A pair of random tokens; pairs of one talk share one past, whatever their names."""
    past = tokens(config, 30, sum(talk.encode()) + seed)[:, :context].copy()
    own = sum(name.encode()) + 1000 * seed
    one, other = (tokens(config, frames, 7 * own + side) for side, frames in enumerate((chosen, rejected), 1))
    return TokenPair(name, talk, 0, "content", past, one, other)
