"""A study put together and served: its folder, its database, its systems, the calls, the pages.

    FOLDER/study.sqlite    raters, talks, answers (or any database by URL)
    FOLDER/talks/          one folder per talk, and the key that signs cookies, links and tokens

Systems are opened once; each arm has its own, and so has the trap, because one thread owns one system. Which of them
is which arm is known by code to the calls, and by name to the database alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI
from sqlalchemy.orm import Session

from app.live.away import Mover
from app.live.page import live_app
from app.live.server import Live, Options
from app.live.tokens import key_in
from app.study import raters, talks
from app.study.access import OPEN, PREVIEW, Keys, hash_password, new_password
from app.study.begin import begin, met_version
from app.study.calls import LATE, PRACTICE_ARM, Calls
from app.study.config import Role, Study
from app.study.database import Database, open_database, sqlite_url
from app.study.desk import Desk
from app.study.guard import Guard
from app.study.late import make_late
from app.study.researcher.pages import add_researcher
from app.study.routes import add_routes
from protocols.duplex import DuplexSystem

Open = Callable[[str, Mapping[str, float]], DuplexSystem]


class House(NamedTuple):
    """A study that can be served."""

    app: FastAPI
    db: Database
    live: Live
    calls: Calls
    keys: Keys
    password: str | None  # of the researcher, the first time it is made
    mover: Mover | None = None

    def close(self) -> None:
        """End what runs beside the app."""
        if self.mover is not None:
            self.mover.stop()
        self.db.close()

    def links(self, base: str, study: Study, preview: bool = False) -> dict[str, str]:
        """What to open for a rater and for the researcher."""
        who, link = ("preview", PREVIEW) if preview else ("rater", OPEN)
        roles: dict[str, Role] = {}
        if study.open or preview:
            roles[who] = "talker"
            if study.second_stage is not None:
                roles["second stage"] = "second"
        found = {name: f"{base}/join/{self.keys.link(link, role)}" for name, role in roles.items()}
        return {**found, "researcher": f"{base}/researcher"}


def build(
    study: Study, folder: Path, open_system: Open, options: Options | None = None, database: str | None = None,
    secure: bool = False, new: bool = False, recordings: str | None = None,
) -> House:  # fmt: skip
    """Everything but the network. `secure`: behind TLS; `new`: the researcher gets a new password; `recordings`: a URL
    of fsspec's where the sound of finished talks goes."""
    options = options or Options()
    db = open_database(database or sqlite_url(folder))
    keys = Keys(key_in(folder / "talks"), secure)
    with db.write() as session:
        row = begin(session, study)
        codes = talks.codes(session, row.id)
        password = None
        if new or row.password is None:
            password = new_password()
            row.password = hash_password(password)
    systems = _systems(study, codes, open_system, db)
    late: list[Calls] = []
    mover = None if recordings is None else Mover(folder / "talks", recordings)

    def closed(path: Path) -> None:
        late[0].on_closed(path)
        if mover is not None:
            mover.look()

    live = Live(folder / "talks", systems, options, closed)
    calls = Calls(study, db, live)
    late.append(calls)
    calls.catch_up()
    if mover is not None:
        mover.start()
    app = live_app(live)
    add_routes(app, Desk(study, db, keys, live.root), calls, keys)
    add_researcher(app, calls, keys)
    app.add_middleware(Guard, origins=options.origins, secure=secure)
    return House(app, db, live, calls, keys, password, mover)


def _systems(study: Study, codes: Mapping[str, str], open_system: Open, db: Database) -> dict[str, DuplexSystem]:
    found = {codes[name]: open_system(arm.system, study.decoding_of(name)) for name, arm in study.arms.items()}
    with db.write() as session:
        row = raters.study_row(session, study.name)
        for name, code in codes.items():
            met_version(session, row, name, found[code].info.version)
    if study.trap is not None:
        name = study.trap.arm
        trap = open_system(study.arms[name].system, study.decoding_of(name))
        found[codes[name] + LATE] = make_late(trap, study.trap.delay)
    if study.practice is not None:
        found[PRACTICE_ARM] = open_system(study.practice.system, {})
    return found


def invite(
    session: Session, study: Study, keys: Keys, base: str, label: str | None = None, role: Role = "talker"
) -> str:  # fmt: skip
    """A new personal link."""
    return f"{base}/join/{keys.link(raters.invite(session, study, label), role)}"
