"""The researcher's door: a password known to the database as an argon2 hash, a session, and a key for every form.

A session names the hash it was opened with, so a new password ends every older one. A form's key is made from the
session's cookie, which no other site and no rater can read. Wrong passwords are counted by address, so nobody who
guesses can shut the researcher out; the slowness of the hash, one at a time, limits many addresses together.
"""

import hashlib
import hmac
import time
from collections import OrderedDict

from fastapi import Request, Response

from app.study.access import RESEARCHER, Keys, is_password
from app.study.config import Study
from app.study.database import Database
from app.study.raters import study_row

DOOR = "/researcher"
WRONG = 5  # passwords of an address that may be wrong ...
WITHIN = 300.0  # ... in so many seconds
ADDRESSES = 10_000  # remembered


class Door:
    def __init__(self, study: Study, db: Database, keys: Keys) -> None:
        self._study, self._db, self._keys = study, db, keys
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()  # address -> when

    def is_shut_for(self, address: str) -> bool:
        """Whether too many passwords from an address were wrong lately."""
        since = time.monotonic() - WITHIN
        return sum(when > since for when in self._wrong.get(address, ())) >= WRONG

    def opens(self, password: str, address: str) -> bool:
        """Whether a password is right. It takes a while, as a hash is made to."""
        right = is_password(self._hash(), password)
        if not right:
            self._wrong[address] = [*self._wrong.pop(address, []), time.monotonic()][-WRONG:]
            if len(self._wrong) > ADDRESSES:
                self._wrong.popitem(last=False)
        return right

    def let_in(self, response: Response) -> None:
        self._keys.remember(response, RESEARCHER, self._session())

    def is_inside(self, request: Request) -> bool:
        """Whether a browser has given the password that is valid now."""
        said = self._keys.who(request, RESEARCHER)
        return said is not None and hmac.compare_digest(said.encode(), self._session().encode())

    def form_key(self, request: Request) -> str:
        """What a form of this session must bring back."""
        cookie = request.cookies.get(RESEARCHER, "")
        return hmac.new(cookie.encode(), b"a form of the researcher's", hashlib.sha256).hexdigest()

    def sent_by_us(self, request: Request, key: str) -> bool:
        return hmac.compare_digest(self.form_key(request).encode(), key.encode())

    def _session(self) -> str:
        return f"{self._study.name} {hashlib.sha256((self._hash() or '').encode()).hexdigest()[:16]}"

    def _hash(self) -> str | None:
        with self._db.read() as session:
            return study_row(session, self._study.name).password
