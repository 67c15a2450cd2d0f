"""`duologue study serve`: a study on the network until it is stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from app.live.serve import uvicorn_options
from app.live.server import Options
from app.study.config import Study
from app.study.house import build
from protocols.duplex import DuplexSystem
from protocols.errors import InputError


class Place(NamedTuple):
    """Where, and under which limits."""

    host: str = "127.0.0.1"
    port: int = 7860
    slots: int | None = None
    certificate: Path | None = None
    key: Path | None = None
    origin: tuple[str, ...] = ()  # under which a proxy shows the pages
    database: str | None = None
    new_password: bool = False
    recordings: str | None = None


def serve(study: Study, folder: Path, place: Place, preview: bool, say: Callable[[str], None]) -> None:
    """Serve until interrupted; prints the links."""
    options = Options(slots=place.slots, origins=place.origin)
    base = (place.origin or (f"{'https' if place.certificate else 'http'}://{place.host}:{place.port}",))[0]
    house = build(
        study, folder, _open, options, place.database, base.startswith("https"), place.new_password, place.recordings
    )
    for talk in house.live.recovered:
        say(f"Talk {talk.id} was cut off by a crash; it is void, and its rater can hold it again.")
    for who, link in house.links(base, study, preview).items():
        say(f"{who:<12} {link}")
    if house.password:
        say(f"{'password':<12} {house.password} (the researcher's; it is not shown again)")
    if not study.open and not preview:
        say(f"Raters need a personal link: duologue study invite {folder} --at {base}")
    say(f"The study's data lie in {folder} (stop with Ctrl-C)")
    tls: dict[str, Any] = {"ssl_certfile": place.certificate, "ssl_keyfile": place.key} if place.certificate else {}
    try:
        uvicorn.run(house.app, host=place.host, port=place.port, log_level="warning", **uvicorn_options(), **tls)
    except SystemExit as error:
        if error.code:
            raise InputError(f"cannot listen on {place.host}:{place.port}; give another --port") from error
    finally:
        house.close()


def _open(name: str, decoding: Mapping[str, float]) -> DuplexSystem:
    from app.serve import open_live

    return open_live(name, decoding)
