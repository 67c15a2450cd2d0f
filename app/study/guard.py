"""What stands before every page of a study: headers that shut third parties out, and limits on what comes in.

One ASGI layer around the app. A request that changes something must come from a page of ours; it may be 64 kB long; and
an address may send only so many. Sound travels over the socket, which has its own rules in `app.live`.
"""

import time
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST = 65_536  # bytes of a body
PER_MINUTE, BURST = 300.0, 200.0  # requests of an address, which a class room may share
FREE = (".js", ".css", ".svg")  # the pages' own files are not counted: a page without them is broken
ADDRESSES = 10_000  # remembered
ECHO = "/live/echo"  # carries two seconds of sound and has its own limit
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src "
    "'self'; media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class TooLong(Exception):
    """A body over the limit."""


class Guard:
    def __init__(self, app: ASGIApp, origins: tuple[str, ...] = (), secure: bool = False) -> None:
        """`origins`: others than our own whose pages may send; `secure`: the page is served over TLS."""
        self._app, self._origins = app, origins
        self._headers = {**HEADERS, **({"Strict-Transport-Security": "max-age=31536000"} if secure else {})}
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> requests left, when

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused is not None:
            await refused(scope, receive, self._with_headers(send))
            return
        limit = None if scope["path"] == ECHO else LONGEST
        try:
            await self._app(scope, _at_most(limit, receive), self._with_headers(send))
        except TooLong:
            await PlainTextResponse("too long", 413)(scope, receive, self._with_headers(send))

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        address = (scope.get("client") or ("",))[0]
        if not scope["path"].endswith(FREE) and not self._allows(address):
            again = {"Retry-After": "10", "Refresh": "10"}  # the page comes back by itself
            return PlainTextResponse("too many requests; please wait a moment", 429, again)
        if scope["method"] in ("GET", "HEAD"):
            return None
        origin = headers.get("origin", "")
        if origin not in self._origins and (not origin or urlsplit(origin).netloc != headers.get("host")):
            return PlainTextResponse("only our own pages may send", 403)
        return None

    def _allows(self, address: str) -> bool:
        """Whether an address may send one more: a bucket that fills evenly."""
        now = time.monotonic()
        left, since = self._left.pop(address, (BURST, now))
        left = min(BURST, left + (now - since) * PER_MINUTE / 60)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        return sending


def _at_most(limit: int | None, receive: Receive) -> Receive:
    """A body that is cut off by TooLong where it goes over the limit."""
    if limit is None:
        return receive
    so_far = 0

    async def receiving() -> Any:
        nonlocal so_far
        message = await receive()
        so_far += len(message.get("body", b""))
        if so_far > limit:
            raise TooLong
        return message

    return receiving
