"""One alignment from a configuration to a model that talks: train, watch, write, and go on when told to again.

    FOLDER/config.json      what it was told, every default written out
    FOLDER/metrics.jsonl    a line of figures per step
    FOLDER/training.html    the same as curves
    FOLDER/model            the aligned model: the best step's, where validation named one
    FOLDER/checkpoints      to go on from

The same configuration and folder again go on from the newest checkpoint, and a finished training is only shown. Under
torchrun the first process does the talking and the writing. Where pairs come from is the caller's matter: the folder
`data.pairs`, or anything that gives TokenPairs.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from app.show import Terminal
from app.systems import NAMED
from model.align.board import Board, board
from model.align.config import AlignConfig
from model.align.data import TokenPair, read_pairs
from model.align.export import export
from model.align.journal import Journal
from model.align.probe import alarms
from model.align.start import start
from model.align.trainer import Probe, Trainer
from model.align.workers import ALONE, Workers
from protocols.errors import InputError, StoreError

SHOWN = {"loss": "loss", "rewards/accuracies": "accuracy", "eval_loss": "validation loss"}
PROBED = {"spoke": "spoke", "right": "right", "cut_in": "cut in", "yielded": "yielded", "endless": "endless"}


class Aligned(NamedTuple):
    folder: Path
    model: Path
    page: Path
    step: int  # the last one taken
    best_step: int  # the one the model is of
    lines: list[dict[str, float]]  # the journal's

    def line(self, step: int) -> dict[str, float]:
        """The figures of a step, nothing where the journal has none."""
        return next((line for line in self.lines if line["step"] == step), {})


class Watch(NamedTuple):
    """Who looks on."""

    probe: Probe | None = None
    tensorboard: bool = False


def resolved(config: AlignConfig) -> AlignConfig:
    """The same, `tiny:base` and `tiny:FOLDER` replaced by the folder they mean."""
    kind, colon, place = config.model.base.partition(":")
    if kind != "tiny" or not colon:
        return config
    return replace(config, model=replace(config.model, base=str(NAMED.get(place) or Path(place).expanduser())))


def dataset_pairs(folder: Path) -> Iterator[TokenPair] | None:
    """The pairs of a dataset that `duologue pairs build` made; None if the folder is another kind."""
    if not (folder / "dataset.json").exists():
        return None
    from eval.pairs.dataset import Dataset  # pyarrow is an extra

    found = Dataset(folder).token_pairs()
    return (TokenPair(p.id, p.talk, p.window_start_frame, p.kind, p.context, p.chosen, p.rejected) for p in found)


def pairs_in(folder: Path) -> Iterator[TokenPair]:
    """The pairs of a folder of either kind: a dataset, or what `write_pairs` made."""
    found = dataset_pairs(folder)
    return read_pairs(folder) if found is None else found


def align(
    config: AlignConfig,
    terminal: Terminal,
    watch: Watch,
    pairs: Iterable[TokenPair] | None = None,
    workers: Workers = ALONE,
) -> Aligned:
    """Make (or finish) an alignment. `pairs`: from elsewhere than the folder `data.pairs`."""
    config = resolved(config)
    folder = Path(config.run.folder)
    trainer = start(config, watch.probe, pairs_in(Path(config.data.pairs)) if pairs is None else pairs, workers)
    if trainer.resume() and workers.leads:
        terminal.note(f"going on after step {trainer.step} of {trainer.steps}")
    if (folder / "model").exists() and not trainer.stopped:
        raise InputError(f"{folder / 'model'} is there and its training is not; give another run.folder")
    if workers.leads:
        _write_config(folder, config)
        _train(trainer, folder, terminal, watch)
    else:
        list(trainer.run())
    return _finished(trainer, folder)


def _train(trainer: Trainer, folder: Path, terminal: Terminal, watch: Watch) -> None:
    done = trainer.step
    with ExitStack() as stack:
        add: Board | None = None
        if watch.tensorboard:
            add = stack.enter_context(board(folder / "tensorboard", trainer.step + 1 if trainer.step else 0))
        say = _Narrator(terminal.note, Journal(folder / "metrics.jsonl").lines() if trainer.step else [])
        stack.callback(_write_page, folder)  # also of a training that was stopped
        step = stack.enter_context(terminal.progress("aligning", trainer.steps))
        step(done)
        try:
            for line in trainer.run():
                step(int(line["step"]))
                say(line)
                if add:
                    add(line)
        except KeyboardInterrupt:
            kept = trainer.checkpoints.steps()
            after = f"after step {kept[-1]}" if kept else "from the start"
            terminal.say(f"Stopped. The same command goes on {after}; curves: {folder / 'training.html'}")
            raise
        step(trainer.steps)


class _Narrator:
    """Says aloud what a probe or a validation found, and when the model collapses."""

    def __init__(self, say: Callable[[str], None], before: Iterable[Mapping[str, float]]) -> None:
        self._say, self._base = say, next((found for line in before if (found := _probed(line))), None)

    def __call__(self, line: Mapping[str, float]) -> None:
        probed = _probed(line)
        if not probed and "eval_loss" not in line:
            return
        words = [f"{title} {line[name]:.3f}" for name, title in SHOWN.items() if name in line]
        words += [f"{title} {100 * probed[name]:.0f} %" for name, title in PROBED.items() if name in probed]
        if "replay" in probed:
            due = f", {probed['length']:.2f} of those due" if "length" in probed else ""
            words.append(f"{probed['replay']:.1f} words a reply{due}")
        if "latency" in probed:
            words.append(f"first word after {probed['latency']:.2f} s")
        self._say(f"step {line['step']:g}: {', '.join(words)}")
        if probed:
            self._base = self._base or probed
            for alarm in alarms(self._base, probed):
                self._say(f"Warning: the model {alarm}")


def _probed(line: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("probe/"): value for name, value in line.items() if name.startswith("probe/")}


def _finished(trainer: Trainer, folder: Path) -> Aligned:
    """The model's folder, written by the first process if it is not there yet."""
    step, best, out = trainer.step, trainer.take_best(), folder / "model"
    lm, leads = trainer.whole_model(), trainer.workers.leads
    if leads and not out.exists():
        export(lm, trainer.config.model, out)
    lines = Journal(folder / "metrics.jsonl").lines() if leads else []
    return Aligned(folder, out, folder / "training.html", step, best, lines)


def _write_page(folder: Path) -> None:
    from analysis.report.training import write_training

    path = folder / "metrics.jsonl"
    if path.exists():
        write_training(Journal(path).lines(), f"Alignment {folder.name}", folder / "training.html")


def _write_config(folder: Path, config: AlignConfig) -> None:
    path = folder / "config.json"
    part = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(config.plain(), indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
