"""What a model says of each reply: log-probability and count, per stream and per part of the reply.

Sums are kept apart by stream and by whether the frame lies past the end of the pair's shorter reply, so every choice
of streams, padding policy and length rule is a later reduction, and stored reference sums outlive a change of it.

The streams are the text's words, the text's padding, the semantic codebook, the acoustic ones, and `timing`: every
text frame again, reduced to whether PAD was said or anything else (the speak/silent projection of ASPIRin, arXiv
2604.10065). The end-of-padding token, like PAD, counts as padding, but in `timing` it is speech: it is where the agent
takes the turn, and the word after it is then nearly certain.

Only the reply's own frames count, from the diverging frame on: the user's codes never do, nor a frame whose token is
unknown, nor a last frame whose delayed codes were never predicted. Which loss is made of it is not known here.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.align.attention import Backend, attend_packed
from model.align.packing import Packed
from model.lm import DuplexLM

Stream = Literal["words", "padding", "semantic", "acoustic", "timing"]
STREAMS: tuple[Stream, ...] = ("words", "padding", "semantic", "acoustic", "timing")
WORDS, PADDING, SEMANTIC, ACOUSTIC, TIMING = range(5)
CHUNK = 256  # rows whose logits exist at a time


class StreamLogProbs(NamedTuple):
    """[branches, 2, streams]: sums and token counts, first up to the shorter reply's length, then beyond it."""

    sums: Tensor
    counts: Tensor


class Way(NamedTuple):
    """How a forward is computed. Part of what makes two log-probabilities comparable."""

    backend: Backend
    text: bool  # run the text head
    audio: bool  # run the depth transformer
    precision: Literal["float32", "bfloat16"] = "float32"

    def arithmetic(self, device: torch.device) -> AbstractContextManager[object]:
        return torch.autocast(device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()


def stream_log_probs(model: DuplexLM, packed: Packed, way: Way) -> StreamLogProbs:
    """One forward over packed rows. Streams that were not asked for have sums and counts of 0."""
    device, layout = model.norm.device, packed.layout
    with way.arithmetic(device):
        attend = attend_packed(model.config, layout, way.backend, device)
        hidden = model.hidden(packed.inputs, attend)[0]  # [N, dim]
        pieces = []
        if way.text:
            pieces.append(_text(model, packed, hidden))
        if way.audio:
            pieces.append(_audio(model, packed, hidden))
    log_probs = torch.cat([piece.log_probs for piece in pieces])
    cells = torch.cat([piece.cells for piece in pieces])
    shape = (len(layout.branches), 2, len(STREAMS))
    empty = log_probs.new_zeros(len(layout.branches) * 2 * len(STREAMS))
    sums, counts = (empty.index_add(0, cells, x).view(shape) for x in (log_probs, torch.ones_like(log_probs)))
    return StreamLogProbs(sums, counts)


class Scorer(nn.Module):
    """`stream_log_probs` of one model, as a module: what is done before and after all of a forward hangs on it."""

    def __init__(self, lm: DuplexLM) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, packed: Packed, way: Way) -> StreamLogProbs:
        sums, counts = stream_log_probs(self.lm, packed, way)
        return StreamLogProbs(sums.clone(), counts)  # FSDP hooks the result, which must not be a view


def count_tokens(model: DuplexLM, packed: Packed, way: Way) -> Tensor:
    """The counts alone, without a forward: [branches, 2, streams]."""
    cells = []
    if way.text:
        kinds = _text_kinds(model, packed)
        cells += [_cells(packed, 0, kind) for kind in (kinds, TIMING)]
    if way.audio:
        cells += [_cells(packed, 1 + book, ACOUSTIC if book else SEMANTIC) for book in range(model.config.dep_q)]
    size = len(packed.layout.branches) * 2 * len(STREAMS)
    return torch.cat(cells).bincount(minlength=size).view(-1, 2, len(STREAMS)).to(torch.float32)


class _Piece(NamedTuple):
    log_probs: Tensor  # [n], of scored tokens
    cells: Tensor  # int64 [n], which sum each belongs to


def _text(model: DuplexLM, packed: Packed, hidden: Tensor) -> _Piece:
    rows = packed.scored[0]
    target, pad = packed.targets[0][rows], model.config.existing_text_padding_id

    def score(part: Tensor, wanted: Tensor) -> Tensor:
        logits = _wide(model.text_head(part))
        whole = logits.logsumexp(-1)
        spoken = logits.index_fill(1, torch.tensor([pad], device=part.device), -torch.inf).logsumexp(-1)
        token = logits.gather(1, wanted[:, None])[:, 0]
        return torch.stack([token, torch.where(wanted == pad, logits[:, pad], spoken)], 1) - whole[:, None]

    scores = _in_chunks(score, hidden[rows], target, model.checkpointing)  # [n, 2]
    kinds = _text_kinds(model, packed)
    cells = [_cells(packed, 0, kind) for kind in (kinds, TIMING)]
    return _Piece(scores.T.flatten(), torch.cat(cells))


def _audio(model: DuplexLM, packed: Packed, hidden: Tensor) -> _Piece:
    books = model.config.dep_q

    def score(part: Tensor, wanted: Tensor) -> Tensor:
        logits = _wide(model.depth(part, wanted[:, :books], model.checkpointing))  # [n, books, card]
        token = logits.gather(2, wanted[:, 1:, None].clamp(min=0, max=logits.shape[2] - 1))
        return token[:, :, 0] - logits.logsumexp(-1)

    scores = _in_chunks(score, hidden, packed.targets.T, checkpointing=False)  # [N, books]
    kept = [scores[packed.scored[1 + book], book] for book in range(books)]
    cells = [_cells(packed, 1 + book, ACOUSTIC if book else SEMANTIC) for book in range(books)]
    return _Piece(torch.cat(kept), torch.cat(cells))


def _cells(packed: Packed, stream: int, kind: Tensor | int) -> Tensor:
    rows = packed.scored[stream]
    part = packed.branch[rows] * 2 + packed.beyond[stream][rows].long()
    return part * len(STREAMS) + kind


def _text_kinds(model: DuplexLM, packed: Packed) -> Tensor:
    target, config = packed.targets[0][packed.scored[0]], model.config
    silent = (target == config.existing_text_padding_id) | (target == config.existing_text_end_padding_id)
    return torch.where(silent, PADDING, WORDS)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _in_chunks(score: Callable[[Tensor, Tensor], Tensor], rows: Tensor, wanted: Tensor, checkpointing: bool) -> Tensor:
    run = partial(checkpoint, score, use_reentrant=False, preserve_rng_state=False) if checkpointing else score
    return torch.cat([run(*part) for part in zip(torch.split(rows, CHUNK), torch.split(wanted, CHUNK), strict=True)])
