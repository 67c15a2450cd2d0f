"""The processes that share a training, as `torchrun` starts them; alone, the same code with nothing to share.

A step is what the configuration says, however many processes there are: its trunks are dealt out, each process adds
the gradient of its own to a mean over all pairs of the step, and the gradients are summed once, before clipping. So
two processes do half the forwards each, a training may go on with another number of them, and every process takes the
same step from the same figures. Only the first writes. Weights are whole on each, or dealt out (`model.align.shards`).
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
from torch import distributed, nn

from protocols.errors import InputError

T = TypeVar("T")
PATIENCE = timedelta(hours=2)  # the first process may write and probe while the others wait


class Workers(NamedTuple):
    rank: int = 0
    size: int = 1
    sharded: bool = False  # each holds a part of every weight, and needs the others for a forward

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What of these is this process's to do; perhaps nothing."""
        return items[self.rank :: self.size]

    def turns(self, items: Sequence[T], at_a_time: int = 1) -> Iterator[tuple[Sequence[T], bool]]:
        """This process's share in parts for a forward each, and whether it counts.

        Where weights are sharded everybody does as many forwards as the first: who has less repeats one, for nothing.
        """
        mine = self.share(items)
        for start in range(0, len(mine), at_a_time):
            yield mine[start : start + at_a_time], True
        if self.sharded:
            most, own = (math.ceil(n / at_a_time) for n in (len(items[:: self.size]), len(mine)))
            yield from [(items[:1], False)] * (most - own)

    def gather(self, mine: T) -> list[T]:
        """Everybody's, in order of rank, to everybody. Tensors must lie on the CPU."""
        if self.size == 1:
            return [mine]
        found: list[T] = [mine] * self.size
        distributed.all_gather_object(found, mine)
        return found

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum of everybody's gradients in the place of each one's, where a backward pass has not done so."""
        if self.size > 1 and not self.sharded:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)


ALONE = Workers()


def device_of(device: str) -> str:
    """The device of this process: under torchrun each has a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if device == "cuda" and local is not None else device


@contextmanager
def workers() -> Iterator[Workers]:
    """The processes torchrun started together, this one among them; ALONE without it."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    if "MASTER_ADDR" not in os.environ:
        raise InputError("WORLD_SIZE is set, MASTER_ADDR is not; start several processes with torchrun")
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        yield Workers(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()
