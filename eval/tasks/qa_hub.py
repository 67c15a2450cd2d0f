"""Question sets by their name on a hub, for users who are online: `NAME`, `NAME#SPLIT` or `NAME#CONFIG/SPLIT`.

The `datasets` library does the fetching and caching and is imported only here. Recordings that come inside the rows
are written as they are, undecoded, into our cache, so the rest of the house only ever sees files. Nothing is fetched
unless a hub name was given, and no set is ever copied into a run but for what was played.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.tasks.qa_tables import COLUMNS, Row, Table, items_of
from protocols.errors import InputError
from protocols.store import write_whole

GET = "`pip install 'duologue[hub]'`"


def read_hub(name: str, cache: Path) -> Table:
    """The questions of a set on the hub; InputError where it cannot be had."""
    rows = load_rows(name)
    folder = cache / hashlib.sha256(name.encode()).hexdigest()[:16]
    licence = str(rows.info.license or "") or "not stated"
    items = items_of(enumerate(_with_files(_undecoded(rows), folder), 1), f"hub:{name}")
    return Table(items, folder, f"{name}: licence on its card: {licence}")


def load_rows(name: str) -> Any:
    """The split as the library gives it."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(f"the library for hub names is missing; {GET}, or give the path of a file") from error
    place, _, part = name.partition("#")
    config, _, split = part.rpartition("/")
    try:
        return datasets.load_dataset(place, config or None, split=split or "test")
    except Exception as error:  # the library raises whatever its parts raise, offline and on a wrong name alike
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"cannot get {place!r} from the hub: {type(error).__name__}: {reason}. Check the name, that this machine "
            "is online (HF_HUB_OFFLINE unset), or give the path of a file"
        ) from error


def _undecoded(rows: Any) -> Iterable[Mapping[str, Any]]:
    """Rows whose recordings are bytes, so that no audio decoder is needed."""
    import datasets

    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Audio):
            rows = rows.cast_column(column, datasets.Audio(decode=False))
    found: Iterable[Mapping[str, Any]] = rows
    return found


def _with_files(rows: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[Row]:
    """Rows in which a recording is the name of a file in `folder`."""
    for row in rows:
        out = dict(row)
        for column, value in row.items():
            if column.strip().lower() in COLUMNS["sound"] and isinstance(value, Mapping):
                out[column] = _kept(value, folder)
        yield out


def _kept(sound: Mapping[str, Any], folder: Path) -> str:
    data, path = sound.get("bytes"), str(sound.get("path") or "sound.wav")
    if data is None:
        data = Path(path).read_bytes()  # a set that lies on this machine gives paths
    name = hashlib.sha256(data).hexdigest()[:32] + (Path(path).suffix or ".wav")
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, data)
    return name
