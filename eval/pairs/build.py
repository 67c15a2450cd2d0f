"""From a source of raw talks to a dataset: shard by shard, each whole or not at all, so that a killed build goes on.

A shard is a fixed run of the source's talks and depends on nothing else, so shards may be made in any order and by
several processes, and the final hash is the same. Only names are kept in memory.

    plan.json                     what this build is of: another build on the same folder is refused
    pairs/train-00000.parquet     PairRow, and validation-...
    talks/train-00000.parquet     TalkRow
    exclusions/00000.parquet      what gave no pair, and why
    marked/00000.parquet          turns of talks that people marked, with the judges' word on them
    sounds/*.flac                 what a voice said anew
    parts/00000.json              a shard's manifest, written last
"""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from eval.hear_all import end_with_parent
from eval.pairs.checks import unfit
from eval.pairs.chosen import Parts
from eval.pairs.making import pairs_of
from eval.pairs.marks import MarkedTurn
from eval.pairs.rows import PARTS, SCHEMA, PairRow, TalkRow, digest_of_part, joined, rows_of
from eval.pairs.settings import PairSettings
from eval.pairs.source import Name, Source
from eval.pairs.tables import arrow, write_rows
from eval.pairs.talks import Exclusion, RawTalk
from protocols.base import Value
from protocols.contracts import Waiting
from protocols.errors import InputError, StoreError
from protocols.store import sha256_of, write_whole

SHARD = 256  # talks
SLOW_SHARD = 16  # the same where every talk takes seconds: what a kill loses stays small
PLAN_CUT = "plan.part"  # what a build leaves that is killed before it has a plan


class PartInfo(Value, frozen=True):
    """A shard's manifest."""

    number: int
    talks: int  # read, with pairs or without
    pairs: int
    digest: str
    files: dict[str, str]  # path -> sha256
    excluded: dict[str, int]  # reason -> how many


class PlanInfo(Value, frozen=True):
    """What a build is of."""

    schema: int
    digest: str
    talks: int
    shard: int
    sources: tuple[str, ...]
    parts: dict[str, str]  # critic, rewriter, answerer, voice -> source
    settings: dict[str, str]
    grid: dict[str, str] = {}  # what the rows of a token grid are


class Workshop(NamedTuple):
    """Everything a process needs to build shards. `settle` has all answered that talks wait for (`Waiting`)."""

    source: Source
    parts: Parts
    settings: PairSettings
    settle: Callable[[], object] | None = None


class Task(NamedTuple):
    number: int
    names: tuple[Name, ...]
    twice: frozenset[str]  # ids of talks whose sound stands earlier in the source


def build(
    make: Callable[[], Workshop],
    out: Path,
    workers: int = 1,
    shard: int = SHARD,
    progress: Callable[[int], None] = lambda done: None,
) -> list[PartInfo]:
    """Build what is missing. `make` gives each process its own workshop; with `workers` > 1 it must be picklable."""
    arrow()
    shop = make()
    names = list(shop.source.names())
    if not names:
        raise InputError(f"{shop.source.source} holds no talks")
    plan = plan_of(shop, names, shard)
    take_folder(out, plan)
    tasks = list(_tasks(names, shard))
    done = {task.number: info for task in tasks if (info := read_part(out, task.number)) is not None}
    progress(sum(info.talks for info in done.values()))
    for info in _made([t for t in tasks if t.number not in done], make, shop, out, workers):
        done[info.number] = info
        progress(sum(i.talks for i in done.values()))
    return [done[number] for number in sorted(done)]


def plan_of(shop: Workshop, names: Sequence[Name], shard: int) -> PlanInfo:
    settings = shop.settings.described()
    roles = {"critic": shop.parts.critic, "rewriter": shop.parts.rewriter, "answerer": shop.parts.answerer,
             "voice": shop.parts.voice}  # fmt: skip
    parts = {role: part.source for role, part in roles.items() if part is not None}
    parts["axes"] = ",".join(shop.parts.axes)
    listed = joined([f"{n.id} {n.sound_sha256}" for n in names])
    grid = shop.parts.layout.described() if shop.parts.layout.streams else {}
    told = [repr(sorted(of.items())) for of in (parts, settings, grid)]
    digest = joined([str(SCHEMA), shop.source.source, listed, str(shard), *told])
    return PlanInfo(SCHEMA, digest, len(names), shard, (shop.source.source,), parts, settings, grid)


def take_folder(out: Path, plan: PlanInfo) -> None:
    """Make a folder this build's own; StoreError if it is another's."""
    path = out / "plan.json"
    if path.exists():
        old = read_plan(out)
        if old.digest != plan.digest:
            raise StoreError(f"{out} holds another dataset (other talks, judges or settings); give another --out")
        return
    if out.exists() and any(p.name != PLAN_CUT for p in out.iterdir()):
        raise StoreError(f"{out} is not empty and holds no dataset; give another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(plan), indent=1))


def read_plan(folder: Path) -> PlanInfo:
    """What a folder's build is of; StoreError if it is no dataset."""
    try:
        return msgspec.json.decode((folder / "plan.json").read_bytes(), type=PlanInfo)
    except OSError as error:
        raise StoreError(f"{folder} is not a dataset of pairs: no readable plan.json in it") from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"{folder / 'plan.json'}: {error}; it may come from another version of duologue") from error


def read_part(folder: Path, number: int) -> PartInfo | None:
    """A shard's manifest, if the shard is whole."""
    path = folder / "parts" / f"{number:05d}.json"
    try:
        info = msgspec.json.decode(path.read_bytes(), type=PartInfo)
    except (OSError, msgspec.MsgspecError):
        return None
    return info if all((folder / name).exists() for name in info.files) else None


def _tasks(names: Iterable[Name], shard: int) -> Iterator[Task]:
    seen: set[str] = set()
    rest, number = iter(names), 0
    while group := tuple(islice(rest, shard)):
        twice = set()
        for name in group:
            if name.sound_sha256 is not None:
                if name.sound_sha256 in seen:
                    twice.add(name.id)
                seen.add(name.sound_sha256)
        yield Task(number, group, frozenset(twice))
        number += 1


def _made(
    tasks: Sequence[Task], make: Callable[[], Workshop], shop: Workshop, out: Path, workers: int
) -> Iterator[PartInfo]:
    if workers == 1 or len(tasks) < 2:
        yield from (build_shard(shop, task, out) for task in tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(make,)) as pool:
        waiting: set[Future[PartInfo]] = set()
        for task in tasks:
            if len(waiting) >= 2 * workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
            waiting.add(pool.submit(_shard, task, out))
        yield from (future.result() for future in waiting)


_shops: list[Workshop] = []  # of a worker process: one


def _begin(make: Callable[[], Workshop]) -> None:
    """Begin a worker: it does not outlive its parent."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    _shops.append(make())


def _shard(task: Task, out: Path) -> PartInfo:
    return build_shard(_shops[0], task, out)


def build_shard(shop: Workshop, task: Task, out: Path) -> PartInfo:
    """Make and write one shard."""
    done: dict[int, _Done] = {}
    waiting: dict[int, RawTalk] = {}
    for place, name in enumerate(task.names):
        if name.id in task.twice:
            done[place] = _Done((Exclusion(name.id, "duplicate", "the same sound stands earlier in the source"),))
            continue
        raw = shop.source.read(name)
        bad = raw if isinstance(raw, Exclusion) else unfit(raw, shop.settings, shop.parts.layout)
        if isinstance(raw, Exclusion) or bad is not None:
            done[place] = _Done((bad,) if bad is not None else ())
        elif (made := _made_of(shop, raw, out)) is None:
            waiting[place] = raw
        else:
            done[place] = made
    while waiting:
        assert shop.settle is not None
        shop.settle()
        done |= {place: made for place, raw in waiting.items() if (made := _made_of(shop, raw, out)) is not None}
        waiting = {place: raw for place, raw in waiting.items() if place not in done}
    ordered = [done[place] for place in sorted(done)]
    return write_shard(
        out, task.number, len(task.names), [d.talk for d in ordered if d.talk is not None],
        [pair for d in ordered for pair in d.pairs], [e for d in ordered for e in d.excluded],
        [m for d in ordered for m in d.marked],
    )  # fmt: skip


class _Done(NamedTuple):
    """What became of a talk."""

    excluded: tuple[Exclusion, ...]
    talk: TalkRow | None = None
    pairs: tuple[PairRow, ...] = ()
    marked: tuple[MarkedTurn, ...] = ()


def _made_of(shop: Workshop, raw: RawTalk, out: Path) -> _Done | None:
    """A talk as rows; None where an answer is not there yet."""
    try:
        made = pairs_of(raw, shop.parts, shop.settings)
    except Waiting:
        return None
    if not made.pairs:
        return _Done(made.exclusions, marked=made.marked)
    rows = rows_of(raw, made, shop.parts, shop.settings)
    for file, data in rows.sounds.items():
        _keep(out / file, data)
    return _Done(made.exclusions, rows.talk, rows.pairs, made.marked)


def _keep(path: Path, data: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)


def write_shard(
    out: Path, number: int, n_talks: int, talks: Sequence[TalkRow], pairs: Sequence[PairRow],
    excluded: Sequence[Exclusion], marked: Sequence[MarkedTurn] = (),
) -> PartInfo:  # fmt: skip
    """A shard's tables, and last its manifest."""
    files: dict[str, str] = {}
    for part in PARTS:
        chosen = {"talks": ([t for t in talks if t.split == part], TalkRow),
                  "pairs": ([p for p in pairs if p.split == part], PairRow)}  # fmt: skip
        for table, (rows, kind) in chosen.items():
            if rows:
                _write(out, f"{table}/{part}-{number:05d}.parquet", rows, kind, files)  # type: ignore[arg-type]
    if excluded:
        _write(out, f"exclusions/{number:05d}.parquet", excluded, Exclusion, files)
    if marked:
        _write(out, f"marked/{number:05d}.parquet", marked, MarkedTurn, files)
    talks_in_files = sorted(talks, key=lambda row: PARTS.index(row.split))
    pairs_in_files = sorted(pairs, key=lambda row: PARTS.index(row.split))
    digest = digest_of_part(talks_in_files, pairs_in_files, excluded, marked)
    reasons = dict(sorted(Counter(e.reason for e in excluded).items()))
    info = PartInfo(number, n_talks, len(pairs), digest, files, reasons)  # type: ignore[arg-type]
    path = out / "parts" / f"{number:05d}.json"
    path.parent.mkdir(exist_ok=True)
    write_whole(path, msgspec.json.encode(info))
    return info


def _write(out: Path, name: str, rows: Sequence[Value], kind: type[Value], files: dict[str, str]) -> None:
    write_rows(out / name, rows, kind)
    files[name] = sha256_of(out / name)
