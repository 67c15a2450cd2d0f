"""Many replies in one row: the trunks first, then every reply as a branch of its trunk.

    [ trunk 1 | trunk 2 | ... | chosen 1a | rejected 1a | chosen 1b | rejected 1b | chosen 2a | ... ]

Rows are what the model is given after delays and initial tokens: row c of a sequence holds column c of its delayed
codes and predicts column c + 1. A context of C frames is C rows of the trunk (columns 0 to C - 1). Column C is still
the same for both replies in the undelayed streams and already differs in none, but each branch holds its own copy of
it, because it predicts the reply's first frame: so a reply of R frames is exactly R rows, and every scored prediction
comes from a row of its branch. Codes of the context's last frames that a delay moves past column C are part of the
branch by the same rule, since the delays are applied to [context | reply] before it is cut.

All trunks stand before all branches, so that the last layer can drop them. There is no padding. Only attention needs
the layout; positions are those of the unpacked sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from model.align.data import Tokens, Trunk
from model.lm import NO_INPUT, DuplexLM

TRUNK = -1  # the branch that a trunk's rows belong to


class Branch(NamedTuple):
    start: int  # its first row
    length: int
    fork: int  # rows of its trunk that it follows


@dataclass(frozen=True)
class Tree:
    start: int
    length: int
    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Layout:
    """Which row is what. Rows from `trunk_rows` on are the branches', in order."""

    trees: tuple[Tree, ...]

    @cached_property
    def trunk_rows(self) -> int:
        return sum(tree.length for tree in self.trees)

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        return tuple(branch for tree in self.trees for branch in tree.branches)

    @cached_property
    def rows(self) -> int:
        return self.trunk_rows + sum(branch.length for branch in self.branches)


class RowIndex(NamedTuple):
    """Of every row, int64 [rows]: its tree, its branch, the rows of its trunk it may see, its position."""

    tree: Tensor
    branch: Tensor
    fork: Tensor
    position: Tensor

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """Whether rows `query` attend to rows `key`, broadcast: the one rule of this layout."""
        own = self.branch[key] == self.branch[query]
        below = (self.branch[key] == TRUNK) & (self.position[key] < self.fork[query])
        earlier = self.position[key] <= self.position[query]
        return (self.tree[key] == self.tree[query]) & earlier & (own | below)


class Packed(NamedTuple):
    """One forward's worth. N is the number of branch rows, `own` the streams the model speaks (text first)."""

    layout: Layout
    inputs: Tensor  # int64 [1, streams, rows]
    targets: Tensor  # int64 [own, N], what each branch row predicts
    scored: Tensor  # bool [own, N], the prediction is of a frame of the reply, and the frame is known
    branch: Tensor  # int64 [N]
    beyond: Tensor  # bool [own, N], the frame lies past the end of the pair's shorter reply


def index_rows(layout: Layout, device: torch.device) -> RowIndex:
    rows = torch.zeros(4, layout.rows, dtype=torch.long)
    number = 0
    for which, tree in enumerate(layout.trees):
        trunk = slice(tree.start, tree.start + tree.length)
        rows[:, trunk] = torch.tensor([which, TRUNK, 0, 0])[:, None]
        rows[3, trunk] = torch.arange(tree.length)
        for branch in tree.branches:
            own = slice(branch.start, branch.start + branch.length)
            rows[:, own] = torch.tensor([which, number, branch.fork, 0])[:, None]
            rows[3, own] = branch.fork + torch.arange(branch.length)
            number += 1
    return RowIndex(*rows.to(device))


def pack(model: DuplexLM, trunks: Sequence[Trunk]) -> Packed:
    """All pairs of these trunks in one row; branches in order of trunk and pair, chosen before rejected."""
    own, late = 1 + model.config.dep_q, torch.tensor(model.config.delays[: 1 + model.config.dep_q])[:, None]
    device, trees = model.norm.device, []
    stems = [model.delayed(_tensor(trunk.context))[:, :, :-1] for trunk in trunks]
    inputs, targets, scored, beyond = [*stems], list[Tensor](), list[Tensor](), list[Tensor]()
    owners: list[Tensor] = []
    start, row = 0, sum(stem.shape[2] for stem in stems)
    for trunk, stem in zip(trunks, stems, strict=True):
        branches = []
        for pair in trunk.pairs:
            fork, shared = pair.context.shape[1], min(reply.shape[1] for reply in pair.replies)
            for reply, given in zip(pair.replies, (0, pair.given), strict=True):
                columns = model.delayed(_tensor(pair.context, reply))
                target = columns[0, :own, fork + 1 :]
                frame = torch.arange(reply.shape[1]) - late  # of the reply, that each row predicts in each stream
                inputs.append(columns[:, :, fork:-1])
                targets.append(target)
                scored.append((frame >= given) & (target != NO_INPUT))
                beyond.append(frame >= shared)
                owners.append(torch.full((reply.shape[1],), len(owners)))
                branches.append(Branch(row, reply.shape[1], fork))
                row += reply.shape[1]
        trees.append(Tree(start, stem.shape[2], tuple(branches)))
        start += stem.shape[2]
    layout = Layout(tuple(trees))
    return Packed(layout, *(torch.cat(part, -1).to(device) for part in (inputs, targets, scored, owners, beyond)))


def _tensor(*parts: Tokens) -> Tensor:
    return torch.cat([torch.from_numpy(part.astype(np.int64)) for part in parts], 1)[None]
