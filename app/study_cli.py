"""`duologue study`: a human study from its file to its export. Options only; all else is in `app.study`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options import as_json
from protocols.errors import InputError

if TYPE_CHECKING:
    from app.show import Terminal
    from app.study.config import Study
    from app.study.database import Database

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
database_option = click.option("--database", metavar="URL", help="Database, such as postgresql+psycopg://... [default: "
                               "study.sqlite in the study's folder]")  # fmt: skip


@click.group()
def study() -> None:
    """Let people talk with systems and rate them: write a study, check it, serve it, export it."""


@study.command()
@click.argument("file", type=FILE, default=Path("study.yaml"))
def new(file: Path) -> None:
    """Write a study to start from, with a comment at every key."""
    from protocols.errors import StoreError

    example = (Path(__file__).parent / "study" / "example.yaml").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(example)
    except FileExistsError as error:
        raise InputError(f"{file} is there already; give another name") from error
    except OSError as error:
        raise StoreError(f"cannot write {file}: {error.strerror}") from error
    _terminal().say(f"{file}\nEdit it, then: duologue study check {file}")


@study.command()
@click.argument("file", type=FILE)
@as_json
def check(file: Path, as_json: bool) -> None:
    """Say what is wrong with a study, or what it will ask of raters."""
    _installed()
    from app.study.assignment import block_size, plan_of
    from app.study.calls import moments
    from app.study.reading import read_study_file

    found = read_study_file(file)
    moments(found)
    terminal = _terminal(as_json)
    slots = plan_of(found, 0).slots
    seconds = sum(slot.duration for slot in slots)
    terminal.table(["the first rater's talks", "arm", "scenario", "seconds"],
                   [[str(k), s.arm + (" (late)" if s.kind == "trap" else ""), s.scenario, f"{s.duration:g}"]
                    for k, s in enumerate(slots, 1)])  # fmt: skip
    terminal.say(f"\n{file}: a {found.design} study of {len(found.arms)} arms; {len(slots)} talks per rater, "
                 f"{seconds / 60:.1f} minutes of talk; balanced after every {block_size(found)} raters")  # fmt: skip
    if (second := found.second_stage) is not None:
        terminal.say(f"second stage: each talk is rated by {second.per_talk} others ({' and '.join(second.modes)}), "
                     f"who rate {second.per_rater} talks each")  # fmt: skip
    terminal.say(f"study {found.digest[:16]}, preregistration {(found.preregistered or 'none')[:16]}")
    terminal.result({"name": found.name, "sha256": found.digest, "preregistered": found.preregistered,
                     "talks": [slot._asdict() for slot in slots], "block": block_size(found)})  # fmt: skip


def serve_options(command: Any) -> Any:
    """Where a study is served."""
    for option in reversed([
        click.option("--out", type=FOLDER, help="Folder of the study's data. [default: runs/studies/NAME]"),
        database_option,
        click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on."),
        click.option("--port", type=click.IntRange(1, 65_535), default=7860, show_default=True),
        click.option("--slots", type=click.IntRange(1), help="Talks at once per system. [default: what it holds]"),
        click.option("--certificate", type=FILE, help="TLS certificate; browsers give the microphone only to https and "
                     "to localhost."),
        click.option("--key", type=FILE, help="Key of the certificate."),
        click.option("--origin", multiple=True, help="Origin under which a proxy shows the pages, such as "
                     "https://talk.example; links are printed with the first."),
        click.option("--recordings", metavar="URL", help="Where the sound of finished talks goes, such as "
                     "s3://bucket/study; any URL of fsspec's. [default: the study's folder]"),
        click.option("--new-password", is_flag=True, help="Make a new password for the researcher."),
    ]):  # fmt: skip
        command = option(command)
    return command


@study.command()
@click.argument("file", type=FILE)
@serve_options
def serve(file: Path, **place: Any) -> None:
    """Serve a study: prints the raters' link and the researcher's."""
    serve_study(file, place)


@study.command()
@click.argument("file", type=FILE)
@serve_options
def preview(file: Path, **place: Any) -> None:
    """Serve a study for looking at: who comes by the printed link is left out of everything."""
    serve_study(file, place, preview=True)


def serve_study(file: Path | None, place: dict[str, Any], preview: bool = False) -> None:
    """Serve a study file, or without one the study that is shipped."""
    _installed()
    from app.study.reading import first_look, read_study_file
    from app.study.serve import Place, serve
    from app.systems import is_there

    if (place["certificate"] is None) != (place["key"] is None):
        raise InputError("TLS needs both --certificate and --key")
    found = first_look(is_there) if file is None else read_study_file(file)
    out = place.pop("out") or Path("runs/studies") / found.name
    serve(found, out, Place(**place), preview, _terminal().say)


@study.command()
@click.argument("folder", type=FOLDER)
@click.option("-n", "number", type=click.IntRange(1, 1_000), default=1, show_default=True, help="Links to make.")
@click.option("--label", help="For whom; only you see it.")
@click.option("--second", is_flag=True, help="For a rater of the second stage, who rates finished talks.")
@click.option("--at", default="http://127.0.0.1:7860", show_default=True, help="Where the study is served.")
@database_option
@as_json
def invite(
    folder: Path, number: int, label: str | None, second: bool, at: str, database: str | None, as_json: bool
) -> None:  # fmt: skip
    """Make personal links. Each belongs to one rater, who comes back by it."""
    found, db = _opened(folder, database)
    if second:
        _second_stage(found)
    from app.live.tokens import key_in
    from app.study.access import Keys
    from app.study.house import invite as make

    keys = Keys(key_in(folder / "talks"), secure=False)
    with db.write() as session:
        links = [make(session, found, keys, at, label, "second" if second else "talker") for _ in range(number)]
    terminal = _terminal(as_json)
    terminal.say("\n".join(links))
    terminal.result({"links": links})


@study.command()
@click.argument("folder", type=FOLDER)
@click.option("--asr", default="auto", show_default=True, help="auto, whisper:NAME_OR_FOLDER or pocketsphinx.")
@database_option
@as_json
def transcribe(folder: Path, asr: str, database: str | None, as_json: bool) -> None:
    """Write down the words of finished talks, both sides by one recogniser: a talk enters the second stage with them.

    It computes for a while; on the machine that serves the study, run it when nobody talks."""
    found, db = _opened(folder, database)
    _second_stage(found)
    from app.study.second.reviews import counted
    from app.study.second.words import is_written, write_all
    from eval.activity import SileroActivity
    from eval.words import load_transcriber

    with db.read() as session:
        folders = [folder / "talks" / talk.id for talk in counted(session, found)]
    waiting = [one for one in folders if not is_written(one)]
    terminal = _terminal(as_json)
    n = 0
    if waiting:
        transcriber = load_transcriber(asr)
        if transcriber is None:
            raise InputError("the second stage needs words; choose an --asr")
        with terminal.progress("writing down", len(waiting)) as tick:
            n = write_all(waiting, SileroActivity(), transcriber, tick)
    terminal.say(
        f"{n} talks written down, {len(folders)} count; the second stage gives out those that are written down"
    )
    terminal.result({"written": n, "talks": len(folders)})


@study.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder to make. [default: FOLDER/export]")
@click.option("--sound/--no-sound", default=True, show_default=True, help="Copy the talks' sound too.")
@click.option("--parquet", is_flag=True, help="Write each table as Parquet too.")
@click.option("--runs", is_flag=True, help="Write each arm's talks as a run too, for score, compare and pairs.")
@database_option
@as_json
def export(
    folder: Path, out: Path | None, sound: bool, parquet: bool, runs: bool, database: str | None, as_json: bool
) -> None:  # fmt: skip
    """Write a study's data as files; `duologue compare RUN RUN --study` reads them."""
    found, db = _opened(folder, database)
    from app.study.export import export as write
    from app.study.people import judged

    made = write(found, db, folder / "talks", out or folder / "export", sound, parquet, runs)
    with db.read() as session:
        people = judged(session, found)
    terminal = _terminal(as_json)
    counts = {"raters": len(people), "pay": sum(p.has("pay") for p in people), "use": sum(p.has("use") for p in people)}
    terminal.say(f"{counts['raters']} raters, {counts['pay']} to be paid, {counts['use']} to be analysed")
    terminal.say(f"Export: {made}")
    terminal.result({**counts, "export": str(made)})


@study.command()
@click.argument("folder", type=FOLDER)
@click.argument("rater")
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_option
@as_json
def forget(folder: Path, rater: str, yes: bool, database: str | None, as_json: bool) -> None:
    """Delete all data of one person, sound included, for good."""
    _, db = _opened(folder, database)
    from app.study.forget import forget as delete

    if not yes:
        click.confirm(f"Delete all data of {rater}, sound included?", abort=True)
    gone = delete(db, folder / "talks", rater)
    terminal = _terminal(as_json)
    terminal.say(f"{gone.rater} is forgotten: {gone.talks} talks with their sound, {gone.ratings} ratings")
    terminal.say("Exports made before still hold the person's data; make them again.")
    terminal.result(gone._asdict())


def _opened(folder: Path, database: str | None) -> "tuple[Study, Database]":
    """A study that was served from a folder."""
    _installed()
    from app.study.begin import stored
    from app.study.database import FILE as NAME
    from app.study.database import open_database, sqlite_url

    if database is None and not (folder / NAME).is_file():
        raise InputError(f"{folder} holds no study; `duologue study serve` makes its folder")
    db = open_database(database or sqlite_url(folder))
    click.get_current_context().call_on_close(db.close)
    with db.read() as session:
        return stored(session, folder.name), db


def _second_stage(study: "Study") -> None:
    if study.second_stage is None:
        raise InputError(f"{study.name} has no second_stage; add it to the study's file and serve the study again")


def _installed() -> None:
    try:
        import alembic  # noqa: F401
        import argon2  # noqa: F401
        import fastapi  # noqa: F401
        import sqlalchemy  # noqa: F401
    except ImportError as error:
        raise InputError(f"{error.name} is missing; get it with: pip install -e '.[live]'") from error


def _terminal(as_json: bool = False) -> "Terminal":
    from app.show import Terminal

    return Terminal(as_json)
