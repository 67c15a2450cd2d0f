"""`duologue demo`: the loop of a model and its own talks, or two systems side by side; reads options and prints."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from app.compare import claims_data, print_claims
from app.options import as_json, bench_options, talk_options
from protocols.errors import ClaimFailed, InputError

if TYPE_CHECKING:
    from app.show import Terminal

SCRIPTED = ("scripted:late", "scripted:good")
NEEDED = ("torch", "safetensors", "pyarrow")  # by the loop, beyond what every command needs


@click.command()
@click.option("--scripted", is_flag=True, help="Compare two scripted systems, whose faults are known exactly; needs no "
              "model.")  # fmt: skip
@click.option("--systems", nargs=2, help="Compare these: the system to compare against, and the one to judge.")
@click.option("--questions", type=click.Path(path_type=Path), help="Compare on a folder with recordings and a TSV "
              "(Questions, Answer, Wav Filename); without it, on the spoken set that comes with duologue.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="Folder for everything. [default: runs/demo; for a "
              "comparison runs/demo-scripted, runs/demo-systems or runs/demo-NAME of the questions]")  # fmt: skip
@talk_options
@as_json
@click.pass_context
def demo(
    context: click.Context, /, scripted: bool, systems: tuple[str, str] | None, questions: Path | None,
    out: Path | None, as_json: bool, **talk: Any,
) -> None:  # fmt: skip
    """Let the embedded model talk, learn from its own good and bad takes, and compare it with what it was.

    About five minutes on a laptop. Given again after a stop, the same command goes on where it was.
    """
    from app.show import Terminal

    terminal = Terminal(as_json)
    if scripted or systems or questions is not None:
        _compare(systems or SCRIPTED, questions, out or _place(systems, questions), talk, terminal)
        return
    given = {name for name in talk if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
    _loop(out or Path("runs/demo"), talk, given, terminal)


def _loop(out: Path, talk: dict[str, Any], given: set[str], terminal: "Terminal") -> None:
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"the loop needs {' and '.join(lacking)}: pip install -e '.[model,pairs]'; "
                         "`duologue demo --scripted` does without")  # fmt: skip
    from app.loop import LoopOptions, run_loop

    if "asr" not in given:
        talk["asr"] = "none"  # the text stream says what was said, and listening takes longer than talking
    takes = {"takes": talk.pop("repeats")} if "repeats" in given else {}
    talk["repeats"] = 1
    made = run_loop(LoopOptions(bench_options("world", "tiny:base", out, talk), **takes), terminal)
    print_claims(made.summary, terminal)
    terminal.say(f"\nModel:  {made.system}\nReport: {made.report}")
    found = {"pairs": made.pairs, "model": made.system, "report": str(made.report)}
    terminal.result({**claims_data(made.summary), **found})


def _compare(
    systems: tuple[str, str], questions: Path | None, out: Path, talk: dict[str, Any], terminal: "Terminal"
) -> None:
    from app.demo import run_demo

    suite = "quick" if questions is None else f"questions:{questions}"
    made = run_demo(systems, bench_options(suite, systems[0], None, talk), out, terminal)
    print_claims(made.summary, terminal)
    if made.planted:
        terminal.say("")
        terminal.table(["planted in the scripts", "planted", "measured", "recovered"], [p.row() for p in made.planted])
    terminal.say(f"\nReport: {made.report}")
    planted = [{**p._asdict(), "recovered": p.recovered} for p in made.planted]
    terminal.result({**claims_data(made.summary), "planted": planted, "report": str(made.report)})
    lost = [p.what for p in made.planted if not p.recovered]
    if lost:
        raise ClaimFailed("planted differences were not read back: " + ", ".join(lost))


def _place(systems: tuple[str, str] | None, questions: Path | None) -> Path:
    what = questions.resolve().name if questions is not None else "systems" if systems else "scripted"
    return Path(f"runs/demo-{what}")
