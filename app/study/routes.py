"""The rater's pages over HTTP: one address that always shows the next step, and a few that take what the page sends.

Every answer that comes back as done is committed. What goes wrong is one JSON object with words for the rater; where it
says `again`, nothing was stored and the page keeps what it has and sends it again by itself. Which arm a talk is with
appears in no address, no page and no answer.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse

from app.study.access import RATER, Keys
from app.study.calls import Calls
from app.study.desk import Desk, Gone
from app.study.views import is_phone, page, show
from protocols.errors import DuologueError, InputError, StoreError

log = logging.getLogger("duologue.study")

FOLDER = Path(__file__).parent / "page"
FILES = {"style.css": "text/css", "talk.css": "text/css", "page.js": "text/javascript",
         "replay.js": "text/javascript", "icon.svg": "image/svg+xml"}  # fmt: skip
HOME = "/study"
BUSY = "Your answers are safe on this page. They could not be stored yet; we try again by ourselves."


def add_routes(app: FastAPI, desk: Desk, calls: Calls, keys: Keys) -> None:
    """The pages of one study. `/` and `/join` are for who comes in, `/study` for who is in."""
    _add_doors(app, desk, keys)
    _add_steps(app, desk, calls, keys)


def _add_doors(app: FastAPI, desk: Desk, keys: Keys) -> None:
    study = desk.study

    @app.get("/")
    def root(request: Request) -> Response:
        if keys.who(request, RATER):
            return RedirectResponse(HOME, 303)
        return HTMLResponse(show("message", study, heading=study.title, text="To take part, open the link that you "
                                 "were given."))  # fmt: skip

    @app.get("/join")
    @app.get("/join/{link}")
    def join(request: Request, link: str = "") -> Response:
        phone = is_phone(request.headers.get("user-agent", ""))
        if phone and not study.phones and not desk.is_second(link):
            return HTMLResponse(show("phone", study))
        return _told(study, lambda: desk.welcome(link, dict(request.query_params), keys.who(request, RATER)))

    @app.post("/join")
    async def consent(request: Request) -> Response:
        said = await _json(request)
        return await _answer(_consent(desk, keys, said, keys.who(request, RATER)))


def _add_steps(app: FastAPI, desk: Desk, calls: Calls, keys: Keys) -> None:
    study = desk.study

    @app.get(HOME)
    async def step(request: Request) -> Response:
        rater = keys.who(request, RATER)
        if rater is None:
            return RedirectResponse("/", 303)
        try:
            going = await calls.going(rater)
            return HTMLResponse(page(await asyncio.to_thread(desk.where, rater, going)))
        except Gone as error:
            left = HTMLResponse(show("message", study, heading="This session has ended", text=str(error)), 410)
            left.delete_cookie(RATER)
            return left
        except StoreError as error:
            log.error("a page could not be shown: %s", error)
            return HTMLResponse(show("busy", study), 503, headers={"Retry-After": "3", "Refresh": "3"})

    @app.post("/study/talk")
    async def talk(request: Request) -> Response:
        return await _answer(_settings(calls, keys.who(request, RATER)))

    @app.post("/study/{kind}")
    async def take(request: Request, kind: str) -> Response:
        said = await _json(request)
        return await _answer(_taken(desk, calls, keys.who(request, RATER), kind, said))

    @app.get("/study/sound/{slot}")
    def sound(request: Request, slot: int) -> Response:
        try:
            return FileResponse(desk.sound(_known(keys.who(request, RATER)), slot), media_type="audio/flac")
        except InputError as error:
            return JSONResponse({"error": str(error)}, 404)
        except StoreError as error:
            log.error("a talk could not be played: %s", error)
            return JSONResponse({"error": BUSY, "again": True}, 503, headers={"Retry-After": "2"})

    @app.get("/study/{name}")
    def file(name: str) -> Response:
        if name not in FILES:
            return JSONResponse({"error": "there is no such page"}, 404)
        return Response((FOLDER / name).read_bytes(), media_type=FILES[name], headers={"Cache-Control": "no-cache"})


def _told(study: Any, make: Any) -> Response:
    """A page, or a plain one that says why not."""
    try:
        found = make()
    except InputError as error:
        return HTMLResponse(show("message", study, heading="This link does not work", text=str(error)), 403)
    except StoreError as error:
        log.error("a page could not be shown: %s", error)
        return HTMLResponse(show("busy", study), 503, headers={"Retry-After": "3", "Refresh": "3"})
    return RedirectResponse(HOME, 303) if found is None else HTMLResponse(found)


async def _consent(desk: Desk, keys: Keys, said: dict[str, Any], known: str | None) -> JSONResponse:
    rater = await asyncio.to_thread(desk.consent, said, known)
    if rater is None:
        return JSONResponse({"declined": True})
    answer = JSONResponse({"next": HOME})
    keys.remember(answer, RATER, rater)
    return answer


async def _settings(calls: Calls, rater: str | None) -> JSONResponse:
    return JSONResponse(await calls.open(_known(rater)))


async def _taken(desk: Desk, calls: Calls, rater: str | None, kind: str, said: dict[str, Any]) -> JSONResponse:
    voided = await asyncio.to_thread(desk.take, _known(rater), kind, said)
    if voided is not None:
        calls.live.void(voided, "the rater reported a technical problem")
    return JSONResponse({"next": HOME})


def _known(rater: str | None) -> str:
    if rater is None:
        raise InputError("this browser is not known any more; please open your link again")
    return rater


async def _json(request: Request) -> dict[str, Any]:
    """The object a page sends; an empty one for what is none, which no step accepts."""
    try:
        said = await request.json()
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


async def _answer(making: Any) -> Response:
    """What a page is told: done, or why not and whether to try again."""
    from app.study.answers import Incomplete

    try:
        made: Response = await making
    except Incomplete as error:
        return JSONResponse({"error": "Please answer every question.", "missing": error.missing}, 422)
    except StoreError as error:
        log.error("nothing was stored: %s", error)
        return JSONResponse({"error": BUSY, "again": True}, 503, headers={"Retry-After": "2"})
    except DuologueError as error:
        return JSONResponse({"error": str(error)}, 409)
    return made
