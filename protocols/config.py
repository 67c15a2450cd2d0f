"""Reading YAML into typed values, strictly: an unknown key is an error that names the nearest valid one."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from protocols.errors import InputError, unknown_name

T = TypeVar("T", bound=msgspec.Struct)


def read_yaml(path: Path, kind: type[T]) -> T:
    """One YAML file as a value of `kind`. Every fault is an InputError that names the file and the place."""
    return from_data(plain_yaml(path), kind, str(path))


def plain_yaml(path: Path) -> Any:
    """What one YAML file holds. InputError if it cannot be read, or is none."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error


def from_data(data: Any, kind: type[T], where: str) -> T:
    """Plain data (as YAML or JSON gives it) as a value of `kind`."""
    if isinstance(data, dict):
        known = {field.encode_name for field in msgspec.structs.fields(kind)}
        for key in data:
            if key not in known:
                raise InputError(f"{where}: {unknown_name('key', str(key), known)}")
    try:
        return msgspec.convert(data, kind)
    except (msgspec.ValidationError, TypeError) as error:
        raise InputError(f"{where}: {error}") from error
