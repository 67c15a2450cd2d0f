"""What makes a value a record: frozen, typed, finite, and one line of JSON with a schema number.

Each record is written as one JSON object whose `record` key names its kind and schema ("score/1"). Unknown keys,
wrong types and other schemas are errors.
"""

import math
from typing import Any, TypeVar, cast

import msgspec

from protocols.errors import InputError


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a record. Frozen and compared by value; floats are finite."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if type(value) is float and not math.isfinite(value):
                raise ValueError(f"{type(self).__name__}.{name} is {value}; give None and a reason instead")


class Record(Value, frozen=True, forbid_unknown_fields=True, tag_field="record"):
    """A line of a run's files."""


R = TypeVar("R", bound=Record)


def to_json(record: Record) -> bytes:
    """One line of JSON, keys in order of declaration, without a line break."""
    return msgspec.json.encode(record)


def from_json(data: bytes | str, kind: type[R]) -> R:
    """Read one record of the given kind. Raises InputError that says what is wrong and where."""
    try:
        return _decoder(kind).decode(data)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not a {kind.__name__} ({tag(kind)}): {error}") from error


def tag(kind: type[Record]) -> str:
    """Kind and schema number as written into the file, e.g. "score/1"."""
    return cast(str, kind.__struct_config__.tag)


_decoders: dict[type[Record], Any] = {}


def _decoder(kind: type[R]) -> msgspec.json.Decoder[R]:
    if kind not in _decoders:
        _decoders[kind] = msgspec.json.Decoder(kind)
    return cast("msgspec.json.Decoder[R]", _decoders[kind])
