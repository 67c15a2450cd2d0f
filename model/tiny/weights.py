"""Reading and writing the codec's one file of weights: safetensors, half precision, with how it was made inside.

The one non-obvious decision: a file is taken whole or not at all. Every tensor must be there with its shape and be
finite, so a cut, foreign or half-trained file gives one clear error when it is loaded, never a strange voice later.
This file does not know what the tensors mean.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocols.errors import InputError

FORMAT = "duologue-tiny-codec/1"
_HINT = "reinstall duologue, or train a new one with model.tiny.train_codec"


class Weights(NamedTuple):
    """What a file of weights holds."""

    tensors: dict[str, npt.NDArray[np.float32]]
    recipe: dict[str, object]  # configuration, seed, sources and hash of the training speech
    sha256: str  # of the file


def read_weights(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """The tensors named in `shapes`, as float32; InputError if the file is missing, cut, foreign or incomplete."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise InputError("safetensors is not installed; pip install 'duologue[model]'") from error
    if not path.is_file():
        raise InputError(f"no codec weights at {path}; {_HINT}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if FORMAT not in metadata:
                raise InputError(f"{path} is not a {FORMAT} file; {_HINT}")
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            recipe = json.loads(metadata[FORMAT])
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as codec weights ({error}); {_HINT}") from error
    _check(path, tensors, shapes)
    return Weights(tensors, recipe, hashlib.sha256(path.read_bytes()).hexdigest())


def write_weights(path: Path, tensors: Mapping[str, npt.NDArray[np.float32]], recipe: Mapping[str, object]) -> None:
    """Writes tensors in half precision; `recipe` says how they were made and must fit in JSON."""
    from safetensors.numpy import save_file

    metadata = {FORMAT: json.dumps(recipe, sort_keys=True)}  # one entry: safetensors writes several in any order
    halves = {name: np.ascontiguousarray(tensor, dtype=np.float16) for name, tensor in tensors.items()}
    part = path.with_suffix(".part")
    save_file(halves, part, metadata)
    part.replace(path)


def _check(path: Path, tensors: Mapping[str, npt.NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in tensors:
            raise InputError(f"{path} lacks the tensor {name!r}; {_HINT}")
        if tensors[name].shape != shape:
            raise InputError(f"{path}: {name} has shape {list(tensors[name].shape)}, not {list(shape)}; {_HINT}")
        if not np.isfinite(tensors[name]).all():
            raise InputError(f"{path}: {name} holds values that are not numbers; {_HINT}")
    if extra := sorted(set(tensors) - set(shapes)):
        raise InputError(f"{path} holds tensors this version does not know: {', '.join(extra)}; {_HINT}")
