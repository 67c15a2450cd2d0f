"""Rows to Parquet and back. The only place that knows pyarrow, which is loaded when a table is touched."""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from eval.pairs.marks import MarkedTurn
from eval.pairs.rows import PairRow, TalkRow
from eval.pairs.talks import Exclusion
from protocols.base import Value
from protocols.errors import InputError, StoreError

R = TypeVar("R", bound=Value)
HINT = "pyarrow is missing; pip install 'duologue[pairs]'"


def arrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(HINT) from error
    return pyarrow, pyarrow.parquet


@cache
def schema_of(kind: type[Value]) -> Any:
    """The Arrow schema of a row."""
    pa, _ = arrow()
    text, whole, real, data = pa.string(), pa.int32(), pa.float64(), pa.binary()
    words = pa.list_(pa.struct([("text", text), ("start", real), ("end", real)]))
    lines = pa.list_(pa.struct([("channel", text), ("start", real), ("end", real), ("text", text)]))
    cuts = pa.list_(pa.struct([("path", text), ("start", real), ("end", real), ("at", real)]))
    shown = pa.list_(pa.struct([("label", text), ("channel", text), ("start", real), ("end", real), ("source", text),
                                ("text", text)]))  # fmt: skip
    texts = pa.list_(text)
    columns: dict[type[Value], dict[str, Any]] = {
        TalkRow: {
            "talk": text, "split": text, "streams": whole, "window_start_frame": whole, "frames": whole, "tokens": data,
            "duration": real, "sound": text, "sound_sha256": text, "system": text, "lines": lines,
            "user_speech": pa.list_(pa.struct([("start", real), ("end", real)])),
        },
        PairRow: {
            "id": text, "talk": text, "split": text, "rank": whole, "kind": text, "faults": texts, "axes": texts,
            "strength": real, "diverges_at": real, "context_frames": whole, "context_sha256": text,
            "chosen_tokens": data, "rejected_tokens": data, "chosen_words": words, "rejected_words": words,
            "chosen_sound": cuts, "rejected_sound": cuts, "chosen_until": real, "rejected_until": real,
            "user_silent_from": real, "user_end": real, "chosen_latency": real, "rejected_latency": real,
            "turn": whole, "evidence": shown, "judges": texts, "writer": text, "voice": text, "seed": pa.int64(),
        },
        Exclusion: {"talk": text, "reason": text, "detail": text},
        MarkedTurn: {
            "talk": text, "turn": whole, "axis": text, "rater": text, "person": pa.bool_(), "critic": pa.bool_(),
            "source": text,
        },
    }  # fmt: skip
    return pa.schema(list(columns[kind].items()))


def write_rows(path: Path, rows: Sequence[Value], kind: type[Value]) -> None:
    """One Parquet file, whole or not at all."""
    pa, parquet = arrow()
    table = pa.Table.from_pylist([msgspec.to_builtins(row, builtin_types=(bytes,)) for row in rows], schema_of(kind))
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error}; what was written before is safe") from error


def read_rows(path: Path, kind: type[R]) -> Iterator[R]:
    """The rows of a file, a batch at a time."""
    pa, parquet = arrow()
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(256):
                yield from msgspec.convert(batch.to_pylist(), list[kind])  # type: ignore[valid-type]
    except (OSError, pa.ArrowInvalid, msgspec.ValidationError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Some columns of a file's rows; the others are not read from the disk."""
    pa, parquet = arrow()
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(4096, columns=list(columns)):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
