"""The researcher's pages over HTTP, for whoever has given the password; everybody else is sent to the door.

These only show. What changes something or makes a file is in `acts`.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from markupsafe import Markup
from sqlalchemy.orm import Session

from analysis.report.timeline_page import svg
from app.live.deliver import VIEWS
from app.study import people
from app.study.access import Keys
from app.study.answers import CANNOT_JUDGE
from app.study.calls import LATE, PRACTICE_ARM, Calls
from app.study.config import Study
from app.study.quality import Finding
from app.study.researcher.acts import add_acts
from app.study.researcher.arms import arms_of
from app.study.researcher.browse import (
    PAGE,
    Wanted,
    about,
    detail_of,
    find_talk,
    picture,
    ratings_of,
    sound_of,
    talks_of,
)
from app.study.researcher.door import DOOR, Door
from app.study.researcher.funnel import funnel_of
from app.study.researcher.marked import marked_talks
from app.study.researcher.monitor import primary, watch
from app.study.researcher.room import Room
from app.study.second.reviews import standing
from app.study.tables import RatingRow, SubmissionRow, TalkRow
from app.study.views import STRENGTH_WORDS
from protocols.errors import InputError

FOLDER = Path(__file__).parent / "page"
FILES = {"researcher.css": "text/css", "live.js": "text/javascript"}
RULES = ("trap", "instruction", "devices", "min_speech", "straight_lining", "too_fast", "lag", "echo")


def add_researcher(app: FastAPI, calls: Calls, keys: Keys) -> None:
    """Everything under /researcher, for one study."""
    room = Room(calls, Door(calls.study, calls.db, keys))
    router = APIRouter(prefix=DOOR)
    _add_study(router, room)
    _add_people(router, room)
    _add_talks(router, room)
    add_acts(router, room)
    app.include_router(router)


def _add_study(router: APIRouter, room: Room) -> None:
    study, db = room.study, room.db

    @router.get("/page/{name}")
    def file(name: str) -> Response:
        if name not in FILES:
            return Response(status_code=404)
        return Response((FOLDER / name).read_bytes(), media_type=FILES[name], headers={"Cache-Control": "no-cache"})

    @router.get("")
    def front(request: Request) -> Response:
        def make() -> dict[str, Any]:
            with db.read() as session:
                found = people.judged(session, study)
                watches = watch(study, found, people.arm_names(session, study))
                return {"funnel": funnel_of(session, study), "arms": arms_of(session, study), "watches": watches,
                        "primary": primary(study), "planned": study.preregistration,
                        "second": standing(session, study, room.live.root),
                        "folder": room.live.root.parent}  # fmt: skip

        return room.page(request, "study", "", make, door=True)

    @router.get("/live")
    async def live(request: Request) -> Response:
        running = room.live.running()

        def make() -> dict[str, Any]:
            with db.read() as session:
                arms = people.arm_names(session, study)
                rows = {one.talk: session.get(TalkRow, one.talk) for one in running}
            shown = [{**one._asdict(), "arm": named(one.arm, arms), "rater": row.rater_id if row else ""}
                     for one in running for row in (rows[one.talk],)]  # fmt: skip
            waiting = [(name, room.live.waiting(code)) for code, name in arms.items()]
            return {"running": shown, "waiting": waiting, "at": f"{datetime.now(UTC):%H:%M:%S}"}

        return await asyncio.to_thread(room.page, request, "live", "live", make)


def named(arm: str, arms: dict[str, str]) -> str:
    """What the calls know an arm as, in the researcher's words."""
    if arm == PRACTICE_ARM:
        return "practice"
    name = arms.get(arm.removesuffix(LATE), arm)
    return f"{name} (trap)" if arm.endswith(LATE) else name


def _add_people(router: APIRouter, room: Room) -> None:
    study, db = room.study, room.db

    @router.get("/raters")
    def everybody(request: Request) -> Response:
        def make() -> dict[str, Any]:
            with db.read() as session:
                return {"people": [*people.judged(session, study), *people.judged(session, study, "second")]}

        return room.page(request, "raters", "raters", make)

    @router.get("/raters/{rater}")
    def one(request: Request, rater: str) -> Response:
        return room.page(request, "rater", "raters", lambda: {"one": room.judged(rater)})

    @router.get("/files")
    def files(request: Request) -> Response:
        def make() -> dict[str, Any]:
            with db.read() as session:
                found = marked_talks(people.judged(session, study))
                return {"marked": len(found), "marks": sum(len(talk.marks) for talk in found)}

        return room.page(request, "files", "files", make)


def _add_talks(router: APIRouter, room: Room) -> None:
    study, db = room.study, room.db

    @router.get("/talks")
    def listed(
        request: Request, arm: str = "", scenario: str = "", flag: str = "", rater: str = "", page: int = 1
    ) -> Response:
        wanted = Wanted(arm, scenario, flag, rater)

        def make() -> dict[str, Any]:
            with db.read() as session:
                found = talks_of(session, study, people.judged(session, study), wanted)
                arms = people.arm_names(session, study)
            last = max(ceil(len(found) / PAGE), 1)
            number = min(max(page, 1), last)
            return {
                "talks": found[(number - 1) * PAGE : number * PAGE], "total": len(found), "number": number,
                "last": last, "wanted": wanted, "arms": arms, "query": urlencode(wanted._asdict()),
                "scenarios": [(one.id, one.id) for one in study.scenarios],
                "rules": [(rule, rule.replace("_", " ")) for rule in RULES if getattr(study.quality, rule) is not None],
            }  # fmt: skip

        return room.page(request, "talks", "talks", make)

    @router.get("/talks/{talk}")
    def talk(request: Request, talk: str) -> Response:
        return room.page(request, "talk", "talks", lambda: _talk(room, talk))

    @router.get("/talks/{talk}/{view}")
    def sound(request: Request, talk: str, view: str) -> Response:
        if not room.door.is_inside(request):
            return RedirectResponse(DOOR, 303)
        known = next((one for one in VIEWS if one == view), None)
        try:
            if known is None:
                raise InputError("there is no such recording")
            with db.read() as session:
                path = sound_of(room.live.root, find_talk(session, study, talk), known)
        except InputError as error:
            return HTMLResponse(room.message(request, "There is nothing here", str(error)), 404)
        return FileResponse(path, media_type="audio/flac")


def _talk(room: Room, talk_id: str) -> dict[str, Any]:
    study = room.study
    said = {moment.kind: moment.words for moment in room.calls.moments}
    with room.db.read() as session:
        row = find_talk(session, study, talk_id)
        ratings = ratings_of(session, row)
        made = picture(room.live.root, row, said)
        findings: list[Finding] = []
        for one in people.judged(session, study):
            findings += about(row.id, one) if one.rater.id == row.rater_id else []
        comments = _comments(session, ratings)
        arm = people.arm_names(session, study).get(row.arm or "", "practice")
        session.refresh(row, ["marks"])
    return {
        "talk": row, "arm": arm, "picture": None if made is None else Markup(svg(made)), "said": said,
        "detail": detail_of(room.live.root, row),
        "ratings": [(rating, _words(study, rating)) for rating in ratings],
        "findings": findings,
        "comments": comments,
    }  # fmt: skip


def _comments(session: Session, ratings: Iterable[RatingRow]) -> list[str]:
    """What raters wrote on the forms of a talk."""
    numbers = dict.fromkeys(one.submission_id for one in ratings if one.other_id is None and one.submission_id)
    forms = [session.get(SubmissionRow, number) for number in numbers]
    return [form.comment for form in forms if form is not None and form.comment]


def _words(study: Study, rating: RatingRow) -> str:
    """An answer as its rater read it."""
    if rating.answer is None:
        return rating.reason or CANNOT_JUDGE
    if rating.question == "preference":
        return STRENGTH_WORDS[rating.answer + 3]
    asked = study.questions_for("talker" if rating.stage == "talker" else "second")
    levels = next((one.levels for one in asked if one.id == rating.question), {})
    return levels.get(rating.answer, "")
