"""A talk's sound somewhere else than on the server's disk: at any URL that fsspec knows.

A talk is always recorded on the local disk, which a crash cannot outrun. Once its folder is closed, its sound is copied
to URL/TALK, read back and compared, and only then deleted here; `away.json` in the folder says where it is. `here`
brings a file back, checked by its hash, for whoever reads it. What cannot be sent stays and is tried again.
"""

import hashlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.live.folder import read_talk
from protocols.errors import InputError, StoreError
from protocols.store import sha256_of, write_whole

log = logging.getLogger("duologue.live")

FILE = "away.json"
SENT = ("heard.flac", "modelled.flac", "tokens.npy")  # what is large
AGAIN = 30.0  # seconds until what could not be sent is tried again


class Away(msgspec.Struct, frozen=True):
    """Where a talk's files are."""

    url: str
    files: dict[str, str]  # name -> SHA-256


def check_url(url: str) -> None:
    """InputError for a place that nothing can be sent to."""
    if urlsplit(url).password is not None:
        raise InputError("a password in --recordings would be written beside every talk; give it to fsspec by its "
                         "configuration or the environment")  # fmt: skip
    _place(url)


def send(folder: Path, url: str) -> bool:
    """Move the sound of a closed talk to URL/TALK; False if it is there already. StoreError: it is still here."""
    files = {name: sha256_of(folder / name) for name in SENT if (folder / name).is_file()}
    if (folder / FILE).exists() or read_talk(folder).status == "live" or not files:
        return False
    system, root = _place(url)
    there = f"{root}/{folder.name}"
    try:
        system.makedirs(there, exist_ok=True)
        for name, sha in files.items():
            with (folder / name).open("rb") as source, system.open(f"{there}/{name}", "wb") as target:
                shutil.copyfileobj(source, target)
            if _hash(system, f"{there}/{name}") != sha:
                raise StoreError(f"{name} of talk {folder.name} came to {url} damaged")
    except StoreError:
        raise
    except Exception as error:  # each kind of storage has its own
        raise StoreError(f"talk {folder.name} cannot be sent to {url}: {error}") from error
    write_whole(folder / FILE, msgspec.json.encode(Away(f"{url.rstrip('/')}/{folder.name}", files)))
    for name in files:
        (folder / name).unlink()
    return True


def here(path: Path) -> Path:
    """A file of a talk's folder, brought back if it was sent away. StoreError if it cannot be, or is damaged."""
    if path.exists() or not (path.parent / FILE).exists():
        return path
    away = _read(path.parent)
    if path.name not in away.files:
        return path
    system, there = _place(away.url)
    try:
        data = system.cat_file(f"{there}/{path.name}")
    except Exception as error:
        raise StoreError(f"cannot bring {path.name} back from {away.url}: {error}") from error
    if hashlib.sha256(data).hexdigest() != away.files[path.name]:
        raise StoreError(f"{path.name} at {away.url} is not what was sent there")
    write_whole(path, data)
    return path


def delete(folder: Path) -> None:
    """Delete what of a talk is elsewhere. StoreError if it is still there."""
    if not (folder / FILE).exists():
        return
    away = _read(folder)
    system, there = _place(away.url)
    try:
        with suppress(FileNotFoundError):
            system.rm(there, recursive=True)
    except Exception as error:
        raise StoreError(f"cannot delete {away.url}: {error}") from error


class Mover:
    """Sends talks away, one after the other, on a thread of its own."""

    def __init__(self, root: Path, url: str) -> None:
        check_url(url)
        self._root, self._url = root, url
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="sends recordings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """There may be a talk to be sent."""
        self._wake.set()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            waiting = send_all(self._root.glob("*/talk.json"), self._url, self._stop.is_set)
            self._wake.wait(AGAIN if waiting else None)


def send_all(records: Iterable[Path], url: str, stopped: Callable[[], bool]) -> int:
    """Send the talks of these records; how many could not be."""
    failed = 0
    for record in sorted(records):
        if stopped():
            break
        try:
            send(record.parent, url)
        except (StoreError, InputError, OSError) as error:
            failed += 1
            log.error("%s; it is kept here and tried again", error)
    return failed


def _read(folder: Path) -> Away:
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Away)
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{folder / FILE} does not say where the sound is: {error}") from error


def _place(url: str) -> tuple[Any, str]:
    """A file system and a path in it. InputError for a URL that names none."""
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} is no place for recordings: {error}") from error
    return system, root.rstrip("/")


def _hash(system: Any, path: str) -> str:
    with system.open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
