"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

if TYPE_CHECKING:
    from app.bench import BenchOptions

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")


def key_values(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """KEY=VALUE pairs with numbers as values."""
    found = {}
    for text in values:
        key, _, value = text.partition("=")
        try:
            found[key.strip()] = float(value)
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not KEY=NUMBER") from error
    return found


class Sweep(NamedTuple):
    """A decoding option and the values to try."""

    key: str
    values: tuple[float, ...]


def _sweep(context: click.Context, parameter: click.Parameter, text: str | None) -> Sweep | None:
    if text is None:
        return None
    key, _, values = text.partition("=")
    try:
        found = tuple(float(value) for value in values.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not KEY=NUMBER,NUMBER,...") from error
    if not key.strip() or len(set(found)) < len(found):
        raise click.BadParameter(f"{text!r} needs a key and different values")
    return Sweep(key.strip(), found)


sweep_option = click.option(
    "--sweep", callback=_sweep, metavar="KEY=V,V,...", help="One run for each value of a decoding option, such as "
    "padding_bias=-2,-1,0,1,2: what a system gains by talking more or less. --out is then their folder."
)  # fmt: skip


decoding_option = click.option(
    "--decoding", multiple=True, metavar="KEY=VALUE", callback=key_values, help="How a model chooses tokens, such as "
    "text_temperature=0.7 or padding_bias=1; options of openai-realtime, such as max_usd=5."
)  # fmt: skip

jobs_option = click.option(
    "--jobs", type=click.IntRange(1), help="Processes that listen to talks; each holds its own --asr model. "
    "[default: one per core]"
)  # fmt: skip


def clock_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How the two sides of a talk are timed."""
    for option in reversed(
        [
            click.option("--lead-in", type=click.FloatRange(0.08, 60), default=0.96, show_default=True,
                         help="Seconds of silence before the user speaks."),
            click.option("--greeting", type=click.Choice(["none", "wait"]), default="none", show_default=True,
                         help="wait: hold the user back until the agent has been silent for 1 s."),
            click.option("--clock", type=click.Choice(["simulated", "real-time"]), default="simulated",
                         show_default=True, help="As fast as the system steps, or at the pace of speech."),
            click.option("--jitter-limit", type=click.FloatRange(0, min_open=True), metavar="S", help="In real time: "
                         "a talk whose frames are given later than this (99th percentile) fails. [default: 0.08]"),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def hearing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How finished talks are heard, and how a model chooses tokens."""
    for option in reversed(
        [
            click.option("--asr", default="auto", show_default=True,
                         help="auto, whisper:NAME_OR_FOLDER, pocketsphinx or none."),
            decoding_option,
            jobs_option,
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def talk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that holds talks."""
    shared: list[Decorator] = [
        click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Talks per sample."),
        click.option("--seed", type=int, default=0, show_default=True, help="Source of all chance."),
        click.option("--tail", type=click.FloatRange(0, 600), default=4.0, show_default=True,
                     help="Seconds of silence after the user's audio."),
        clock_options,
        hearing_options,
        click.option("--limit", type=click.IntRange(1), help="Only the first so many questions or recordings."),
    ]  # fmt: skip
    for option in reversed(shared):
        command = option(command)
    return command


def endpoint_options(who: str, timeout: str) -> Decorator:
    """Options that name a language model for a purpose: --WHO-url and the like."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(
            [
                click.option(f"--{who}-url", metavar="URL", help="OpenAI-compatible endpoint, such as "
                             "http://127.0.0.1:8000/v1; its key is read from DUOLOGUE_JUDGE_KEY."),
                click.option(f"--{who}-model", metavar="NAME", help="Model to ask there."),
                click.option(f"--{who}-timeout", type=click.FloatRange(0, min_open=True), default=60.0,
                             show_default=True, help=timeout),
                click.option(f"--{who}-price", type=float, nargs=2, metavar="IN OUT",
                             help="Price of a million tokens in and out, to show the cost of this command and of all."),
            ]
        ):  # fmt: skip
            command = option(command)
        return command

    return add


def judge_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that may ask a language model for its judgement."""
    shared: list[Decorator] = [
        endpoint_options("judge", "Seconds for one try; a slow local model needs more, or less concurrency."),
        click.option("--judge-concurrency", type=click.IntRange(1, 1000), default=16, show_default=True,
                     help="Requests under way at once."),
        click.option("--judge-own", is_flag=True, help="Allow a judge whose name looks like the system's."),
    ]  # fmt: skip
    for option in reversed(shared):
        command = option(command)
    return command


guard_option = click.option(
    "--guard", metavar="NAME[:PATH]", help="Guard model that reads safety instead of the judge: wildguard, or "
    "llama-guard with a folder or name if not the 8B one (extra guard).",
)  # fmt: skip


def bench_options(suite: str, system: str, out: Path | None, talk: dict[str, Any]) -> "BenchOptions":
    """What those options say about a run."""
    from app.bench import BenchOptions
    from eval.runner import DriveOptions

    asr, limit, decoding, jobs = (talk.pop(name) for name in ("asr", "limit", "decoding", "jobs"))
    return BenchOptions(suite, system, out, DriveOptions(**talk), asr, limit, decoding, jobs)
