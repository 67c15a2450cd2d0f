"""The gradient of one step's loss, whichever way the step is cut into forwards.

A step's loss is the mean over its pairs, and a forward adds its share of that mean, so 1 x 8, 8 x 1 and 2 x 4 trunks
give one gradient. A coupled loss (AOT, KTO) is no sum over pairs: there the log-probabilities of the whole step come
first, without a graph, then the loss's gradient by them, and a second forward carries that into the weights (gradient
caching, arXiv 2101.06983): exact, for half as much work again. The same holds for a step that several processes share.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from model.align.config import LossConfig
from model.align.data import TokenPair, Trunk
from model.align.logprobs import Scorer, StreamLogProbs, Way
from model.align.losses import LOSSES
from model.align.metrics import Outcome, gather
from model.align.objective import pair_losses
from model.align.packing import pack
from model.align.reference import Reference
from model.align.workers import ALONE, Workers
from model.lm import DuplexLM
from protocols.errors import InputError


class Task(NamedTuple):
    """What every step has in common."""

    scorer: Scorer
    way: Way
    loss: LossConfig
    reference: Reference
    micro_batch: int
    workers: Workers = ALONE

    @property
    def lm(self) -> DuplexLM:
        return self.scorer.lm


def backward(task: Task, trunks: Sequence[Trunk]) -> Outcome:
    """Give the parameters the gradient of the mean loss; what the whole step showed.

    Every process is given the whole step, does its share, and ends with the same gradient and outcome. A loss that is
    not finite: InputError names the pair.
    """
    way = _backward_coupled if LOSSES[task.loss.name].coupled else _backward_apart
    outcome = way(task, trunks)
    task.workers.add_gradients(p for p in task.lm.parameters() if p.requires_grad)
    return outcome


def measure(task: Task, trunks: Sequence[Trunk]) -> Outcome:
    """Losses and log-probabilities without gradients."""
    with torch.no_grad():
        found = _of_all(task, trunks)
        return _judge(task, found.pairs, found.policy)


def pairs_of(trunks: Sequence[Trunk]) -> list[TokenPair]:
    return [pair for trunk in trunks for pair in trunk.pairs]


def _backward_apart(task: Task, trunks: Sequence[Trunk]) -> Outcome:
    total, mine = len(pairs_of(trunks)), list[Outcome]()
    for part, counts in task.workers.turns(trunks, task.micro_batch):
        outcome = _judge(task, pairs_of(part), log_probs(task, part))
        (outcome.losses.sum() * counts / total).backward()  # type: ignore[no-untyped-call]
        mine += [_resting(outcome)] * counts
    return gather(outcome for share in task.workers.gather(mine) for outcome in share)


def _backward_coupled(task: Task, trunks: Sequence[Trunk]) -> Outcome:
    with torch.no_grad():
        found = _of_all(task, trunks)
    found.policy.sums.requires_grad_()
    outcome = _judge(task, found.pairs, found.policy)
    (by_sums,) = torch.autograd.grad(outcome.losses.mean(), found.policy.sums)
    at = found.first_row
    for part, counts in task.workers.turns(trunks, task.micro_batch):
        own = log_probs(task, part).sums
        by_own = by_sums[at : at + len(own)] if counts else torch.zeros_like(own)
        (own * by_own).sum().backward()  # type: ignore[no-untyped-call]
        at += len(own)
    return _resting(outcome)


class _All(NamedTuple):
    """A whole step's log-probabilities without a graph, in order of processes; where this process's rows begin."""

    pairs: list[TokenPair]
    policy: StreamLogProbs
    first_row: int


def _of_all(task: Task, trunks: Sequence[Trunk]) -> _All:
    turns = [(log_probs(task, part), counts) for part, counts in task.workers.turns(trunks, task.micro_batch)]
    shares = task.workers.gather([_on(found, "cpu") for found, counts in turns if counts])
    joined = zip(*(part for share in shares for part in share), strict=True)
    policy = StreamLogProbs(*(torch.cat(columns) for columns in joined))
    dealt = [task.workers._replace(rank=rank).share(trunks) for rank in range(task.workers.size)]
    first_row = sum(len(part.sums) for share in shares[: task.workers.rank] for part in share)
    return _All(pairs_of([t for share in dealt for t in share]), _on(policy, task.lm.norm.device), first_row)


def _judge(task: Task, pairs: Sequence[TokenPair], policy: StreamLogProbs) -> Outcome:
    reference = task.reference.of(pairs)
    losses = pair_losses(policy, reference, task.loss)
    if not losses.isfinite().all():
        worst = pairs[int((~losses.isfinite()).nonzero()[0, 0])]
        raise InputError(f"the loss of pair {worst.id} is not a finite number")
    return Outcome(losses, policy, reference)


def log_probs(task: Task, part: Sequence[Trunk]) -> StreamLogProbs:
    found: StreamLogProbs = task.scorer(pack(task.lm, part), task.way)
    return found


def _on(found: StreamLogProbs, device: torch.device | str) -> StreamLogProbs:
    return StreamLogProbs(*(x.to(device) for x in found))


def _resting(outcome: Outcome) -> Outcome:
    """Without its graph, on the CPU, where processes can exchange it."""
    policy = StreamLogProbs(*(x.detach().cpu() for x in outcome.policy))
    return Outcome(outcome.losses.detach().cpu(), policy, outcome.reference.cpu())
