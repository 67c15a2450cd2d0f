"""Low-rank adapters (LoRA, arXiv 2106.09685) on the language model's linear maps, and the file Kyutai's server reads.

An adapted map keeps the name of its weight and gains `down` and `up` beside it; `up` starts at zero, so an adapted
model is the base to the bit, and with the adapters off it is the reference without a second copy in memory. Maps of
the depth transformer get one adapter per weight set, as they have one weight per set.

Kyutai's loader wants an adapter for every linear map of the model; those that were not adapted are written as zeros.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Size, Tensor, nn
from torch.nn.functional import linear

from model.lm import DuplexLM
from model.lm_kyutai import tensors_of
from model.lm_layers import Map, StepLinear

ADAPTER = ("down", "up")


class LoRALinear(nn.Linear):
    def __init__(self, base: nn.Linear, rank: int, scaling: float, generator: torch.Generator) -> None:
        super().__init__(1, 1, bias=False, device="meta")
        self.weight, self.scaling, self.on = base.weight, scaling, True
        self.down, self.up = _pair(base.weight, rank, generator)

    def forward(self, x: Tensor) -> Tensor:
        y = linear(x, self.weight)
        return y + self.scaling * linear(linear(x, self.down.to(x.dtype)), self.up.to(x.dtype)) if self.on else y


class LoRAStepLinear(StepLinear):
    def __init__(self, base: StepLinear, rank: int, scaling: float, generator: torch.Generator) -> None:
        super().__init__((0,), 1, 1)
        self.sets, self.weight, self.scaling, self.on = base.sets, base.weight, scaling, True
        self.down, self.up = _pair(base.weight, rank, generator)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if not self.on:
            return y
        down, up = (weight[list(self.sets)].to(x.dtype) for weight in (self.down, self.up))
        return y + self.scaling * (x @ down.mT @ up.mT)

    def at(self, codebook: int) -> Map:
        plain, one = super().at(codebook), self.sets[codebook]

        def adapted(x: Tensor) -> Tensor:
            return plain(x) + self.scaling * linear(linear(x, self.down[one]), self.up[one]) if self.on else plain(x)

        return adapted


def _pair(weight: Tensor, rank: int, generator: torch.Generator) -> tuple[nn.Parameter, nn.Parameter]:
    *sets, outputs, inputs = weight.shape
    down, up = weight.new_empty(*sets, rank, inputs), weight.new_zeros(*sets, outputs, rank)
    if not weight.is_meta:
        down = torch.randn(*down.shape, generator=generator) * inputs**-0.5
    return nn.Parameter(down.to(weight.device, torch.float32)), nn.Parameter(up.to(torch.float32))


def adapt(lm: DuplexLM, rank: int, scaling: float, seed: int, text: bool, audio: bool) -> None:
    """Freeze lm and give its temporal maps adapters; `text`: the text head too; `audio`: the depth transformer too."""
    lm.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, module in list(lm.named_modules()):
        wanted = {"depth": audio, "text_head": text}.get(name.split(".")[0], True)
        parent, _, child = name.rpartition(".")
        if wanted and isinstance(module, StepLinear):
            setattr(lm.get_submodule(parent), child, LoRAStepLinear(module, rank, scaling, generator))
        elif wanted and isinstance(module, nn.Linear):
            setattr(lm.get_submodule(parent), child, LoRALinear(module, rank, scaling, generator))


@contextmanager
def adapters_off(lm: DuplexLM) -> Iterator[None]:
    """Within it an adapted model is its base; a plain model is what it always is."""
    adapted = [module for module in lm.modules() if isinstance(module, LoRALinear | LoRAStepLinear)]
    for module in adapted:
        module.on = False
    try:
        yield
    finally:
        for module in adapted:
            module.on = True


def merged_weights(lm: DuplexLM) -> dict[str, Tensor]:
    """The parameters of a plain model that says what this one says, by name."""
    weights = base_weights(lm)
    for name, module in lm.named_modules():
        if isinstance(module, LoRALinear | LoRAStepLinear):
            change = module.scaling * (module.up @ module.down)
            weights[f"{name}.weight"] = (module.weight + change).detach().to(module.weight.dtype)
    return weights


def base_weights(lm: DuplexLM) -> dict[str, Tensor]:
    """The model's own parameters by name, without adapters."""
    return {name: p.detach() for name, p in lm.named_parameters() if name.rpartition(".")[2] not in ADAPTER}


def kyutai_adapters(lm: DuplexLM, rank: int) -> dict[str, Tensor]:
    """Every linear map's adapter under the names `moshi.server --lora-weight` expects."""
    found: dict[str, Tensor] = {}
    for name, module in lm.named_modules():
        if not isinstance(module, nn.Linear | StepLinear):
            continue
        *sets, outputs, inputs = module.weight.shape
        down, up = torch.zeros(*sets, rank, inputs), torch.zeros(*sets, outputs, rank)
        if isinstance(module, LoRALinear | LoRAStepLinear):
            down, up = module.down.detach(), module.up.detach()
        for theirs, part in (("lora_A", down), ("lora_B", up)):
            places = tensors_of({f"{name}.weight": Size((*sets, 1, 1))})[f"{name}.weight"]
            tensors = part.unbind() if sets else (part,)
            for place, tensor in zip(places, tensors, strict=True):
                found[f"{place.removesuffix('.weight')}.{theirs}.weight"] = tensor.contiguous()
    return found
