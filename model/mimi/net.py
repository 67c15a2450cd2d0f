"""Mimi's network (arXiv 2410.00037, section 3.3): sound to a sum of codebook entries, and back.

The first codebook stands alone, beside the others: it was taught words, they carry what is left of the sound.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.mimi.config import MimiConfig, QuantizerConfig
from model.mimi.layers import Conv, ConvTranspose, Memory, Seanet, Transformer


class Book(nn.Module):
    """One codebook, as sums over the frames that chose an entry and how many did."""

    def __init__(self, c: QuantizerConfig) -> None:
        super().__init__()
        self.register_buffer("embedding_sum", torch.zeros(c.bins, c.dimension))
        self.register_buffer("cluster_usage", torch.ones(c.bins))
        self.register_buffer("_initialized", torch.ones(1))

    def entries(self) -> Tensor:
        """[bins, dimension]."""
        total, usage = self.get_buffer("embedding_sum"), self.get_buffer("cluster_usage")
        return total / usage.clamp(min=1e-5)[:, None]


class Residuals(nn.Module):
    """Books one after the other, each for what those before left over."""

    def __init__(self, c: QuantizerConfig, dimension: int, n: int) -> None:
        super().__init__()
        self.input_proj = nn.Conv1d(dimension, c.dimension, 1, bias=False)
        self.output_proj = nn.Conv1d(c.dimension, dimension, 1, bias=False)
        self.vq = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict({"_codebook": Book(c)}) for _ in range(n))})

    def books(self, n: int) -> list[Tensor]:
        layers = self.vq["layers"]
        return [layer["_codebook"].entries() for layer, _ in zip(layers, range(n), strict=False)]  # type: ignore[call-overload]

    def encode(self, x: Tensor, books: Sequence[Tensor]) -> list[Tensor]:
        """Codes [B, T] of each book for x [B, dimension, T]."""
        left, codes = self.input_proj(x).transpose(1, 2), []
        for book in books:
            nearest = (book.square().sum(1) - 2 * left @ book.T).argmin(-1)
            codes.append(nearest)
            left = left - book[nearest]
        return codes

    def decode(self, codes: Tensor, books: Sequence[Tensor]) -> Tensor:
        """[B, dimension, T] of codes [B, K, T]."""
        total = sum((book[code] for book, code in zip(books, codes.unbind(1), strict=True)), start=torch.zeros(()))
        y: Tensor = self.output_proj(total.transpose(1, 2))
        return y


class MimiNet(nn.Module):
    """Sound [B, 1, T * frame_size] to codes [B, n_codebooks, T] and back."""

    def __init__(self, c: MimiConfig, n_codebooks: int) -> None:
        super().__init__()
        dim = c.seanet.dimension
        self.n_codebooks = n_codebooks
        self.encoder, self.decoder = Seanet(c.seanet, decoder=False), Seanet(c.seanet, decoder=True)
        self.encoder_transformer, self.decoder_transformer = Transformer(c.transformer), Transformer(c.transformer)
        self.downsample = nn.ModuleDict({"conv": Conv(dim, dim, 2 * c.stride, c.stride, replicate=True)})
        self.upsample = nn.ModuleDict({"convtr": ConvTranspose(dim, dim, c.stride, groups=dim)})
        shares = {"rvq_first": 1, "rvq_rest": c.quantizer.n_q - 1}
        self.quantizer = nn.ModuleDict({name: Residuals(c.quantizer, dim, n) for name, n in shares.items()})
        self._books: tuple[list[Tensor], list[Tensor]] | None = None

    @torch.no_grad()
    def encode(self, sound: Tensor, memory: Memory) -> Tensor:
        x = self.encoder_transformer(self.encoder(sound, memory), memory)
        x = self.downsample["conv"](x, memory)
        pairs = zip(self.quantizer.values(), self.books(), strict=True)
        return torch.stack([code for part, books in pairs for code in part.encode(x, books)], 1)  # type: ignore[operator]

    @torch.no_grad()
    def decode(self, codes: Tensor, memory: Memory) -> Tensor:
        shares = (codes[:, :1], codes[:, 1:])
        parts = zip(self.quantizer.values(), shares, self.books(), strict=True)
        x = torch.stack([part.decode(share, books) for part, share, books in parts]).sum(0)  # type: ignore[operator]
        x = self.decoder_transformer(self.upsample["convtr"](x, memory), memory)
        y: Tensor = self.decoder(x, memory)
        return y

    def books(self) -> tuple[list[Tensor], list[Tensor]]:
        """The entries of the first book and of the others that are used; worked out once."""
        if self._books is None:
            first, rest = self.quantizer.values()
            self._books = (first.books(1), rest.books(self.n_codebooks - 1))  # type: ignore[operator]
        return self._books
