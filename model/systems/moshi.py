"""`moshi:PATH_OR_REPO[@LORA]`: a checkpoint of Kyutai's family in this process, with Mimi, on a GPU where there is one.

The numbers of a talk are those of Kyutai's own code: the language model's (`model.lm`), Mimi's (`model.mimi`), and
which frame of the user stands beside which of the agent's. Their server throws a talk's first frame away and begins to
encode with the second; so does this.

The one non-obvious decision: how many talks run at once is what fits. A talk of seven billion parameters keeps keys
and values of 1.6 GB in bfloat16; half of what the weights leave goes to talks, at most `SLOTS` of them. A model that
does not fit is refused before a weight is read. On a processor one step of Moshi takes far longer than a frame, which
the simulated clock does not mind.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from model.codec import Codec
from model.lm import Decoding, DuplexLM, LMConfig, load_weights
from model.lm_kyutai import tensors_of
from model.mimi.codec import load_mimi
from model.moshi_files import GET, LoRAFile, MoshiFiles, find_files
from model.spoken_grid import Spell, grid_layout
from model.systems.multistream import MultistreamSystem, Speech, fits
from protocols.errors import InputError, unknown_name
from protocols.replies import GridLayout
from protocols.store import sha256_of

SLOTS = 16
OPTIONS = (*Decoding.__dataclass_fields__, "greeting", "slots")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's mark of a word's beginning


class MoshiSystem(MultistreamSystem):
    """`options`: fields of `Decoding`, `greeting` (0: silent until the user is heard) and `slots`."""

    def __init__(self, place: str, options: Mapping[str, float] = {}) -> None:
        for key in options:
            if key not in OPTIONS:
                raise unknown_name("option of moshi", key, OPTIONS)
        chosen = {key: int(value) if key.endswith("top_k") else value for key, value in options.items()}
        greeting, slots = bool(chosen.pop("greeting", 1)), int(chosen.pop("slots", 0))
        files = find_files(place)
        device, dtype = best_device()
        needs, room = needs_of(files.config, dtype), room_on(device)
        if needs.weights + needs.talk > room:
            raise InputError(f"moshi:{place} takes {needs.text}; {device} has {_size(room)}")
        slots = slots or slots_that_fit(needs, room)
        self.size = f"{needs.text}; {slots} at once on {device} in {str(dtype).removeprefix('torch.')}"
        speech = load_speech(files, device, dtype)
        super().__init__(f"moshi:{place}", speech, Decoding(**chosen), slots, greeting)  # type: ignore[arg-type]


def best_device() -> tuple[str, torch.dtype]:
    """A GPU in bfloat16, as Kyutai's server runs; a processor in float32, as it is no slower there."""
    return ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)


def load_speech(files: MoshiFiles, device: str, dtype: torch.dtype) -> Speech:
    """Everything a talk needs. InputError says which file is not as expected."""
    pieces = read_pieces(files.tokenizer, files.config)
    lm = load_weights(files.config, files.weights, dtype, device)
    version = sha256_of(files.weights)[:12]
    if files.lora:
        add_adapters(lm, files.lora)
        version += f"+{sha256_of(files.lora.path)[:12]}"
    heard = files.config.n_q - files.config.dep_q
    if heard != files.config.dep_q:
        raise InputError(
            f"{files.weights} hears {heard} codebooks and speaks {files.config.dep_q}; Mimi gives one number"
        )
    codec = load_mimi(files.mimi, files.mimi_config, files.config.dep_q, device)
    fits(lm, codec, str(files.weights))
    return Speech(lm, codec, pieces, f"{version},{codec.source}", skip_first=True)


class MoshiGrid(NamedTuple):
    """A checkpoint's token grid, and what writes into it."""

    layout: GridLayout
    codec: Codec
    spell: Spell
    end_of_padding: int


def read_grid(place: str) -> MoshiGrid:
    """The grid of PATH_OR_REPO[@LORA]; the language model is not loaded."""
    files = find_files(place)
    codec = load_mimi(files.mimi, files.mimi_config, files.config.dep_q)
    read_pieces(files.tokenizer, files.config)
    from sentencepiece import SentencePieceProcessor

    model, config = SentencePieceProcessor(model_file=str(files.tokenizer)), files.config
    layout = grid_layout(codec, config.existing_text_padding_id, config.text_card, config.delays)
    return MoshiGrid(layout, codec, model.encode, config.existing_text_end_padding_id)


def read_pieces(path: Path, config: LMConfig) -> tuple[bytes, ...]:
    """UTF-8 of every text token of a SentencePiece model; empty for padding, control symbols and the unknown."""
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise InputError(f"moshi needs sentencepiece; {GET}") from error
    try:
        model = SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} is no SentencePiece model: {error}") from error
    n = model.get_piece_size()
    if n > config.text_card:
        raise InputError(f"{path} has {n} tokens for a text vocabulary of {config.text_card}")
    silent = {config.existing_text_padding_id, config.existing_text_end_padding_id}

    def text(token: int) -> bytes:
        if token >= n or token in silent or model.is_control(token) or model.is_unknown(token):
            return b""
        piece: str = model.id_to_piece(token)
        return bytes([int(piece[1:-1], 16)]) if model.is_byte(token) else piece.replace(SPACE, " ").encode()

    return tuple(text(token) for token in range(config.text_card))


def add_adapters(lm: DuplexLM, lora: LoRAFile) -> None:
    """Merge a LoRA file of Kyutai's names into the weights; whole tensors in it (embeddings) take their places.

    InputError: it cannot be read, or holds what this model has not; then the model is of no use.
    """
    try:
        with safe_open(lora.path, "pt") as file:
            left = set(file.keys())
            for name, parameter in lm.named_parameters():
                places = tensors_of({name: parameter.shape})[name]
                for part, (key, shape) in zip(parameter.data.view(len(places), *next(iter(places.values()))),
                                              places.items(), strict=True):  # fmt: skip
                    down, up = (f"{key.removesuffix('.weight')}.lora_{x}.weight" for x in "AB")
                    if key in left:
                        part.copy_(_fitting(file.get_tensor(key), shape, lora, key))
                        left.remove(key)
                    if {down, up} <= left:
                        change = file.get_tensor(up).float() @ file.get_tensor(down).float()
                        part += (lora.scaling * _fitting(change, shape, lora, down)).to(part)
                        left -= {down, up}
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{lora.path} cannot be read as adapters: {error}") from error
    if left:
        raise InputError(f"{lora.path} holds {len(left)} tensors that this model has not, such as {min(left)}")


def _fitting(tensor: torch.Tensor, shape: torch.Size, lora: LoRAFile, key: str) -> torch.Tensor:
    if tensor.shape != shape:
        raise InputError(f"{lora.path}: {key} makes a change of {list(tensor.shape)}, not {list(shape)}")
    return tensor


class Needs(NamedTuple):
    """What a language model takes, in bytes."""

    parameters: int
    weights: int
    talk: int  # keys and values of one

    @property
    def text(self) -> str:
        millions = f"{self.parameters / 1e6:,.1f} M parameters"
        return f"{millions}, {_size(self.weights)} of weights, {_size(self.talk)} for a talk"


def _size(n: int) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB"


def needs_of(config: LMConfig, dtype: torch.dtype) -> Needs:
    """Counted on the meta device: nothing is loaded."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in DuplexLM(config).parameters())
    width = dtype.itemsize
    return Needs(parameters, parameters * width, 2 * config.num_layers * config.context * config.dim * width)


def slots_that_fit(needs: Needs, room: int) -> int:
    """Talks in half of what the weights leave: at least one, at most `SLOTS`."""
    return max(1, min(SLOTS, (room - needs.weights) // 2 // needs.talk))


def room_on(device: str) -> int:
    """Bytes that are free on a GPU; the memory of this machine on a processor, where what is free says little."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
