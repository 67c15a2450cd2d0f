"""Signed tokens: the right to open one connection of one talk.

A token names a talk and the number of the connection it is for, and nothing else: which system answers is known to
the server alone. It is spent when the first sound of its connection arrives; by then the page holds the next one.
So a token that was seen on the way is of no use, and a page that lost the answer can try again. A right has one
spelling: a token that decodes to the same bytes in other letters is refused like a forged one.

The age of a token is the wall clock's, which may jump. So age closes only talks that have not begun, for which a page
gets another token; and a token from the future is as good as new.
"""

import os
import secrets
import time
from pathlib import Path
from typing import NamedTuple

import itsdangerous

from protocols.errors import InputError, StoreError


class TokenRefused(InputError):
    """A token that opens nothing: forged, too old, used, or for a talk there is not."""


class Pass(NamedTuple):
    """What a token says."""

    talk: str
    connection: int  # 0 opens the talk, later ones go on with it


class Signer:
    def __init__(self, key: bytes, max_age: int = 3_600) -> None:
        self._max_age = max_age
        self._signer = itsdangerous.URLSafeTimedSerializer(key, salt="duologue talk")

    def sign(self, right: Pass) -> str:
        return self._signer.dumps([right.talk, right.connection])

    def read(self, token: str) -> Pass:
        """What a token says; TokenRefused if we did not sign it."""
        return self._read(token)[0]

    def refuse_old(self, token: str) -> None:
        """TokenRefused if we signed a token too long ago."""
        if self._read(token)[1] > self._max_age:
            raise TokenRefused("this link has expired; ask for a new one")

    def _read(self, token: str) -> tuple[Pass, float]:
        """What a token says, and its age in seconds."""
        try:
            if not _is_canonical(token):
                raise itsdangerous.BadSignature("not as we write it")
            (talk, connection), at = self._signer.loads(token, return_timestamp=True)
        except (itsdangerous.BadData, ValueError, TypeError) as error:
            raise TokenRefused("this link is not one of ours") from error
        return Pass(talk, connection), time.time() - at.timestamp()


def _is_canonical(token: str) -> bool:
    """Whether each part is base64 as we write it: unused bits of its last letter would give one right many texts."""
    return all(
        itsdangerous.base64_encode(itsdangerous.base64_decode(part)) == part.encode() for part in token.split(".")
    )


def new_talk_id() -> str:
    """An id that says nothing and cannot be guessed."""
    return secrets.token_hex(12)


def is_talk_id(text: str) -> bool:
    """Whether a text has the form of our ids; nothing else may name a folder."""
    return len(text) == 24 and set(text) <= set("0123456789abcdef")


def key_in(folder: Path) -> bytes:
    """The signing key of a folder, made at the first call, so that tokens outlive a restart."""
    path = folder / "key"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot keep the signing key {path}: {error.strerror}") from error
