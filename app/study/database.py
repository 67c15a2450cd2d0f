"""A study's database: SQLite in write-ahead mode by default, PostgreSQL by URL; brought up to date when it is opened.

A transaction that writes takes SQLite's write lock at its beginning, so it waits its turn there and never fails half
way. What is committed is on the disk (`synchronous=FULL`): a page may be told so. A lock that lasts longer than
`PATIENCE`, a full disk, a server that is gone are `Busy`: nothing was stored, the page keeps its form and tries again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import Session

from protocols.errors import InputError, StoreError

MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE = 3.0  # seconds to wait for a lock
FILE = "study.sqlite"


class Busy(StoreError):
    """The database could not do it now; nothing was stored, and it may be tried again."""


class Database:
    """`with db.write() as session` commits at its end; `with db.read() as session` never does."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = engine.execution_options(writes=False)
        self._writing = engine.execution_options(writes=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction. Busy if it could not be committed."""
        with _told(), Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A view of what is stored; what is loaded may be used afterwards."""
        with _told(), Session(self._reading, expire_on_commit=False) as session:
            yield session

    def close(self) -> None:
        self.engine.dispose()


def sqlite_url(folder: Path) -> str:
    """The database of a study's folder."""
    return f"sqlite:///{folder.resolve() / FILE}"


def open_database(url: str) -> Database:
    """The database at a URL, made or migrated. InputError for a URL that names none."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = _engine(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(f"{_shown(url)} is no database we can use: {error}") from error
    except OSError as error:
        raise StoreError(f"cannot make a folder for {_shown(url)}: {error.strerror}") from error
    with _told():
        migrate(engine)
    return Database(engine)


def migrate(engine: Engine) -> None:
    """Bring the tables up to date, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(writes=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        engine = create_engine(url, pool_pre_ping=True)
        if engine.dialect.name == "postgresql":
            event.listen(engine, "connect", _limit_waiting)
        return engine
    engine = create_engine(url, connect_args={"timeout": PATIENCE, "check_same_thread": False})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _limit_waiting(connection: Any, record: Any) -> None:
    """PostgreSQL waits for a lock for ever unless told not to."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = {round(1e3 * PATIENCE)}")
    connection.commit()


def _prepare(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # we say where transactions begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Any) -> None:
    writes = connection.get_execution_options().get("writes", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _told() -> Iterator[None]:
    """Faults of the database as ours; those of our own SQL stay what they are."""
    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated or type(error).__name__ == "OperationalError":
            raise Busy(f"the database is busy or cannot be reached: {error.orig}") from error
        raise


def _shown(url: str) -> str:
    """A URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "the given URL"
