"""Options that several commands share."""

from collections.abc import Callable
from typing import Any

import click

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


def talk_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that holds talks."""
    for option in reversed(
        [
            click.option("--takes", type=click.IntRange(1), default=1, show_default=True, help="Talks per sample."),
            click.option("--seed", type=int, default=0, show_default=True, help="Source of all chance."),
            click.option("--lead-in", type=click.FloatRange(0.08, 60), default=0.96, show_default=True,
                         help="Seconds of silence before the user speaks."),
            click.option("--tail", type=click.FloatRange(0, 600), default=4.0, show_default=True,
                         help="Seconds of silence after the user's audio."),
            click.option("--greeting", type=click.Choice(["none", "wait"]), default="none", show_default=True,
                         help="wait: hold the user back until the agent has been silent for 1 s."),
            click.option("--clock", type=click.Choice(["simulated", "real-time"]), default="simulated",
                         show_default=True, help="As fast as the system steps, or at the pace of speech."),
            click.option("--asr", default="auto", show_default=True,
                         help="auto, whisper:NAME_OR_FOLDER, pocketsphinx or none."),
            click.option("--decoding", multiple=True, metavar="KEY=VALUE", callback=key_values, help="How a model "
                         "chooses tokens, such as text_temperature=0.7 or padding_bias=1."),
            click.option("--limit", type=click.IntRange(1), help="Only the first so many questions or recordings."),
        ]
    ):  # fmt: skip
        command = option(command)
    return command
