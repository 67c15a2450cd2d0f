"""A finished dataset of pairs: its manifest with a content hash, reading it row by row, and telling what was changed.

dataset.json is written last; a folder that has one is whole. The hash is of the rows' values in their order, so it
says whether two datasets are the same whatever wrote their files.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from eval.pairs.build import PartInfo, PlanInfo, read_part, read_plan
from eval.pairs.marks import MarkedTurn
from eval.pairs.rows import SCHEMA, SOUNDS, PairRow, Part, TalkRow, digest_of_part, joined, tokens_of
from eval.pairs.tables import read_columns, read_rows
from eval.pairs.talks import Exclusion
from protocols.base import Value
from protocols.errors import StoreError
from protocols.replies import Tokens
from protocols.store import sha256_of, write_whole


class DatasetInfo(Value, frozen=True):
    """dataset.json."""

    schema: int
    digest: str
    parts: int
    talks: int  # read
    pairs: int
    excluded: dict[str, int]  # reason -> how many talks or flagged replies
    plan: PlanInfo


class Dataset:
    """A dataset folder that is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.info = msgspec.json.decode((path / "dataset.json").read_bytes(), type=DatasetInfo)
        except OSError as error:
            hint = "its build was not finished; give the build command again" if (path / "plan.json").exists() else (
                "no readable dataset.json in it")  # fmt: skip
            raise StoreError(f"{path} is not a whole dataset of pairs: {hint}") from error
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path / 'dataset.json'}: {error}; it may come from another version") from error
        if self.info.schema != SCHEMA:
            raise StoreError(f"{path} has schema {self.info.schema}; this version reads {SCHEMA}")

    def files(self, table: str, part: Part | None = None) -> list[Path]:
        """A table's files in order of shard."""
        found = (self.path / table).glob(f"{part}-*.parquet" if part else "*.parquet")
        return sorted(found, key=lambda path: (path.stem.rpartition("-")[2], path.stem))

    def pairs(self, part: Part | None = None) -> Iterator[PairRow]:
        for path in self.files("pairs", part):
            yield from read_rows(path, PairRow)

    def exclusions(self) -> Iterator[Exclusion]:
        for path in self.files("exclusions"):
            yield from read_rows(path, Exclusion)

    def marked(self) -> Iterator[MarkedTurn]:
        """Turns of talks that people marked, with the judges' word on them."""
        for path in self.files("marked"):
            yield from read_rows(path, MarkedTurn)

    def with_talks(self, part: Part | None = None) -> Iterator[tuple[TalkRow, PairRow]]:
        """Every pair beside the talk whose past it continues."""
        for path in self.files("pairs", part):
            talks = {row.talk: row for row in read_rows(self.path / "talks" / path.name, TalkRow)}
            for pair in read_rows(path, PairRow):
                yield talks[pair.talk], pair

    def token_pairs(self, part: Part | None = None) -> Iterator["TokenPair"]:
        """Every pair with tokens, as a trainer takes it."""
        for talk, pair in self.with_talks(part):
            past, chosen, rejected = (
                tokens_of(data, talk.streams) for data in (talk.tokens, pair.chosen_tokens, pair.rejected_tokens)
            )
            if past is not None and chosen is not None and rejected is not None:
                context = past[:, : pair.context_frames]
                yield TokenPair(pair.id, pair.talk, talk.window_start_frame, pair.kind, context, chosen, rejected)

    def verify(self) -> list[str]:
        """What is not as it was written: one sentence per file, none if all is."""
        found: list[str] = []
        digests: list[str] = []
        for number in range(self.info.parts):
            info = read_part(self.path, number)
            if info is None:
                found.append(f"part {number} is missing or not whole")
                continue
            digests.append(info.digest)
            changed = [n for n, sha in info.files.items() if sha256_of(self.path / n) != sha]
            found += [f"{name} was changed after it was written" for name in changed]
            if not changed and self._digest(info) != info.digest:
                found.append(f"part {number} does not hold the rows its manifest names")
        if not found and joined(digests) != self.info.digest:
            found.append("dataset.json names another content hash than its parts make")
        return found or self._sounds()

    def _digest(self, info: PartInfo) -> str:
        """As `build` made it, from what the files hold."""
        names = {table: [n for n in info.files if n.startswith(f"{table}/")] for table in ("talks", "pairs")}
        talks = [row for name in names["talks"] for row in read_rows(self.path / name, TalkRow)]
        pairs = [row for name in names["pairs"] for row in read_rows(self.path / name, PairRow)]
        out = [n for n in info.files if n.startswith("exclusions/")]
        excluded = [row for name in out for row in read_rows(self.path / name, Exclusion)]
        said = [n for n in info.files if n.startswith("marked/")]
        marked = [row for name in said for row in read_rows(self.path / name, MarkedTurn)]
        return digest_of_part(talks, pairs, excluded, marked)

    def _sounds(self) -> list[str]:
        """New sounds that are not there, or not as they were: the pairs and talks name every one of them."""
        named = {row["sound"] for path in self.files("talks") for row in read_columns(path, ("sound",))}
        for path in self.files("pairs"):
            named |= {cut["path"] for row in read_columns(path, ("chosen_sound",)) for cut in row["chosen_sound"]}
        files = sorted(name for name in named if name is not None and name.startswith(SOUNDS))
        lost = [f"{name} is missing" for name in files if not (self.path / name).is_file()]
        there = sorted((self.path / SOUNDS).glob("*.flac"))
        return lost + [f"{SOUNDS}{p.name} was changed after it was written" for p in there
                       if sha256_of(p)[:32] != p.stem]  # fmt: skip


class TokenPair(NamedTuple):
    """A shared past and two ways it goes on, int16 [streams, frames] each; contexts of one talk and window are
    views of one array."""

    id: str
    talk: str
    window_start_frame: int
    kind: str
    context: Tokens
    chosen: Tokens
    rejected: Tokens


def finish(folder: Path, parts: list[PartInfo]) -> DatasetInfo:
    """Write dataset.json; the dataset is whole from here on."""
    excluded: Counter[str] = Counter()
    for part in parts:
        excluded.update(part.excluded)
    info = DatasetInfo(
        SCHEMA, joined([p.digest for p in parts]), len(parts), sum(p.talks for p in parts), sum(p.pairs for p in parts),
        dict(sorted(excluded.items())), read_plan(folder),
    )  # fmt: skip
    write_whole(folder / "dataset.json", msgspec.json.format(msgspec.json.encode(info), indent=1))
    return info
