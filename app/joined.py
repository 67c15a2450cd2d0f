"""Several runs of one suite as one: the k-th run's talks are the k-th take of every sample.

So trainings from several seeds become takes of one arm, and a comparison counts their talks within the item they are
of. Nothing is heard or scored again; sound is linked, not copied, where the file system can.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from protocols.errors import InputError
from protocols.records import Conversation, Listening, Sample, Score
from protocols.store import Run


def joined(runs: Sequence[Run], name: str, path: Path) -> Run:
    """The run of these under one system's name, in `path`; only read where it is there.

    InputError: a run is not done, or holds several takes itself.
    """
    if (path / "run.json").exists():
        return Run(path)
    for run in runs:
        if run.info.status != "done" or run.info.protocol.repeats != 1:
            raise InputError(f"{run.path} cannot be joined: it must be done and hold one talk of each sample")
    part = path.with_name(f"{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    first = runs[0].info
    info = replace(
        first, system=name, protocol=replace(first.protocol, repeats=len(runs)), n_planned=len(runs) * first.n_planned
    )
    made = Run.create(part, replace(info, sealed={}))
    with made.writing() as writing:
        writing.append(*runs[0].read(Sample))
        for take, run in enumerate(runs):
            writing.append(*(_placed(talk, run, made, take) for talk in run.read(Conversation)))
            writing.append(*(replace(heard, take=take) for heard in run.read(Listening)))
            writing.append(*(replace(score, take=take) for score in run.read(Score)))
        writing.seal()
    os.replace(part, path)
    return Run(path)


def _placed(talk: Conversation, run: Run, made: Run, take: int) -> Conversation:
    """A talk as this take, its sound beside the others'."""
    if talk.recording is None:
        return replace(talk, take=take, tokens=None)
    name = f"audio/{take}-{Path(talk.recording.path).name}"
    try:
        os.link(run.path / talk.recording.path, made.path / name)
    except OSError:
        shutil.copyfile(run.path / talk.recording.path, made.path / name)
    return replace(talk, take=take, tokens=None, recording=replace(talk.recording, path=name))
