"""The pages' side of the server: the socket, the files of the call, and the one page of `duologue serve`.

The call (`page/call.js`) and the check of devices (`page/check.js`) are pieces that any page of this origin can mount;
they need no Gradio, no inline script and nobody else's server. The page of `duologue serve` is one Gradio component
around the call. Which system answers is nowhere in any of them.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response, WebSocket
from fastapi.responses import JSONResponse

from app.live.check import answer
from app.live.connection import serve
from app.live.server import Live

FOLDER = Path(__file__).parent / "page"
FILES = {path.name: path for path in FOLDER.iterdir()}
PREBUFFER = 0.06  # seconds a frame may be late without being missed
PACKET = 0.02


class Moment(NamedTuple):
    """Something a person may say about a moment of the talk while it goes on."""

    kind: str  # in the event log and the finished talk
    words: str  # on the button
    key: str = ""  # of the keyboard; "": none


MOMENTS = (
    Moment("cut-off", "It cut me off", "1"),
    Moment("too-slow", "Too slow", "2"),
    Moment("ignored", "It ignored me", "3"),
    Moment("wrong", "Wrong", "4"),
    Moment("unsafe", "Unsafe", "5"),
    Moment("nice", "Nice", "6"),
)


def live_app(live: Live) -> FastAPI:
    """The socket and the files of the call; pages are mounted beside them."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        live.start()
        yield
        await live.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/live/{name}")
    def file(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404)
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(FILES[name].read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})

    one_by_one = asyncio.Lock()

    @app.post("/live/echo")
    async def echo(request: Request, rate: int) -> JSONResponse:
        return await answer(live, request, rate, one_by_one)

    @app.websocket("/live/ws")
    async def socket(socket: WebSocket) -> None:
        await serve(live, socket)

    return app


def call_settings(token: str, moments: Sequence[Moment] = (), processing: bool = True) -> dict[str, object]:
    """What `mountCall` needs for a talk. `processing`: the browser's own echo cancellation, noise suppression and gain
    control. The kinds of `moments` must be among those of the talk's rules."""
    return {
        "token": token,
        "packet": PACKET,
        "prebuffer": PREBUFFER,
        "processing": processing,
        "moments": [moment._asdict() for moment in moments],
    }


def with_page(
    app: FastAPI, live: Live, invite: Callable[[], str], processing: bool = True, moments: Sequence[Moment] = ()
) -> FastAPI:
    """The app with the call's page at its root. `invite` gives each visitor a token when they start."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import: no request to third parties
    import gradio as gr

    @app.post("/live/invitation")
    async def invitation(request: Request) -> JSONResponse:
        if not live.is_ours(request.headers.get("origin", ""), request.headers.get("host", "")):
            return JSONResponse({"error": "only our own page may ask"}, 403)
        return JSONResponse(call_settings(invite(), moments, processing), headers={"Cache-Control": "no-store"})

    with gr.Blocks(title="A talk", analytics_enabled=False) as page:
        script = (FOLDER / "serve.js").read_text(encoding="utf-8")
        place = '<h1 class="unseen">A talk</h1><div data-part="call"></div>'
        gr.HTML(html_template=place, js_on_load=script, apply_default_css=False)
    head = '<link rel="stylesheet" href="/live/call.css">'
    mounted: FastAPI = gr.mount_gradio_app(app, page, path="", ssr_mode=False, footer_links=[], head=head)
    return mounted
