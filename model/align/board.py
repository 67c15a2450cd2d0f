"""A training's figures for TensorBoard: an option, because the journal and the page of curves need no server.

Lines are those of the journal. Going on from a checkpoint hides what an earlier run wrote after it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from protocols.errors import InputError


class Board(Protocol):
    def __call__(self, line: Mapping[str, float]) -> None: ...


@contextmanager
def board(folder: Path, first_step: int) -> Iterator[Board]:
    """Takes lines from `first_step` on. InputError: the extra `tensorboard` is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("TensorBoard is not installed; pip install 'duologue[tensorboard]'") from error
    writer = SummaryWriter(str(folder), purge_step=first_step)

    def add(line: Mapping[str, float]) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, int(line["step"]))

    try:
        yield add
    finally:
        writer.close()
