"""`duologue serve`: talk with a named system in the browser, or rate systems in a study. Options only; the call itself
is in `app.live`, the study in `app.study`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from protocols.errors import InputError

if TYPE_CHECKING:
    from protocols.duplex import DuplexSystem

SCRIPTED = ("scripted", "recorded")  # they follow a clock and answer nobody


@click.command()
@click.argument("study", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--system", help="Only talk with a system: tiny:base, tiny:DIR, echo or silence.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for what is recorded. [default: runs/live for a "
              "system, runs/studies/NAME for a study]")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65_535), default=7860, show_default=True)
@click.option("--slots", type=click.IntRange(1), help="Talks at once. [default: as many as the system holds]")
@click.option("--limit", type=click.FloatRange(5.0), default=300.0, show_default=True,
              help="Seconds a talk with --system may last.")  # fmt: skip
@click.option("--certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="TLS certificate; a "
              "browser gives the microphone only to https and to localhost.")  # fmt: skip
@click.option("--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Key of the certificate.")
@click.option("--origin", multiple=True, help="Origin under which a proxy shows the page, e.g. https://talk.example.")
@click.option("--processing/--raw", default=True, show_default=True, help="The browser's echo cancellation, noise "
              "suppression and gain control, with --system; a study says so in its file.")  # fmt: skip
def serve(
    study: Path | None, system: str | None, out: Path | None, host: str, port: int, slots: int | None, limit: float,
    certificate: Path | None, key: Path | None, origin: tuple[str, ...], processing: bool,
) -> None:  # fmt: skip
    """Let people talk with systems and rate them, as STUDY says. Without one: the embedded model, and its aligned form
    where there is one. Prints the raters' link and the researcher's. With --system: just talk; both sides are
    recorded."""
    if system is None:
        from app.study_cli import serve_study

        serve_study(study, {"out": out, "host": host, "port": port, "slots": slots, "certificate": certificate,
                            "key": key, "origin": origin})  # fmt: skip
        return
    if study is not None:
        raise InputError("a study names its systems itself; drop --system, or the study")
    try:
        from app.live.serve import Place
        from app.live.serve import serve as run
        from app.live.server import Options
        from app.live.talk import Rules
    except ImportError as error:
        raise InputError(f"{error.name} is missing; get it with: pip install -e '.[live]'") from error
    from app.show import Terminal

    if (certificate is None) != (key is None):
        raise InputError("TLS needs both --certificate and --key")
    options = Options(rules=Rules(limit=limit), slots=slots, origins=origin)
    place = Place(host, port, certificate, key)
    run(open_live(system), out or Path("runs/live"), place, options, processing, Terminal(as_json=False).say)


def open_live(name: str, decoding: Mapping[str, float] = {}) -> "DuplexSystem":
    """A system that answers whoever speaks to it."""
    from app.systems import open_system
    from eval.runner import DriveOptions
    from eval.tasks.suite import Suite

    if name.partition(":")[0] in SCRIPTED:
        raise InputError(f"{name} follows a script and answers nobody; talk with tiny:base, tiny:DIR, echo or silence")
    return open_system(name, Suite("live", Path(), (), ""), DriveOptions(), decoding).system
