"""What the researcher does: come in and leave, pause and close the study, take files away, delete a person's data.

Every form of a session brings the session's key back, on top of the Origin check that stands before all pages. A file
to be taken away is made beside the study's data, sent, and deleted.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from starlette.background import BackgroundTask

from app.study import people, raters
from app.study.access import RESEARCHER
from app.study.begin import Status, set_status
from app.study.export import export
from app.study.forget import forget
from app.study.researcher.door import DOOR
from app.study.researcher.marked import write_marked
from app.study.researcher.room import BUSY, Room, form_of
from app.study.researcher.views import show, show_door
from protocols.errors import InputError, StoreError

Act = Callable[[Mapping[str, str]], Response]


def add_acts(router: APIRouter, room: Room) -> None:
    hashing, packing = asyncio.Lock(), asyncio.Lock()  # a hash is slow on purpose, an export is large: one at a time

    async def act(request: Request, what: Act) -> Response:
        """Do what a form of this session asks for, on a thread."""
        said = await form_of(request)
        if not await asyncio.to_thread(room.door.is_inside, request):
            return HTMLResponse(show_door(room.study, "Please enter the password first."), 403)
        if not room.door.sent_by_us(request, said.get("key", "")):
            return HTMLResponse(room.message(request, "Nothing was done", "This form is not of this session; please "
                                             "load the page anew."), 403)  # fmt: skip
        return await asyncio.to_thread(_told, room, request, what, said)

    @router.post("")
    async def knock(request: Request) -> Response:
        said = await form_of(request)
        address = request.client.host if request.client else ""
        async with hashing:
            return await asyncio.to_thread(_knocked, room, said.get("password", ""), address)

    @router.post("/leave")
    async def leave(request: Request) -> Response:
        return await act(request, _left)

    @router.post("/status")
    async def status(request: Request) -> Response:
        return await act(request, lambda said: _set(room, said.get("status", "")))

    @router.post("/export")
    async def files(request: Request) -> Response:
        async with packing:
            return await act(request, lambda said: _exported(room, said))

    @router.post("/marks")
    async def marks(request: Request) -> Response:
        async with packing:
            return await act(request, lambda said: _marks(room))

    @router.get("/raters/{rater}/forget")
    def sure(request: Request, rater: str) -> Response:
        return room.page(request, "forget", "raters", lambda: _asked(room, rater))

    @router.post("/raters/{rater}/forget")
    async def delete(request: Request, rater: str) -> Response:
        running = {one.talk for one in room.live.running()}
        return await act(request, lambda said: _forgotten(room, request, rater, said.get("again", ""), running))


def _told(room: Room, request: Request, what: Act, said: Mapping[str, str]) -> Response:
    try:
        return what(said)
    except InputError as error:
        return HTMLResponse(room.message(request, "Nothing was done", str(error)), 409)
    except StoreError as error:
        return HTMLResponse(show_door(room.study, f"{BUSY} ({error})"), 503)


def _knocked(room: Room, password: str, address: str) -> Response:
    if room.door.is_shut_for(address):
        fault = "Too many passwords were wrong. Please wait five minutes."
        return HTMLResponse(show_door(room.study, fault), 429, headers={"Retry-After": "300"})
    try:
        if not room.door.opens(password, address):
            return HTMLResponse(show_door(room.study, "That is not the password."), 403)
        answer = RedirectResponse(DOOR, 303)
        room.door.let_in(answer)
        return answer
    except StoreError as error:
        return HTMLResponse(show_door(room.study, f"{BUSY} ({error})"), 503)


def _left(said: Mapping[str, str]) -> Response:
    answer = RedirectResponse(DOOR, 303)
    answer.delete_cookie(RESEARCHER)
    return answer


def _set(room: Room, wanted: str) -> Response:
    status: Status | None = next((one for one in get_args(Status) if one == wanted), None)
    if status is None:
        raise InputError("a study is open, paused or closed")
    with room.db.write() as session:
        set_status(session, raters.study_row(session, room.study.name), status)
    return RedirectResponse(DOOR, 303)


def _exported(room: Room, said: Mapping[str, str]) -> Response:
    def make(folder: Path) -> Path:
        name = f"{room.study.name}-export"
        sound, parquet, runs = (what in said for what in ("sound", "parquet", "runs"))
        made = export(room.study, room.db, room.live.root, folder / name, sound, parquet, runs)
        return Path(shutil.make_archive(str(folder / name), "zip", folder, made.name))

    return _sent(room, make)


def _marks(room: Room) -> Response:
    def make(folder: Path) -> Path:
        with room.db.read() as session:
            found = people.judged(session, room.study)
        out = folder / f"{room.study.name}-marks.zip"
        write_marked(found, room.live.root, out)
        return out

    return _sent(room, make)


def _sent(room: Room, make: Callable[[Path], Path]) -> Response:
    """A file that is made in a folder of its own, beside the study's data, and goes when it is sent."""
    folder = Path(tempfile.mkdtemp(prefix=".download-", dir=room.live.root.parent))
    try:
        made = make(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    return FileResponse(made, filename=made.name, media_type="application/zip", background=gone)


def _asked(room: Room, rater: str, fault: str = "") -> dict[str, object]:
    return {"rater": room.judged(rater).rater.id, "fault": fault}


def _forgotten(room: Room, request: Request, rater: str, again: str, running: set[str]) -> Response:
    found = _asked(room, rater, f"Nothing was deleted: {again[:40] or 'nothing'} is not {rater}.")
    if again.strip() != rater:
        return HTMLResponse(show("forget", room.shown(request, "raters"), **found), 409)
    with room.db.read() as session:
        if running & {talk.id for talk in raters.rater_of(session, rater).talks}:
            raise InputError(f"{rater} is in a talk right now; wait until it is over")
    gone = forget(room.db, room.live.root, rater)
    text = f"{gone.talks} talks with their sound and {gone.ratings} ratings were deleted."
    return HTMLResponse(room.message(request, f"{rater} is forgotten", text))
