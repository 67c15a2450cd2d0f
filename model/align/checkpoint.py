"""A training's state on disk: whole or not there.

    checkpoints/step-00000050/state.safetensors   what is trained and its optimiser's moments
    checkpoints/step-00000050/state.json          the step, the best one so far, what the training is of

A checkpoint is written into a temporary folder and renamed, so one that has its name is complete, and a disk that
fills up takes nothing with it. The newest N and the best are kept. What is in the tensors, and whether a state fits
the training that wants it, is not decided here.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from protocols.base import Value
from protocols.errors import InputError, StoreError


class State(Value, frozen=True, forbid_unknown_fields=True):
    step: int
    config: dict[str, Any]  # resolved
    weights: str  # digest of the base model
    pairs: str  # digest of the training pairs and their order
    torch: str  # version
    best_step: int | None = None
    best_loss: float | None = None
    since_best: int = 0  # evaluations
    lengths: list[tuple[float, float]] = []  # what the length-bias alarm has seen


class Checkpoints:
    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder / "checkpoints", keep

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def steps(self) -> list[int]:
        """Of the checkpoints there are, oldest first."""
        return sorted(int(path.name[5:]) for path in self.folder.glob("step-*") if path.name[5:].isdigit())

    def save(self, state: State, tensors: Mapping[str, Tensor]) -> Path:
        """Write a checkpoint, then remove those that need not be kept. StoreError: it could not be written."""
        path, part = self.path(state.step), self.folder / f".step-{state.step:08d}.part"
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir(parents=True)
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, part / "state.safetensors")
            (part / "state.json").write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1))
            for file in part.iterdir():
                _flush(file)
            if path.exists():
                shutil.rmtree(path)
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            kept = f"the last checkpoint is {self.path(self.steps()[-1])}" if self.steps() else "there is no checkpoint"
            raise StoreError(f"{path} cannot be written: {error}; {kept}") from error
        for step in self.steps()[: -self.keep]:
            if step != state.best_step:
                shutil.rmtree(self.path(step))
        return path

    def load(self, step: int) -> tuple[State, dict[str, Tensor]]:
        """What `save` wrote. InputError: it cannot be read."""
        path = self.path(step)
        try:
            state = msgspec.json.decode((path / "state.json").read_bytes(), type=State)
            return state, load_file(path / "state.safetensors")
        except (OSError, SafetensorError, msgspec.MsgspecError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error


def changed_keys(old: Mapping[str, object], new: Mapping[str, object], section: str = "") -> list[str]:
    """Keys that differ and must not; where things lie and how often one looks may change."""
    free = {"data.pairs", "model.base", "model.device", "model.shard"}
    free |= {f"run.{key}" for key in ("folder", "reference", "keep", "save_every", "probe_every")}
    found: list[str] = []
    for key in new:
        name, before, after = f"{section}{key}", old.get(key), new[key]
        if isinstance(before, dict) and isinstance(after, dict):
            found += changed_keys(before, after, f"{name}.")
        elif before != after and name not in free:
            found.append(name)
    return found


def _flush(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
