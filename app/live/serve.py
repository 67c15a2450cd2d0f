"""`duologue serve`: one named system, one page, everyone who opens it may talk (one after the other if need be)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from app.live.deliver import VIEWS, deliver, run_for
from app.live.page import MOMENTS, live_app, with_page
from app.live.server import Live, Options
from app.live.wire import MAX_MESSAGE
from protocols.duplex import DuplexSystem
from protocols.errors import InputError


class Place(NamedTuple):
    """Where the server listens."""

    host: str = "127.0.0.1"
    port: int = 7860
    certificate: Path | None = None  # TLS; a browser gives the microphone only to https and to localhost
    key: Path | None = None


def uvicorn_options() -> dict[str, Any]:
    """Limits on frames, and no compression: sound does not shrink, and it costs time."""
    return {
        "ws": "websockets-sansio",
        "ws_max_size": MAX_MESSAGE,
        "ws_per_message_deflate": False,
        "access_log": False,
        "timeout_graceful_shutdown": 5,
    }


def serve(
    system: DuplexSystem, root: Path, place: Place, options: Options, processing: bool, say: Callable[[str], None]
) -> None:
    """Serve until interrupted. Each talk has a folder under `root`/talks; those that are done are also conversations of
    the runs `root`/heard and `root`/modelled."""
    runs = [(run_for(system, root / view, view), view) for view in VIEWS]

    def deliver_all(folder: Path) -> None:
        for run, view in runs:
            deliver(folder, run, view)

    rules = options.rules._replace(kinds=tuple(moment.kind for moment in MOMENTS))
    live = Live(root / "talks", {"a": system}, options._replace(rules=rules), deliver_all)
    for talk in live.recovered:
        say(f"Talk {talk.id} was cut off by a crash; it is void, and what was recorded is kept.")
    app = with_page(live_app(live), live, lambda: live.invite("a"), processing, MOMENTS)
    say(f"Talk at {'https' if place.certificate else 'http'}://{place.host}:{place.port}/ (stop with Ctrl-C)")
    say(f"Talks are kept in {root / 'talks'}; as runs in {root / 'heard'} and {root / 'modelled'}")
    tls: dict[str, Any] = {"ssl_certfile": place.certificate, "ssl_keyfile": place.key} if place.certificate else {}
    try:
        uvicorn.run(app, host=place.host, port=place.port, log_level="warning", **uvicorn_options(), **tls)
    except SystemExit as error:
        if error.code:
            raise InputError(f"cannot listen on {place.host}:{place.port}; give another --port") from error
