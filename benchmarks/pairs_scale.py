"""Pair building at the paper's size: how long it takes, how much memory over its whole course, and whether a build that
is killed in the middle ends as one that was not. `python -m benchmarks.pairs_scale [TALKS] [WORKERS]`.

The command is run as a user runs it. Memory and processor time are those of the command and its worker processes,
read from /proc every second.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eval.pairs.dataset import Dataset

TALKS = 92_300  # of synthetic ones: 154,301 pairs and a few more
TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
COLUMNS = ["build", "talks", "pairs", "minutes", "processor minutes", "MB after 1/4, 2/4, 3/4, all", "peak, MB", "hash"]


class Course(NamedTuple):
    """A command's way: seconds it ran, and what it and its processes took."""

    seconds: float
    processor: float  # seconds
    memory: tuple[float, ...]  # MB, once a second


def processes(root: int) -> dict[int, tuple[float, float]]:
    """A process and its descendants: processor seconds, and resident MB."""
    parents, found = dict[int, int](), dict[int, tuple[float, float]]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            seconds = (int(fields[11]) + int(fields[12])) / TICKS
            found[int(entry.name)] = seconds, int(fields[21]) * PAGE / 2**20
    family = {root}
    while more := {p for p, parent in parents.items() if parent in family} - family:
        family |= more
    return {p: found[p] for p in family if p in found}


def watched(out: Path, talks: int, workers: int, kill_at: float | None = None) -> Course:
    """Run the build. `kill_at`: the share of its shards after which it is killed, and all its processes with it."""
    command = [sys.executable, "-m", "app.cli", "pairs", "build", f"synthetic:{talks}", "--judge", "synthetic",
               "--workers", str(workers), "--out", str(out), "--json"]  # fmt: skip
    begun = time.monotonic()
    processor: dict[int, float] = {}
    memory: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            family = processes(run.pid)
            processor |= {p: seconds for p, (seconds, _) in family.items()}
            memory.append(sum(mb for _, mb in family.values()))
            if kill_at is not None and len(list((out / "parts").glob("*.json"))) >= kill_at * talks / 256:
                for pid in family:
                    os.kill(pid, signal.SIGKILL)
                break
            time.sleep(1)
    if kill_at is None and run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    return Course(time.monotonic() - begun, sum(processor.values()), tuple(memory))


def table(talks: int = TALKS, workers: int = 2, kill_at: float = 0.4) -> list[list[str]]:
    """A build left alone, and one that is killed in the middle and then told again."""
    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole", Path(folder) / "cut"
        rows = [_row("left alone", watched(whole, talks, workers), whole)]
        rows.append(_row(f"killed after {kill_at:.0%}", watched(cut, talks, workers, kill_at), cut))
        rows.append(_row("told again", watched(cut, talks, workers), cut))
        made = [Dataset(path) for path in (whole, cut)]
        changed = [line for dataset in made for line in dataset.verify()]
        if made[0].info.digest != made[1].info.digest or changed:
            raise SystemExit(f"the killed build is another one: {[m.info.digest for m in made]} {changed}")
    return rows


def _row(name: str, course: Course, out: Path) -> list[str]:
    done = [json.loads(p.read_bytes()) for p in (out / "parts").glob("*.json")]
    finished = (out / "dataset.json").exists()
    return [name, f"{sum(d['talks'] for d in done):,}", f"{sum(d['pairs'] for d in done):,}",
            f"{course.seconds / 60:.1f}", f"{course.processor / 60:.1f}", ", ".join(_quarters(course.memory)),
            f"{max(course.memory):.0f}", Dataset(out).info.digest[:12] if finished else "none yet"]  # fmt: skip


def _quarters(memory: Sequence[float]) -> list[str]:
    return [f"{memory[min(len(memory) * n // 4, len(memory) - 1) - (n == 4)]:.0f}" for n in (1, 2, 3, 4)]


if __name__ == "__main__":
    for row in [COLUMNS, *table(*map(int, sys.argv[1:3]))]:
        print("  ".join(f"{cell:<18}" for cell in row), flush=True)
