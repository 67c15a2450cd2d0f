"""Weights, gradients and moments dealt out among the processes (FSDP2), for a model that no device holds whole.

A unit's weights are gathered before it runs, dropped after it, and gathered again for its backward pass; what it adds
to the gradient is summed over the processes and dealt out again. Units are the temporal layers and, around them, the
scoring of a forward as a whole: heads are applied to pieces of it, whose number differs between processes, and every
process must gather alike. So everybody also does as many forwards as everybody else (`Workers.turns`).

Files know nothing of it: what is saved is whole, and a training goes on from it dealt out or not.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from model.align.config import AlignConfig
from model.align.logprobs import Scorer
from model.align.optim import thaw
from model.align.workers import Workers
from model.lm import DuplexLM
from protocols.errors import InputError


def check_shard(config: AlignConfig, workers: Workers) -> None:
    """InputError where weights are to be dealt out and there is nobody to deal to."""
    if config.model.shard and workers.size == 1:
        raise InputError("model.shard deals the model out among processes; start several, with torchrun")


def shard(scorer: Scorer, config: AlignConfig, workers: Workers) -> None:
    """Deal out the parameters of `scorer.lm`, in place and unit by unit; each process ends with its share of them.

    They are moved to `model.device` on the way. Trained in bfloat16, layers are gathered in it and summed in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(torch.device(config.model.device).type, (workers.size,))
    coarse = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
    policy = coarse if config.model.precision == "bfloat16" else MixedPrecisionPolicy()
    unused = [] if config.audio else [scorer.lm.depth]
    for unit in (*scorer.lm.layers, *unused):
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    fully_shard(scorer, mesh=mesh, reshard_after_forward=True)
    for module in scorer.modules():
        if isinstance(module, FSDPModule):  # gradients add up to a mean over the step's pairs already
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)


def whole(tensors: Mapping[str, Tensor], workers: Workers) -> dict[str, Tensor]:
    """All of them, put together, on the CPU of the first process; the others take part and get nothing."""
    if not workers.sharded:
        return dict(tensors)
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor()  # type: ignore[attr-defined]
        if workers.leads:
            found[name] = full.cpu()
    return found


def whole_model(lm: DuplexLM, config: AlignConfig, workers: Workers) -> DuplexLM:
    """`lm`, adapters and all, or where it is dealt out a whole one on the CPU; of use in the first process alone."""
    if not workers.sharded:
        return lm
    tensors = whole({name: p.detach() for name, p in lm.named_parameters()}, workers)
    with torch.device("meta"):
        made = DuplexLM(lm.config)
    thaw(made, config)
    made.load_state_dict(tensors, strict=workers.leads, assign=True)
    return made


def share_of(value: Tensor, parameter: Tensor, workers: Workers) -> Tensor:
    """This process's share of a whole tensor, as `parameter` is dealt out; on its device."""
    if not workers.sharded:
        return value.to(parameter.device)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def clip(parameters: Iterable[nn.Parameter], most: float, workers: Workers) -> Tensor:
    """Scale the gradients down to a norm of `most`, over all parameters and processes; the norm before."""
    trained = list(parameters)
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
    if workers.sharded:
        norm = norm.full_tensor()  # type: ignore[attr-defined]
    nn.utils.clip_grads_with_norm_(trained, most, norm)
    return norm
