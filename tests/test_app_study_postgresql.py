"""A study in a real PostgreSQL: tables, locks, triggers, a whole way, export and forgetting."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy", reason="sqlalchemy is missing; get it with: pip install -e '.[live]'")
pytest.importorskip("fastapi", reason="fastapi is missing; get it with: pip install -e '.[live]'")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError
from test_app_study_export import STUDY, go_through
from test_app_study_second import Visitor, written

from analysis.report.people import read_study
from app.study import database, raters
from app.study.begin import begin
from app.study.database import Busy, Database, open_database
from app.study.export import export
from app.study.forget import forget
from app.study.house import build
from app.study.people import judged
from app.study.tables import Base, RaterRow, RatingRow
from live_house import Slow
from study_house import study

pytestmark = pytest.mark.needs("postgresql")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database: the one of DUOLOGUE_POSTGRESQL, or of a server of our own behind a socket."""
    if url := os.environ.get("DUOLOGUE_POSTGRESQL"):
        yield url
        return
    folder = tmp_path_factory.mktemp("pg")
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        for place in [folder, *folder.parents]:
            if place != Path("/tmp"):
                place.chmod(place.stat().st_mode | 0o055)
            if place.parent == Path("/tmp"):
                break
        shutil.chown(folder, "postgres", "postgres")
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))

    def run(program: str, *words: str) -> None:
        said = subprocess.run([*as_user, programs / program, *words], capture_output=True, text=True, cwd=folder)
        assert said.returncode == 0, said.stderr

    run("initdb", "-D", "data", "-U", "duologue", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://duologue@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", "data", "-m", "immediate", "stop")


@pytest.fixture
def url(server: str) -> str:
    db = open_database(server)
    with db.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    db.close()
    return server


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    made = open_database(url)
    with made.write() as session:
        begin(session, STUDY)
    yield made
    made.close()


def test_migrations_make_exactly_the_tables_of_the_code(db: Database) -> None:
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_raters_who_join_at_once_get_different_cells(db: Database) -> None:
    def join(_: int) -> int | None:
        with db.write() as session:
            return raters.join(session, STUDY, "link").cell

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(join, range(16)), key=str) == sorted(range(16), key=str)


def test_a_study_is_held_exported_and_forgotten_as_in_sqlite(db: Database, tmp_path: Path) -> None:
    people = [go_through(db, tmp_path / "talks", STUDY, likes) for likes in (4, 3, 2)]
    with db.read() as session:
        assert [one.rater.status for one in judged(session, STUDY)] == ["complete"] * 3
    found = read_study(export(STUDY, db, tmp_path / "talks", tmp_path / "out", sound=False))
    assert {scale.question for scale in found.scales} == {"coherence", "engagement", "relevance"}
    with pytest.raises(DBAPIError, match="ratings are never changed"), db.write() as session:
        session.execute(update(RatingRow).values(answer=4))
    gone = forget(db, tmp_path / "talks", people[0])
    assert gone.talks == 3
    with db.read() as session:
        assert len(judged(session, STUDY)) == 2
        assert session.scalar(select(func.count()).where(RatingRow.rater_id == people[0])) == 0


def test_a_lock_that_lasts_is_busy_and_stores_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    db = open_database(url)
    with db.write() as session:
        begin(session, STUDY)
    with db.engine.connect() as holder:
        holder.execute(text("LOCK TABLE raters IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(Busy), db.write() as session:
            raters.join(session, STUDY, "link")
        holder.rollback()
    with db.read() as session:
        assert session.scalar(select(func.count()).select_from(RaterRow)) == 0
    db.close()


def test_finished_talks_are_given_out_from_there_too(url: str, tmp_path: Path) -> None:
    of = study(second_stage={"consent": "You rate talks of others.", "per_talk": 1})
    house = build(of, tmp_path, lambda name, decoding: Slow(), database=url)
    go_through(house.db, tmp_path / "talks", of)
    written(tmp_path / "talks")
    visitor = Visitor(house)
    assert visitor.join().status_code == 200
    while visitor.form():
        assert visitor.rate().status_code == 200
    assert "completion code" in visitor.page()
    assert Visitor(house).join().status_code == 409  # every talk has its rater
    house.close()
