"""What the researcher's routes share: the study, the door, and how a page or the reason for its lack is answered."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.study import people, raters
from app.study.calls import Calls
from app.study.people import Judged
from app.study.researcher.door import DOOR, Door
from app.study.researcher.views import Shown, show, show_door
from protocols.errors import InputError, StoreError

BUSY = "The study's data cannot be reached right now; nothing was changed. Please try again in a moment."


class Room:
    def __init__(self, calls: Calls, door: Door) -> None:
        self.calls, self.door = calls, door
        self.study, self.db, self.live = calls.study, calls.db, calls.live

    def shown(self, request: Request, here: str = "") -> Shown:
        with self.db.read() as session:
            status = raters.study_row(session, self.study.name).status
        return Shown(self.study, status, self.door.form_key(request), here)

    def message(self, request: Request, head: str, text: str) -> str:
        return show("message", self.shown(request), head=head, text=text)

    def page(
        self, request: Request, template: str, here: str, make: Callable[[], dict[str, Any]], door: bool = False
    ) -> Response:
        """A page for who is inside. Others see the door itself (`door`) or are sent there."""
        try:
            if not self.door.is_inside(request):
                return HTMLResponse(show_door(self.study)) if door else RedirectResponse(DOOR, 303)
            return HTMLResponse(show(template, self.shown(request, here), **make()))
        except InputError as error:
            return HTMLResponse(self.message(request, "There is nothing here", str(error)), 404)
        except StoreError as error:
            return HTMLResponse(show_door(self.study, f"{BUSY} ({error})"), 503)

    def judged(self, rater: str) -> Judged:
        """One rater and what the rules say. InputError for nobody."""
        with self.db.read() as session:
            everybody = (*people.judged(session, self.study), *people.judged(session, self.study, "second"))
            found = next((one for one in everybody if one.rater.id == rater), None)
        if found is None:
            raise InputError(f"there is no rater {rater[:40]} in this study, or nothing is stored about them any more")
        return found


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; the first where one comes twice."""
    body = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in body.items()}
