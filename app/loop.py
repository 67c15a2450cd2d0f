"""`duologue demo`: the whole loop on one machine. A model talks, learns from pairs of its own takes, and is judged.

    FOLDER/round-1    its talks, their pairs, the training (app.rounds)
    FOLDER/base, FOLDER/aligned    the model before and after on other questions
    FOLDER/report.html    both side by side

Nothing is judged that was learnt from: the suite's questions are cut in two (`learn:` and `judge:`).
"""

from pathlib import Path
from typing import NamedTuple

from analysis.report.summarize import Summary, summarize
from app.align_probe import probe_of
from app.alignment import Watch, resolved
from app.bench import BenchOptions, bench
from app.extras import extras, write_with_pages
from app.rounds import SAMPLED, RoundOptions, rounds
from app.show import Terminal
from model.align.config import AlignConfig, read_config
from model.tiny.codec import load_codec
from protocols.store import Run


class LoopOptions(NamedTuple):
    bench: BenchOptions  # of the base: its suite is cut in two, `out` is the loop's folder
    takes: int = 4  # of everything that is learnt from
    learnt_samples: int = 15  # of each task, at most
    most_pairs: int = 3  # of one sample
    steps: int = 40  # at most; few pairs are seen no more than twice
    probe_talks: int = 16


class Loop(NamedTuple):
    summary: Summary
    report: Path
    system: str
    pairs: int


def run_loop(options: LoopOptions, terminal: Terminal) -> Loop:
    """Make (or finish) the loop."""
    told = options.bench
    assert told.out is not None
    folder, base = told.out, told.system
    config = loop_config(base, folder, options.steps)
    watch = Watch(probe_of(Path(resolved(config).model.base), load_codec(), options.probe_talks))
    (one,) = rounds(config, 1, RoundOptions(_talks(options), options.most_pairs), terminal, watch)

    runs: list[Run] = []
    drive = told.drive._replace(seed=told.drive.seed + 1)  # other chance than in the talks it learnt from
    for name, system in (("base", base), ("aligned", one.system)):
        terminal.note(f"\n{system} talks about the other questions")
        judged = told._replace(suite=f"judge:{told.suite}", system=system, out=folder / name, drive=drive)
        runs.append(bench(judged._replace(decoding={**SAMPLED, **told.decoding}), terminal).run)
    summary = summarize(runs, extras=extras(runs, None, 0))
    return Loop(summary, write_with_pages(summary, runs, folder), one.system, one.pairs)


def _talks(options: LoopOptions) -> BenchOptions:
    """The talks it learns from: few samples of each task, several takes of each, read from the text stream."""
    told = options.bench
    few = min(options.learnt_samples, told.limit or options.learnt_samples)
    drive = told.drive._replace(repeats=options.takes)
    return told._replace(suite=f"learn:{told.suite}", drive=drive, limit=few, asr="none")


def loop_config(base: str, folder: Path, steps: int) -> AlignConfig:
    """The preset `tiny`, with every pair learnt from: how it goes is seen in talks, not in pairs kept back."""
    sets = {
        "model.base": base,
        "data.validation_share": 0,
        "optim.lr": 1e-4,  # pairs of the model's own takes bear more than pairs of anything else
        "optim.epochs": 2,
        "optim.max_steps": steps,
        "run.folder": folder,
        "run.eval_every": 0,
        "run.probe_every": max(1, steps // 3),
    }
    return read_config(None, "tiny", [f"{key}={value}" for key, value in sets.items()])
