"""What a step is described by: TRL's names where TRL has one, and what it lacks.

Beyond those: log-ratios per stream, reply lengths, the share of pairs whose chosen reply became less likely than
under the reference (the common surprise of DPO), and the correlation of length difference with margin over the last
pairs, with an alarm. A value that is not known is left out. Rewards are beta times summed log-ratios, as TRL reports
them even for losses that normalise by length.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from model.align.config import LossConfig
from model.align.logprobs import PADDING, STREAMS, TIMING, WORDS, StreamLogProbs
from model.align.objective import replies, scored_streams

ENOUGH = 32  # pairs before a correlation is given
ALARM = 0.5  # a correlation this far from 0 says that length decides


class Outcome(NamedTuple):
    """Of P pairs, detached. Policy and reference [2 P, ...], chosen and rejected in turn."""

    losses: Tensor
    policy: StreamLogProbs
    reference: Tensor


def gather(outcomes: Iterable[Outcome]) -> Outcome:
    losses, policies, references = zip(*outcomes, strict=True)
    policy = StreamLogProbs(*(torch.cat(parts) for parts in zip(*policies, strict=True)))
    return Outcome(torch.cat(losses), policy, torch.cat(references))


def describe(outcome: Outcome, loss: LossConfig) -> dict[str, float]:
    """Means over the pairs."""
    weights = {stream: weight for part in scored_streams(loss) for stream, weight in part.items()}
    pair = replies(outcome.policy, outcome.reference, weights, loss.ld_alpha)
    won, lost = loss.beta * pair.u, loss.beta * pair.v
    found = {
        "loss": outcome.losses,
        "rewards/chosen": won,
        "rewards/rejected": lost,
        "rewards/margins": won - lost,
        "rewards/accuracies": (won > lost).double(),
        "logps/chosen": pair.chosen,
        "logps/rejected": pair.rejected,
        "chosen_fell": (pair.u < 0).double(),
    }
    drift = (outcome.policy.sums - outcome.reference).sum(1)
    counts = outcome.policy.counts.sum(1)
    for number, stream in enumerate(STREAMS):
        if counts[:, number].any():
            found |= {f"ratios/{stream}/chosen": drift[::2, number], f"ratios/{stream}/rejected": drift[1::2, number]}
    if counts[:, TIMING].any():
        frames, words = counts[:, [WORDS, PADDING]].sum(1), counts[:, WORDS]
        found |= {"frames/chosen": frames[::2], "frames/rejected": frames[1::2]}
        found |= {"words/chosen": words[::2], "words/rejected": words[1::2]}
    return {name: float(values.double().mean()) for name, values in found.items()}


class LengthBias:
    """The last pairs' length differences and margins."""

    def __init__(self, seen: Iterable[tuple[float, float]] = ()) -> None:
        self.seen = deque(seen, maxlen=256)

    def add(self, outcome: Outcome, loss: LossConfig) -> dict[str, float]:
        """The correlation and whether it is an alarm; nothing while it is not known."""
        weights = {stream: weight for part in scored_streams(loss) for stream, weight in part.items()}
        pair = replies(outcome.policy, outcome.reference, weights, loss.ld_alpha)
        rows = torch.stack([pair.chosen_count - pair.rejected_count, pair.u - pair.v], 1)
        self.seen.extend((length, margin) for length, margin in rows.tolist())
        table = torch.tensor(list(self.seen), dtype=torch.float64).T
        if len(self.seen) < ENOUGH or not (table.std(1) > 0).all():
            return {}
        correlation = float(torch.corrcoef(table)[0, 1])
        return {"length_bias": correlation, "length_bias_alarm": float(abs(correlation) > ALARM)}
