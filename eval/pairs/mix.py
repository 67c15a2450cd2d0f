"""A mix: so many pairs of each type out of a dataset, as a dataset of its own.

Which ones is decided by a hash of seed and pair, so a larger mix of one seed holds every smaller one. Validation pairs
are never touched: every mix has the whole validation part, the same for all.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from eval.pairs.build import PartInfo, PlanInfo, write_shard
from eval.pairs.dataset import Dataset, DatasetInfo, finish
from eval.pairs.rows import SOUNDS, PairRow, TalkRow, joined
from eval.pairs.settings import KINDS
from eval.pairs.tables import read_columns, read_rows
from protocols.errors import InputError, StoreError
from protocols.store import write_whole

PAPER = {"cuts_user": 0.27 * 0.64, "silent": 0.27 * 0.36}  # of the final mix; the rest has content faults


def paper_mix(total: int) -> dict[str, int]:
    """Counts of the paper's final mix: 27 % timing alone (36 % of it silent, 64 % cutting), 73 % with content."""
    cuts, silent = (round(total * PAPER[kind]) for kind in ("cuts_user", "silent"))
    return {"with_content": total - cuts - silent, "cuts_user": cuts, "silent": silent}


def mix(
    dataset: Dataset, out: Path, counts: Mapping[str, int], seed: int = 0, unique: bool = False,
    without: Collection[str] = (),
) -> DatasetInfo:  # fmt: skip
    """Write the mix into a new folder. `without`: pairs by id that somebody marked as bad. InputError if there are
    too few of a type, with what there is."""
    if out.exists() and any(out.iterdir()):
        raise StoreError(f"{out} is not empty; give another --out")
    if wrong := set(counts) - {*KINDS, "with_content"}:
        raise InputError(f"unknown type of pair {sorted(wrong)[0]!r}; known: {', '.join((*KINDS, 'with_content'))}")
    chosen = choose(dataset, counts, seed, unique, without)
    out.mkdir(parents=True, exist_ok=True)
    _write_plan(dataset, out, counts, seed, unique, without)
    parts = [_shard(dataset, out, number, chosen, frozenset(without)) for number in range(dataset.info.parts)]
    return finish(out, parts)


def choose(
    dataset: Dataset, counts: Mapping[str, int], seed: int, unique: bool, without: Collection[str] = ()
) -> frozenset[str]:
    """Ids of the train pairs of a mix."""
    found: dict[str, list[tuple[bytes, str]]] = defaultdict(list)
    bad = frozenset(without)
    for path in dataset.files("pairs", "train"):
        for row in read_columns(path, ("id", "kind", "rank")):
            if row["id"] in bad or (unique and row["rank"]):
                continue
            rank = hashlib.sha256(f"{seed}/{row['id']}".encode()).digest()
            for name in (row["kind"], *(("with_content",) if row["kind"] in ("content", "mixed") else ())):
                if name in counts:
                    found[name].append((rank, row["id"]))
    chosen: set[str] = set()
    for name, n in counts.items():
        if len(found[name]) < n:
            raise InputError(f"{n:,} pairs of type {name} are wanted; {dataset.path} has {len(found[name]):,} in train")
        chosen.update(pair for _, pair in heapq.nsmallest(n, found[name]))
    return frozenset(chosen)


def _write_plan(
    dataset: Dataset, out: Path, counts: Mapping[str, int], seed: int, unique: bool, without: Collection[str]
) -> None:
    old: PlanInfo = dataset.info.plan
    settings = {**old.settings, "mix": ", ".join(f"{k} {n}" for k, n in sorted(counts.items())), "mix_seed": str(seed),
                "mix_unique": str(unique), "mix_without": str(len(without))}  # fmt: skip
    digest = joined([dataset.info.digest, repr(sorted(settings.items()))])
    plan = msgspec.structs.replace(old, digest=digest, settings=settings,
                                   sources=(f"mix of {dataset.info.digest[:16]}", *old.sources))  # fmt: skip
    write_whole(out / "plan.json", msgspec.json.format(msgspec.json.encode(plan), indent=1))


def _shard(dataset: Dataset, out: Path, number: int, chosen: frozenset[str], without: frozenset[str]) -> PartInfo:
    talks: list[TalkRow] = []
    pairs: list[PairRow] = []
    for part in ("train", "validation"):
        name = f"{part}-{number:05d}.parquet"
        if not (dataset.path / "pairs" / name).exists():
            continue
        rows = read_rows(dataset.path / "pairs" / name, PairRow)
        kept = [p for p in rows if (p.id in chosen if part == "train" else p.id not in without)]
        wanted = {p.talk for p in kept}
        talks += [t for t in read_rows(dataset.path / "talks" / name, TalkRow) if t.talk in wanted]
        pairs += kept
    named = {cut.path for p in pairs for cut in p.chosen_sound} | {t.sound for t in talks if t.sound is not None}
    for file in (name for name in named if name.startswith(SOUNDS)):
        target = out / file
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, (dataset.path / file).read_bytes())
    return write_shard(out, number, len(talks), talks, pairs, ())
