"""Where the parts of one of Kyutai's checkpoints lie: a local folder, or a repository of the Hugging Face hub.

A checkpoint is config.json, the language model's weights, Mimi's weights and a SentencePiece model; config.json may
name each of them, also as `file:///abs/path` or `hf://owner/repo/name`, and a repository of adapters names its base so.
A place without config.json is Moshi as it was first published. Nothing but small JSON files is read here; the hub is
asked only for what does not lie in a folder, and keeps its own cache.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from model.lm_kyutai import MOSHI, WEIGHTS, LMConfig, read_json
from model.mimi.config import MimiConfig, read_mimi_config
from protocols.errors import InputError

MIMI = "tokenizer-e351c8d8-checkpoint125.safetensors"
TOKENIZER = "tokenizer_spm_32k_3.model"
LORA = "lora.safetensors"
WHOLE = "consolidated.safetensors"  # what moshi-finetune writes when it trained without adapters
REPOSITORY = r"[\w.-]+/[\w.-]+"
GET = "pip install -e '.[moshi]'"

Find = Callable[[str], Path]  # a file of a checkpoint, by its name there


class LoRAFile(NamedTuple):
    """Adapters over the weights, or other weights in their places."""

    path: Path
    scaling: float


class MoshiFiles(NamedTuple):
    config: LMConfig
    weights: Path
    mimi: Path
    mimi_config: MimiConfig
    tokenizer: Path
    lora: LoRAFile | None


def find_files(place: str) -> MoshiFiles:
    """The files of PATH_OR_REPO[@LORA]; LORA is a folder with config.json and lora.safetensors (or all weights, as
    moshi-finetune writes them), that file, or a repository. InputError: something is not there or not what it should
    be."""
    base, lora = _split(place)
    find = _finder(base)
    data = _config(find, base)
    own = data.pop("lora", None)
    named = data.get("lora_name") if own else None
    adapters = LoRAFile(find(str(named)), _scaling(data)) if named else None
    if own and not named and not lora:
        raise InputError(f"{base} says that it has adapters and does not name them; give {place}@LORA")
    mimi_config = data.get("mimi_config_name")
    return MoshiFiles(
        config=LMConfig.from_kyutai(data, f"{base}/config.json") if data else MOSHI,
        weights=find(str(data.get("moshi_name", WEIGHTS))),
        mimi=find(str(data.get("mimi_name", MIMI))),
        mimi_config=read_mimi_config(find(str(mimi_config))) if mimi_config else MimiConfig(),
        tokenizer=find(str(data.get("tokenizer_name", TOKENIZER))),
        lora=_lora(lora) if lora else adapters,
    )


def shape_of(place: str) -> LMConfig:
    """The language model's shape; of all files only config.json is fetched."""
    base, _ = _split(place)
    data = _config(_finder(base), base)
    data.pop("lora", None)
    return LMConfig.from_kyutai(data, f"{base}/config.json") if data else MOSHI


def _split(place: str) -> tuple[str, str]:
    if Path(place).expanduser().exists():
        return place, ""
    base, _, lora = place.rpartition("@") if "@" in place else (place, "", "")
    return base, lora


def _finder(place: str) -> Find:
    folder = Path(place).expanduser()
    if folder.is_dir():
        return partial(_find, lambda name: _local(folder / name))
    if re.fullmatch(REPOSITORY, place) and not place.startswith("."):
        return partial(_find, partial(_download, place))
    raise InputError(f"{place} is no folder, and no name of a repository such as kyutai/moshiko-pytorch-bf16")


def _find(inside: Find, name: str) -> Path:
    if name.startswith("file://"):
        return _local(Path(name.removeprefix("file://")))
    if name.startswith("hf://"):
        owner, repository, *rest = name.removeprefix("hf://").split("/")
        return _download(f"{owner}/{repository}", "/".join(rest))
    return inside(name)


def _local(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{path} is missing")
    return path


class _Absent(InputError):
    """A repository is there and has no such file."""


def _download(repository: str, name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise InputError(f"{repository} is no folder; to fetch it from the hub: {GET}") from error
    try:
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # the hub, the net and the disk raise many kinds
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            raise _Absent(f"{repository} has no {name}") from error
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{repository} is no folder, and {name} could not be had from the hub ({why[0]}); without internet, "
            "download the repository elsewhere and name its folder"
        ) from error


def _config(find: Find, place: str) -> dict[str, Any]:
    """config.json; nothing where there is none, which is Moshi as first published."""
    folder = Path(place).expanduser()
    if folder.is_dir() and not (folder / "config.json").exists() and (folder / WEIGHTS).exists():
        return {}
    try:
        return read_json(find("config.json"))
    except _Absent:
        return {}


def _lora(place: str) -> LoRAFile:
    path = Path(place).expanduser()
    if path.is_file():
        return LoRAFile(path, _scaling(read_json(path.with_name("config.json"))))
    find = _finder(place)
    data = read_json(find("config.json"))
    usual = WHOLE if (path / WHOLE).is_file() else LORA
    return LoRAFile(find(str(data.get("lora_name", usual))), _scaling(data))


def _scaling(data: dict[str, Any]) -> float:
    """What the adapters' change is multiplied by; Kyutai's default where it is not said."""
    scaling = data.get("lora_scaling", 2.0)
    if not isinstance(scaling, int | float) or isinstance(scaling, bool):
        raise InputError(f"lora_scaling is {scaling!r}, no number")
    return float(scaling)
