"""`duologue stimuli`: a set of timing stimuli as a folder of its own. It only reads options and prints."""

from pathlib import Path

import click

from app.options import as_json


def _seconds(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Numbers with commas between them."""
    try:
        return None if text is None else tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of seconds such as 0.5,1,2") from error


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--per-task", type=click.IntRange(1), default=40, show_default=True, help="Samples of each task.")
@click.option("--seed", type=int, default=0, show_default=True, help="Source of all chance.")
@click.option("--speaker", default="espeak", show_default=True, help="Who says the texts: espeak, kokoro:DIR, "
              "piper:FILE_OR_DIR, openai:MODEL[,VOICE...] or recorded:DIR.")  # fmt: skip
@click.option("--texts", type=click.Path(path_type=Path), help="YAML file with texts of your own, written like "
              "protocols/library/stimuli/texts.yaml.")  # fmt: skip
@click.option("--recordings", type=click.Path(path_type=Path), help="Use these instead of texts: a folder with a TSV "
              "(Questions, Answer, Wav Filename, and Role for what is no question).")  # fmt: skip
@click.option("--pauses", callback=_seconds, metavar="S,S,...", help="Silences put into turns, in seconds. "
              "[default: 0.4,0.7,1,1.5,2]")  # fmt: skip
@as_json
def stimuli(
    out: Path,
    per_task: int,
    seed: int,
    speaker: str,
    texts: Path | None,
    recordings: Path | None,
    pauses: tuple[float, ...] | None,
    as_json: bool,
) -> None:
    """Make a set of timing stimuli with exact events: turns, pauses, repairs, interruptions and all the rest.

    The same seed makes the same set. Run it with `duologue bench --suite OUT/suite.yaml`.
    """
    from app.show import Terminal
    from eval.activity import SileroActivity
    from eval.speakers import open_speaker
    from eval.tasks.recipes import PAUSES
    from eval.tasks.spec import StimuliSpec, read_spec
    from eval.tasks.stimuli import make_stimuli, recorded_material, spoken_material
    from eval.tasks.suite import TEXTS, shipped_suites

    if recordings is not None and texts is not None:
        raise click.UsageError("give --texts or --recordings, not both")
    terminal = Terminal(as_json)
    suite = read_spec(shipped_suites()["timing"])
    if recordings is not None:
        material = recorded_material(recordings.expanduser(), SileroActivity())
    else:
        material = spoken_material(texts or TEXTS, open_speaker(speaker))
    wanted = StimuliSpec(per_task, seed, speaker, pauses or PAUSES)
    with terminal.progress("stimuli", per_task * len(suite.tasks)) as step:
        made = make_stimuli(out, material, suite, wanted, step)
    for task, roles in made.left_out.items():
        terminal.note(f"left out {task}: no recordings with the role {roles}")
    terminal.say(f"{made.n_samples} samples, {made.seconds / 60:.0f} minutes of user audio. Suite: {made.suite}")
    terminal.result({**made._asdict(), "suite": str(made.suite)})
