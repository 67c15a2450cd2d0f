"""The listening stage: every talk of a run heard, over as many processes as are wanted.

Each line of `listening.jsonl` stands for one talk; talks that have one are not heard again. Lines are written in the
order of the talks whatever process is done first, so a run's rows do not depend on the number of processes. A process
makes its own instruments (a detector keeps state between frames) from a function that can be sent to it. What is heard
in one talk is `eval.listen`'s.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from eval.listen import NOTHING, Told, hear
from protocols.contracts import ActivityDetector, Transcriber
from protocols.errors import WorkerDied
from protocols.records import Conversation, Listening
from protocols.store import Run

AHEAD = 4  # talks per process that are handed out before the first of them is back
WORTH = 8  # talks to hear for which one more process is started


class Instruments(NamedTuple):
    detector: ActivityDetector
    transcriber: Transcriber | None


class Ask(NamedTuple):
    """One talk to hear."""

    talk: Conversation
    words: bool = True  # is a transcriber asked for them
    told: Told = NOTHING


def open_instruments(asr: str) -> Instruments:
    """The product's detector, and a transcriber by its name (`eval.words.load_transcriber`)."""
    from eval.activity import SileroActivity
    from eval.words import load_transcriber

    return Instruments(SileroActivity(), load_transcriber(asr))


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def listen(
    run: Run,
    here: Instruments,
    ask: Callable[[Conversation], Ask] = Ask,
    progress: Callable[[int], None] = lambda done: None,
    jobs: int = 1,
    make: Callable[[], Instruments] | None = None,
) -> int:
    """Hear every talk of a run that was not heard yet; how many that were.

    here: the instruments of this process. ask: what is wanted of a talk. make: the instruments once more, for up to
    `jobs` processes of their own (without it, or with too few talks to be worth it, all is heard here). A process that
    dies is a `WorkerDied`; what was heard before it stays.
    """
    heard = {row.key for row in run.read(Listening)}
    asks = [ask(talk) for talk in run.read(Conversation) if talk.recording is not None and talk.key not in heard]
    jobs = min(jobs, len(asks) // WORTH)
    rows = (_hear(run, here, ask) for ask in asks) if make is None or jobs < 2 else _over(run, make, jobs, asks)
    progress(len(heard))
    with run.writing() as writing:
        for done, row in enumerate(rows, len(heard) + 1):
            writing.append(row)
            progress(done)
    return len(asks)


def _hear(run: Run, with_: Instruments, ask: Ask) -> Listening:
    talk = ask.talk
    assert talk.recording is not None
    words = with_.transcriber if ask.words else None
    return hear(talk, run.read_audio(talk.recording), talk.recording.sample_rate, with_.detector, words, ask.told)


def _over(run: Run, make: Callable[[], Instruments], jobs: int, asks: list[Ask]) -> Iterator[Listening]:
    """Rows in the order of `asks`, heard by `jobs` processes."""
    fresh = multiprocessing.get_context("spawn")  # a forked process would share what torch or CUDA hold
    pool = ProcessPoolExecutor(jobs, fresh, _start, (run.path, make))
    waiting: deque[Future[Listening]] = deque()
    try:
        for ask in asks:
            waiting.append(pool.submit(_answer, ask))
            if len(waiting) == jobs * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerDied(
            f"a process that listened to {run.path} died (out of memory, or ended from outside); "
            "the same command goes on from there, with fewer processes by --jobs"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Place(NamedTuple):
    run: Run
    instruments: Instruments


_place: list[_Place] = []  # of a worker process: set once when it starts, empty elsewhere


def _start(path: Path, make: Callable[[], Instruments]) -> None:
    """Begin a worker: it leaves interrupts to its parent and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _place.append(_Place(Run(path), make()))


def end_with_parent() -> None:
    """Wait for the parent of this process, and go when it is gone, however it ended; for a thread of a worker."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(ask: Ask) -> Listening:
    return _hear(_place[0].run, _place[0].instruments, ask)
