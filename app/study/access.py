"""Who a browser is: a signed cookie for raters, another for the researcher, and the signed text of a link.

A cookie names a rater and nothing else. A personal link is the rater's own way back: opened again it leads to the same
rater, never to a second one. The study's open link makes a rater for each browser. The researcher's password is known
to the database as an argon2 hash only.
"""

import secrets
import time
from typing import NamedTuple

import argon2
import itsdangerous
from fastapi import Request, Response

from app.live.tokens import is_talk_id
from app.study.config import Role
from protocols.errors import InputError

RATER, RESEARCHER = "rater", "researcher"  # cookies
RATER_AGE = 30 * 86_400  # seconds
RESEARCHER_AGE = 12 * 3_600
OPEN = "open"  # what the study's own link says
PREVIEW = "preview"


class Link(NamedTuple):
    """What a link opens: a personal invitation by its id, or what `OPEN` and `PREVIEW` mean; and as whom."""

    invitation: str
    role: Role = "talker"


class Keys:
    """Signs and reads cookies and links."""

    def __init__(self, key: bytes, secure: bool) -> None:
        """`secure`: cookies travel over TLS only."""
        self._secure = secure
        self._signers = {
            what: itsdangerous.URLSafeTimedSerializer(key, salt=f"duologue {what}")
            for what in (RATER, RESEARCHER, "link")
        }

    def link(self, invitation: str, role: Role = "talker") -> str:
        """The text of a link, which says nothing of the study."""
        return self._signers["link"].dumps(invitation if role == "talker" else [invitation, role])

    def read_link(self, text: str) -> Link:
        """InputError for what we did not sign."""
        try:
            said = self._signers["link"].loads(text)
        except itsdangerous.BadData as error:
            raise InputError("this link is not one of ours; please check that it is whole") from error
        return Link(*said) if isinstance(said, list) else Link(str(said))

    def remember(self, response: Response, who: str, name: str) -> None:
        """Let a browser be somebody from now on."""
        age = RATER_AGE if who == RATER else RESEARCHER_AGE
        response.set_cookie(
            who, self._signers[who].dumps(name), max_age=age, httponly=True, samesite="lax", secure=self._secure
        )

    def who(self, request: Request, who: str) -> str | None:
        """Whom a browser was let be; None if nobody, or too long ago. A clock that was set back makes nobody forgotten:
        a cookie from the future is as good as new."""
        try:
            name, at = self._signers[who].loads(request.cookies.get(who, ""), return_timestamp=True)
        except itsdangerous.BadData:
            return None
        old = time.time() - at.timestamp() > (RATER_AGE if who == RATER else RESEARCHER_AGE)
        return name if isinstance(name, str) and not old else None


def new_password() -> str:
    return secrets.token_urlsafe(12)


def hash_password(password: str) -> str:
    return argon2.PasswordHasher().hash(password)


def is_password(hashed: str | None, password: str) -> bool:
    try:
        return hashed is not None and argon2.PasswordHasher().verify(hashed, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def is_form_key(text: object) -> bool:
    """Whether a text may be a form's key: the page makes them as we make talks' ids."""
    return isinstance(text, str) and is_talk_id(text)
