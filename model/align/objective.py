"""From log-probabilities per stream to a loss per pair: which streams count, by what weights, under which loss.

    T       one loss on the text (the paper's choice)      A       one loss on the agent's audio
    T,A     the sum of both                                T+A     one loss on text and audio together
    T+CE    T, plus cross-entropy on the chosen audio      timing  one loss on speak/silent alone

(The paper's table 1, and ASPIRin for the last.) A weight multiplies a stream's log-probabilities and its share of the
length alike. LD-DPO (arXiv 2409.06411) weighs only the former beyond the shorter reply, as TRL does. Two replies of
which one has nothing scored are refused: a mean over nothing is not 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from model.align.config import LossConfig
from model.align.logprobs import ACOUSTIC, PADDING, SEMANTIC, STREAMS, TIMING, WORDS, StreamLogProbs
from model.align.losses import LOSSES, Replies, sft
from protocols.errors import InputError


def scored_streams(loss: LossConfig) -> list[dict[int, float]]:
    """For each loss that is added up, the weights of its streams."""
    text = {WORDS: 1.0, PADDING: loss.padding_weight}
    audio = {SEMANTIC: loss.semantic_weight, ACOUSTIC: loss.acoustic_weight}
    return {
        "T": [text],
        "A": [audio],
        "T,A": [text, audio],
        "T+A": [text | audio],
        "T+CE": [text],
        "timing": [{TIMING: 1.0}],
    }[loss.streams]


def replies(policy: StreamLogProbs, reference: Tensor, weights: dict[int, float], ld_alpha: float = 1.0) -> Replies:
    """Sums and counts of P pairs from [2 P, 2, streams], chosen and rejected in turn; reference like policy.sums."""
    weight = policy.sums.new_zeros(len(STREAMS))
    for stream, value in weights.items():
        weight[stream] = value
    parts = policy.sums.new_tensor([1.0, ld_alpha])
    ours, theirs = (torch.einsum("bps,p,s->b", sums, parts, weight) for sums in (policy.sums, reference))
    counts = policy.counts.sum(1) @ weight
    return Replies(ours[::2], ours[1::2], theirs[::2], theirs[1::2], counts[::2], counts[1::2])


def pair_losses(policy: StreamLogProbs, reference: Tensor, loss: LossConfig) -> Tensor:
    """The loss of each pair, [P]. For a loss with `coupled` all pairs of a step must be given at once."""
    total = policy.sums.new_zeros(len(policy.sums) // 2)
    for weights in scored_streams(loss):
        total = total + LOSSES[loss.name].of(replies(policy, reference, weights, loss.ld_alpha), loss)
        if loss.sft_weight:
            total = total + loss.sft_weight * sft(replies(policy, reference, weights), loss)
    if loss.streams == "T+CE":
        audio = {SEMANTIC: loss.semantic_weight, ACOUSTIC: loss.acoustic_weight}
        total = total + loss.ce_weight * sft(replies(policy, reference, audio), loss)
    return total


def check_counts(counts: Tensor, names: Sequence[str], loss: LossConfig) -> None:
    """InputError that names the first pair of which a reply has no scored token; counts [2 P, 2, streams]."""
    wanted = scored_streams(loss)
    if loss.streams == "T+CE":
        wanted.append({SEMANTIC: loss.semantic_weight, ACOUSTIC: loss.acoustic_weight})
    empty = StreamLogProbs(torch.zeros_like(counts), counts)
    for weights in wanted:
        pair = replies(empty, empty.sums, weights)
        for side, count in (("chosen", pair.chosen_count), ("rejected", pair.rejected_count)):
            if (count == 0).any():
                name = names[int((count == 0).nonzero()[0, 0])]
                raise InputError(
                    f"pair {name}: nothing of the {side} reply is scored under streams {loss.streams} and "
                    f"padding_weight {loss.padding_weight:g}; count the padding or leave the pair out"
                )
