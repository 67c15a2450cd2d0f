"""Mimi as a codec of this house: eight codes of 2,048 for 80 ms of 24 kHz sound, exactly as Kyutai's files have it.

The one non-obvious decision: on a processor every talk is computed alone, because the bits of a product depend on the
batch it is done in, and a talk must not depend on its neighbours; on a GPU talks of a batch are computed together and
agree to rounding. Sound comes out in the push its codes went in, without delay.

Neither packaged implementation serves here: transformers' MimiModel does not stream its decoder (chunks differ from
the whole by as much as the signal) and reads files of another format; rustymimi streams exactly, and gives the same
codes as this one, but on processors only and with a copy of the weights for every talk.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.codec import Codes, Mask, check_batch, check_codes, check_frames, check_mask
from model.mimi.config import MimiConfig
from model.mimi.layers import Memory
from model.mimi.net import MimiNet
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.store import sha256_of

CODEBOOKS = 8  # that Moshi speaks
SETTLED = 12  # frames of silence after which the codes of silence are taken
MIMI = MimiConfig()
OLD_NAMES = {  # of files written before attention had a list of maps and books their present names
    r"self_attn\.(in|out)_proj[._]weight$": r"self_attn.\1_projs.0.weight",
    r"_codebook\.inited$": "_codebook._initialized",
    r"_codebook\.cluster_size$": "_codebook.cluster_usage",
    r"_codebook\.embed_(avg|sum)$": "_codebook.embedding_sum",
}


class MimiCodec:
    """The `model.codec.Codec` of a network; `together`: talks of a batch in one computation."""

    delay_frames = 0

    def __init__(self, net: MimiNet, config: MimiConfig, source: str, together: bool = False) -> None:
        self.net = net.eval().requires_grad_(False)
        self.source = source
        self.sample_rate, self.frame_size = config.sample_rate, config.frame_size
        self.n_codebooks, self.card = net.n_codebooks, config.quantizer.bins
        self.together = together
        self.device = net.books()[0][0].device
        self.silence: Codes = np.zeros(self.n_codebooks, np.int16)
        stream, frame = self.encoder(1), np.zeros((1, self.frame_size), np.float32)
        for _ in range(SETTLED):
            self.silence = stream.push(frame, np.ones(1, np.bool_))[0]

    def encoder(self, batch: int) -> "MimiEncoder":
        return MimiEncoder(self, batch)

    def decoder(self, batch: int) -> "MimiDecoder":
        return MimiDecoder(self, batch)


class _Stream:
    """The memories of B talks."""

    def __init__(self, codec: MimiCodec, batch: int) -> None:
        check_batch(batch)
        self._codec, self.batch = codec, batch
        self._memories: list[Memory] = [{} for _ in range(batch)]

    def reset(self, mask: Mask) -> None:
        check_mask(mask, self.batch)
        for row in np.flatnonzero(mask):
            self._memories[row] = {}

    def _groups(self, active: Mask) -> list[list[int]]:
        """Rows that are computed together; a talk that has just begun has no memory to be stacked."""
        rows = np.flatnonzero(active).tolist()
        if not self._codec.together:
            return [[row] for row in rows]
        fresh = [[row] for row in rows if not self._memories[row]]
        return [*fresh, *([going] if (going := [row for row in rows if self._memories[row]]) else [])]

    def _gather(self, rows: Sequence[int]) -> Memory:
        memories = [self._memories[row] for row in rows]
        if len(memories) == 1:
            return dict(memories[0])
        return {
            layer: tuple(torch.cat(parts) for parts in zip(*(memory[layer] for memory in memories), strict=True))
            for layer in memories[0]
        }

    def _scatter(self, rows: Sequence[int], memory: Memory) -> None:
        for i, row in enumerate(rows):
            self._memories[row] = {layer: tuple(part[i : i + 1] for part in kept) for layer, kept in memory.items()}

    def _tensor(self, values: "Audio | Codes") -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._codec.device)


class MimiEncoder(_Stream):
    """The `model.codec.EncoderStream` of MimiCodec."""

    def push(self, frames: Audio, active: Mask) -> Codes:
        check_frames(frames, active, self.batch, self._codec.frame_size)
        codes = np.tile(self._codec.silence, (self.batch, 1))
        for rows in self._groups(active):
            memory = self._gather(rows)
            made = self._codec.net.encode(self._tensor(frames[rows])[:, None], memory)
            codes[rows] = made[:, :, 0].cpu().numpy().astype(np.int16)
            self._scatter(rows, memory)
        return codes


class MimiDecoder(_Stream):
    """The `model.codec.DecoderStream` of MimiCodec."""

    def push(self, codes: Codes, active: Mask) -> Audio:
        check_codes(codes, active, self.batch, self._codec.n_codebooks, self._codec.card)
        audio = np.zeros((self.batch, self._codec.frame_size), np.float32)
        for rows in self._groups(active):
            memory = self._gather(rows)
            made = self._codec.net.decode(self._tensor(codes[rows]).long()[:, :, None], memory)
            audio[rows] = made[:, 0].cpu().numpy()
            self._scatter(rows, memory)
        return audio


def load_mimi(path: Path, config: MimiConfig = MIMI, n_codebooks: int = CODEBOOKS, device: str = "cpu") -> MimiCodec:
    """The codec in Kyutai's safetensors file. InputError: it is missing, cut, or not of this configuration."""
    if not 2 <= n_codebooks <= config.quantizer.n_q:
        raise InputError(f"{path} has {config.quantizer.n_q} codebooks; {n_codebooks} are asked for")
    net = meta_net(config, n_codebooks)
    try:
        tensors = {_renamed(name): tensor.float() for name, tensor in load_file(path, device=device).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    wanted = {name: list(tensor.shape) for name, tensor in net.state_dict().items()}
    faults = [f"{name} is missing" for name in wanted.keys() - tensors.keys()]
    faults += [f"{name} is not this codec's" for name in tensors.keys() - wanted.keys()]
    faults += [
        f"{name} is {list(tensors[name].shape)}, not {shape}"
        for name, shape in wanted.items()
        if name in tensors and list(tensors[name].shape) != shape
    ]
    if faults:
        raise InputError(f"{path} is no such Mimi, {len(faults)} tensors: {'; '.join(sorted(faults)[:3])}")
    net.load_state_dict(tensors, assign=True)
    return MimiCodec(net, config, f"mimi:{sha256_of(path)[:12]}", together=device != "cpu")


def save_mimi(net: MimiNet, path: Path) -> None:
    """Write the network as Kyutai's code reads it."""
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)


def meta_net(config: MimiConfig, n_codebooks: int) -> MimiNet:
    """The network without numbers."""
    with torch.device("meta"):
        return MimiNet(config, n_codebooks)


def _renamed(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = re.sub(old, new, name)
    return name
