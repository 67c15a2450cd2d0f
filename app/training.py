"""The training commands of `duologue`. Like `cli`, they only read options and print."""

from pathlib import Path

import click

from app.options import as_json, key_values


@click.command(name="train-base")
@click.option("--voices", type=click.Path(path_type=Path), required=True,
              help="Folder with Kokoro's voices: package/voices of `npm pack kokoro-js@1.2.1`.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/base"), show_default=True,
              help="Folder for tokens, checkpoints, losses and the model.")  # fmt: skip
@click.option("--rounds", multiple=True, metavar="ENGINE=N", callback=key_values, help="In how many voices of an "
              "engine each text is said; blended: mixtures of Kokoro's. [default: blended=5, espeak=2]")  # fmt: skip
@click.option("--from", "begin_from", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="MODEL",
              help="Train this model further, in the voices of --rounds.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Training steps. [default: the recipe's]")
@click.option("--faults/--no-faults", default=True, show_default=True, help="Plant the base model's faults, or none: "
              "a control that does everything right.")  # fmt: skip
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Where to train. [default: a GPU if there is one]")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), help="Of the temporal "
              "transformer's products; all else stays float32. [default: bfloat16 where the machine has it, twice as "
              "fast]")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Source of all chance.")
@as_json
def train_base(
    voices: Path,
    out: Path,
    rounds: dict[str, float],
    begin_from: Path | None,
    steps: int | None,
    faults: bool,
    device: str | None,
    precision: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Train the embedded full-duplex model, from scratch or further; goes on where it was stopped.

    Needs the extras `model` and `train-tiny` and the program espeak-ng; a few hours on two cores.
    """
    from dataclasses import replace

    from app.show import Terminal
    from app.train_base import BaseOptions, chosen_device, chosen_precision
    from app.train_base import train_base as make
    from model.tiny.codec import load_codec
    from model.tiny.faults import NO_FAULTS, FaultRates
    from model.tiny.recipe import Recipe

    terminal = Terminal(as_json)
    recipe = Recipe.continued(seed) if begin_from else Recipe(seed=seed)
    recipe = recipe if steps is None else recipe.scaled(steps)
    said = {engine: int(n) for engine, n in (rounds or {"blended": 5, "espeak": 2}).items()}
    rates = FaultRates() if faults else NO_FAULTS
    where = chosen_device(device)
    recipe = replace(recipe, bfloat16=chosen_precision(precision, where) == "bfloat16")
    options = BaseOptions(out, voices, said, faults=rates, recipe=recipe, begin_from=begin_from, device=where)
    folder = make(options, load_codec(), terminal)
    terminal.say(f"Model: {folder}")
    terminal.result({"model": str(folder), "steps": recipe.steps})


@click.command(name="train-codec")
@click.option("--voices", type=click.Path(path_type=Path), required=True,
              help="Folder with Kokoro's voices: package/voices of `npm pack kokoro-js@1.2.1`.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/codec"), show_default=True,
              help="Folder for speech, checkpoints and the weights.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Vocoder steps. [default: the recipe's]")
@click.option("--seed", type=int, default=0, show_default=True, help="Source of all chance.")
@as_json
def train_codec(voices: Path, out: Path, steps: int | None, seed: int, as_json: bool) -> None:
    """Train the embedded codec and its voice from scratch; goes on where it was stopped.

    Needs the extra `train-tiny` and the program espeak-ng; about half an hour on one core.
    """
    from app.show import Terminal
    from app.train_base import make_codec

    terminal = Terminal(as_json)
    path = make_codec(voices, out, seed, steps, terminal)
    terminal.say(f"Codec: {path}")
    terminal.result({"codec": str(path)})
