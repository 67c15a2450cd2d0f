"""`duologue align --rounds N`: a model talks, its better takes are set before its worse ones, it is aligned, and again.

    FOLDER/round-1/talks      several takes of everything it is asked
    FOLDER/round-1/pairs      its own better takes before its own worse ones
    FOLDER/round-1/aligned    the training, with its curves; the model is tiny:FOLDER/round-1/aligned/model
    FOLDER/round-2/...        the same, from there on

Each round's talks are of the model as it then is, and that model is the round's reference. Talks are sampled at
temperature 1: likelier decodings hide faults of chance. Every stage goes on where it was stopped. Nobody outside is
asked: timing is judged by program, content by the closed world's truth.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from app.alignment import Aligned, Watch, align
from app.bench import BenchOptions, bench
from app.pairs import BuildOptions, build_takes
from app.pairs_parts import Judging
from app.show import Terminal
from eval.pairs.settings import PairSettings
from eval.pairs.stats import stats_of
from model.align.config import AlignConfig

SAMPLED = {"text_temperature": 1.0, "text_top_k": 0.0}


class RoundOptions(NamedTuple):
    """What the talks of a round are."""

    talks: BenchOptions  # with whom: its suite, and how talks are held; `drive.repeats` takes of each sample
    most: int = 2  # pairs of one sample


class Round(NamedTuple):
    pairs: int
    made: Aligned

    @property
    def system(self) -> str:
        return f"tiny:{self.made.model}"


def rounds(config: AlignConfig, n: int, options: RoundOptions, terminal: Terminal, watch: Watch) -> Iterator[Round]:
    """Make (or finish) one round after the other; `config.data.pairs` is each round's own."""
    system, folder = config.model.base, Path(config.run.folder)
    for number in range(1, n + 1):
        one = _round(config, system, folder / f"round-{number}", options, terminal, watch)
        yield one
        system = one.system


def _round(
    config: AlignConfig, system: str, folder: Path, options: RoundOptions, terminal: Terminal, watch: Watch
) -> Round:
    pairs = own_pairs(system, folder, options, terminal)
    terminal.note(f"\nIt learns from {pairs} pairs")
    told_here = replace(
        config,
        model=replace(config.model, base=system),
        data=replace(config.data, pairs=str(folder / "pairs")),
        run=replace(config.run, folder=str(folder / "aligned")),
    )
    return Round(pairs, align(told_here, terminal, watch))


def own_pairs(system: str, folder: Path, options: RoundOptions, terminal: Terminal) -> int:
    """Make (or finish) a system's takes and the pairs of them, in folder/talks and folder/pairs; how many pairs."""
    told = options.talks
    terminal.note(f"\n{system} talks to users of {told.suite}, {told.drive.repeats} takes each")
    bench(told._replace(system=system, out=folder / "talks", decoding={**SAMPLED, **told.decoding}), terminal)
    terminal.note("\nIts better takes are set before its worse ones: timing by program, content by the world's truth")
    settings = PairSettings(validation_share=0)
    build = BuildOptions((str(folder / "talks"),), folder / "pairs", Judging("world"), settings=settings)
    stats = stats_of(build_takes(build, options.most, terminal))
    terminal.note(", ".join(f"{row.pairs} {row.type.strip()}" for row in stats.types if row.pairs))
    return stats.pairs
