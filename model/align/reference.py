"""What the model said before alignment: computed once by the same packed forward, kept, and never half-trusted.

A cache is one safetensors file: `sums` [pairs, 2, 2, streams] and, in its header, a digest of the weights, the
precision, the streams it holds and each pair's digest. A file of other weights, another precision or without one of
the pairs wanted is refused; nothing is recomputed silently and nothing is matched by position. Counts are not stored:
they follow from the tokens. Losses without a reference get one all the same, because drift is measured against it.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.align.data import TokenPair, Trunk
from model.align.logprobs import Scorer, Way
from model.align.lora import adapters_off, base_weights
from model.align.packing import pack
from model.align.workers import ALONE, Workers
from model.lm import DuplexLM
from protocols.base import Value
from protocols.errors import InputError, StoreError

LAYOUT = 1  # of the packed forward; another number, and old caches are refused


class Made(Value, frozen=True, forbid_unknown_fields=True):
    """What reference log-probabilities hang on, the pairs aside."""

    weights: str
    precision: str
    text: bool
    audio: bool
    layout: int = LAYOUT


class Reference:
    """Reference sums by pair."""

    def __init__(self, sums: Mapping[str, Tensor]) -> None:
        self.sums = sums  # digest -> [2, 2, streams]

    def of(self, pairs: Iterable[TokenPair]) -> Tensor:
        """[2 P, 2, streams], chosen and rejected in turn."""
        return torch.cat([self.sums[pair.digest] for pair in pairs])


def weights_digest(lm: DuplexLM) -> str:
    """Of the model's own parameters in name order, adapters left out."""
    sha = hashlib.sha256()
    for name, weight in sorted(base_weights(lm).items()):
        sha.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        sha.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def reference_for(
    scorer: Scorer, trunks: Sequence[Trunk], way: Way, path: Path, made: Made, workers: Workers = ALONE
) -> Reference:
    """What is at `path`, or, where nothing is, what the model says with its adapters off; that is then written."""
    lm, pairs = scorer.lm, [pair for trunk in trunks for pair in trunk.pairs]
    if path.exists():
        return _load(path, made, pairs, lm.norm.device)
    sums: dict[str, Tensor] = {}
    with torch.no_grad(), adapters_off(lm):
        for part, counts in workers.turns(trunks):
            found = scorer(pack(lm, part), way).sums.cpu()
            digests = (pair.digest for trunk in part for pair in trunk.pairs)
            if counts:
                sums |= dict(zip(digests, found.view(-1, 2, *found.shape[1:]), strict=True))
    sums = {digest: found for share in workers.gather(sums) for digest, found in share.items()}
    for pair in pairs:
        if not sums[pair.digest].isfinite().all():
            raise InputError(f"pair {pair.id}: the reference's log-probabilities are not finite; check the model")
    if workers.leads:
        _save(path, made, sums)
    return Reference({digest: found.to(lm.norm.device) for digest, found in sums.items()})


def _save(path: Path, made: Made, sums: Mapping[str, Tensor]) -> None:
    about = {"made": msgspec.json.encode(made).decode(), "pairs": msgspec.json.encode(list(sums)).decode()}
    part = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"sums": torch.stack(list(sums.values())).cpu().contiguous()}, part, about)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error}") from error


def _load(path: Path, made: Made, pairs: Sequence[TokenPair], device: torch.device) -> Reference:
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            about, sums = file.metadata() or {}, file.get_tensor("sums")
        found = msgspec.json.decode(about.get("made", ""), type=Made)
        digests = msgspec.json.decode(about.get("pairs", ""), type=list[str])
    except (OSError, SafetensorError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} cannot be read as a reference cache: {error}") from error
    again = "delete it or name another"
    if found.weights != made.weights:
        raise InputError(f"{path} is of other weights ({found.weights[:12]}, not {made.weights[:12]}); {again}")
    if (found.precision, found.layout) != (made.precision, made.layout):
        raise InputError(f"{path} was computed another way ({found.precision}, layout {found.layout}); {again}")
    if (made.text and not found.text) or (made.audio and not found.audio):
        raise InputError(f"{path} lacks the {'audio' if made.audio and not found.audio else 'text'} streams; {again}")
    missing = {pair.digest for pair in pairs} - set(digests)
    if missing or len(digests) != len(sums):
        raise InputError(f"{path} lacks {len(missing)} of {len(pairs)} pairs; {again}")
    return Reference(dict(zip(digests, sums, strict=True)))
