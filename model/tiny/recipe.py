"""How the embedded model is trained: its shape, the phases of a training, the fall of the learning rate.

Numbers only; `train` follows them. Dense questions come first and whole talks second, because talks alone teach when
to speak long before what to say. In whole talks every frame counts alike for *whether* to speak, or the model would
speak more often than its talks do; *which* word, given that one comes, may count for more, and the first word of a
reply, which takes the knowledge, most.
"""

import math
from dataclasses import dataclass, replace

from model.lm_kyutai import LMConfig
from model.tiny.talks import DENSE, WHOLE, Scenario


def tiny_config(text_card: int, card: int) -> LMConfig:
    """The embedded model's shape, about 6 million parameters."""
    return LMConfig(
        dim=192,
        num_layers=5,
        num_heads=6,
        n_q=16,
        dep_q=8,
        card=card,
        text_card=text_card,
        delays=(0, 0, *[1] * 7, 0, *[1] * 7),
        context=250,
        depformer_dim=64,
        depformer_num_layers=2,
        depformer_num_heads=4,
        depformer_multi_linear=True,
        hidden_scale=4.125,
    )


@dataclass(frozen=True)
class Phase:
    """A stretch of a training. Frames are 80 ms."""

    steps: int
    batch: int = 8
    frames: int = 160
    scenario: Scenario = WHOLE
    faulty: bool = True  # False: the agent does everything right
    padding_weight: float = 1.0  # of PAD frames; below 1 the model speaks more often than its talks
    word_weight: float = 3.0  # of which word is said, beside whether one is
    first_weight: float = 12.0  # the same for the first word of a reply
    ear_weight: float = 1.0  # of the words heard
    depth_frames: int = 8  # frames of each talk with an audio loss
    readings: int = 0  # talks of a batch in which the agent only reads replies aloud, every frame with an audio loss
    user_noise: float = 0.04  # share of user codes replaced at random
    missing_books: float = 0.0  # share of the user's finer codebooks that a whole talk is without
    agent_noise: float = 0.1  # share of agent codes replaced at random in the input
    deaf_to_itself: float = 0.5  # share of talks in which the agent does not hear itself


# Requests and their look-alikes differ in a word or two, so more of them come; and how a question begins says little.
TALKS = WHOLE._replace(scenes=(0.5, 0.3, 0.1, 0.05, 0.05), spliced=0.5)
PHASES = (
    Phase(4_000, batch=16, frames=72, scenario=DENSE, faulty=False, padding_weight=0.05, word_weight=1, first_weight=1,
          depth_frames=4, agent_noise=0.02),
    Phase(8_000, batch=9, scenario=TALKS, readings=1, missing_books=0.1),
)  # fmt: skip
# Of a model that knows its world and shall hear more voices: whole talks alone, as dense ones would unlearn its timing.
CONTINUED = (replace(PHASES[1], steps=1_500),)


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    phases: tuple[Phase, ...] = PHASES
    learning_rate: float = 2e-3  # of AdamW: heads, norms, the depth transformer
    embedding_rate: float = 6e-3  # of AdamW: embeddings, of whose rows a step moves few
    matrix_rate: float = 2e-3  # of Muon: the matrices of the temporal transformer
    bfloat16: bool = False  # products of the temporal transformer; weights, sums and heads stay float32
    warm_up: int = 200
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    seed: int = 0
    save_every: int = 250

    @classmethod
    def continued(cls, seed: int) -> "Recipe":
        """How to train a model further on other voices: gentler, and an eighth as long."""
        return cls(CONTINUED, learning_rate=1e-3, embedding_rate=2e-3, matrix_rate=1e-3, seed=seed)

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """The phase that step number `step` belongs to."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]

    def scaled(self, steps: int) -> "Recipe":
        """The same in about `steps` steps."""
        return replace(
            self, phases=tuple(replace(p, steps=max(1, round(p.steps * steps / self.steps))) for p in self.phases)
        )


def schedule(step: int, recipe: Recipe) -> float:
    """Share of the learning rate: linear warm-up, then cosine down to a twentieth."""
    done = min(1.0, step / recipe.steps)
    return min(1.0, (step + 1) / recipe.warm_up) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))
