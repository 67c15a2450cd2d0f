"""Token arrays of a safetensors file that stay in the file: the system reads pages when they are used, and drops them.

So a data set larger than memory can be trained on, and several processes on one machine share what they have read.
The library checks the file's header; it offers no mapped arrays, hence the few lines on its layout here. The arrays
cannot be written to, and the file must not be cut while they are in use.
"""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from protocols.errors import InputError


class _Tensor(msgspec.Struct):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def mapped_tokens(path: Path) -> dict[str, npt.NDArray[np.int16]]:
    """Every array of the file by name. InputError: it cannot be read, or holds something else than int16."""
    try:
        with safe_open(path, "np"):
            pass  # its header agrees with its length
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        header.pop("__metadata__", None)
        about = {name: msgspec.json.decode(raw, type=_Tensor) for name, raw in header.items()}
        data = np.memmap(path, np.uint8, "r", 8 + length) if any(0 not in x.shape for x in about.values()) else None
    except (OSError, SafetensorError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    found = {}
    for name, tensor in about.items():
        if tensor.dtype != "I16":
            raise InputError(f"{path}: {name} is {tensor.dtype}; tokens are int16")
        start, end = tensor.data_offsets
        cut = np.zeros(0, np.uint8) if data is None else data[start:end]
        found[name] = np.asarray(cut).view(np.int16).reshape(tensor.shape)
    return found
