"""Preference pairs as the trainer sees them: a shared past and two ways it goes on, as the model's own tokens.

    index.json                what is there: schema, talks, pairs
    tokens-00000.safetensors  int16 [streams, frames]: "talk/NAME", "chosen/NAME", "rejected/NAME"

A talk's tokens are stored once and a pair's context is their first `context_frames`, so pairs of one talk and window
share their past by construction; this is what lets the trainer compute it once. Frames are the model's training
columns (agent frame j beside the user's frame j + 1, see model.lm); NO_INPUT (-1) stands for an unknown code. Anything
that iterates over TokenPairs can take this reader's place. How pairs come about is not known here.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from model.align.mapped import mapped_tokens
from model.lm import NO_INPUT, LMConfig
from protocols.base import Value
from protocols.errors import InputError, unknown_name

SCHEMA: Literal[1] = 1
Tokens = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class TokenPair:
    """One preference. Tokens are [streams, frames] in the model's order: text, agent audio, user audio."""

    id: str
    talk: str
    window_start_frame: int  # of the talk, where the context begins
    kind: str
    context: Tokens
    chosen: Tokens
    rejected: Tokens
    given: int = 0  # frames at the rejected one's beginning that are heard and not scored

    def __post_init__(self) -> None:
        parts = {"context": self.context, "chosen": self.chosen, "rejected": self.rejected}
        for name, tokens in parts.items():
            if tokens.dtype != np.int16 or tokens.ndim != 2 or len(tokens) != len(self.context):
                raise InputError(
                    f"pair {self.id}: {name} must be int16 [streams, frames], not {tokens.dtype} {tokens.shape}"
                )
            if name != "context" and not tokens.shape[1]:
                raise InputError(f"pair {self.id}: the {name} reply has no frames")
        if not 0 <= self.given < self.rejected.shape[1]:
            raise InputError(f"pair {self.id}: {self.given} of {self.rejected.shape[1]} frames are given")
        if np.array_equal(self.chosen, self.rejected):
            raise InputError(f"pair {self.id}: the chosen and the rejected reply are the same")

    @property
    def replies(self) -> tuple[Tokens, Tokens]:
        return self.chosen, self.rejected

    @property
    def digest(self) -> str:
        """Of the tokens and of which are scored, and of nothing else."""
        sha = hashlib.sha256()
        for tokens in (self.context, *self.replies):
            sha.update(f"{tokens.shape}".encode() + np.ascontiguousarray(tokens).tobytes())
        if self.given:
            sha.update(f"given {self.given}".encode())
        return sha.hexdigest()


class Trunk(NamedTuple):
    """Pairs of one talk and window, in order of their diverging frames; the last one's context holds the others'."""

    pairs: tuple[TokenPair, ...]

    @property
    def context(self) -> Tokens:
        return self.pairs[-1].context


class Split(NamedTuple):
    train: list[Trunk]
    validation: list[Trunk]


def check_pair(pair: TokenPair, config: LMConfig) -> None:
    """InputError unless this model can be given this pair."""
    if len(pair.context) != len(config.cards):
        raise InputError(f"pair {pair.id} has {len(pair.context)} streams; the model has {len(config.cards)}")
    frames = pair.context.shape[1] + max(reply.shape[1] for reply in pair.replies)
    if frames > config.context:
        raise InputError(f"pair {pair.id} is {frames} frames long; the model attends to {config.context}")
    for name, tokens in (("context", pair.context), ("chosen", pair.chosen), ("rejected", pair.rejected)):
        outside = (tokens >= np.array(config.cards)[:, None]) | (tokens < NO_INPUT)
        if outside.any():
            stream, frame = (int(x[0]) for x in outside.nonzero())
            raise InputError(
                f"pair {pair.id}: {name}, stream {stream}, frame {frame} is token {tokens[stream, frame]}; "
                f"that vocabulary has {config.cards[stream]}"
            )


def trunks(pairs: Iterable[TokenPair], most: int) -> list[Trunk]:
    """Pairs of one talk and window beside each other, at most `most` in a trunk.

    Two names for one pair, or contexts that differ where they should be the same, are an InputError.
    """
    groups: dict[tuple[str, int], list[TokenPair]] = {}
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise InputError(f"there are two pairs named {pair.id}")
        seen.add(pair.id)
        groups.setdefault((pair.talk, pair.window_start_frame), []).append(pair)
    made = []
    for group in groups.values():
        group.sort(key=lambda pair: (pair.context.shape[1], pair.id))
        for one, longest in ((pair, group[-1]) for pair in group):
            if not np.array_equal(one.context, longest.context[:, : one.context.shape[1]]):
                raise InputError(f"pairs {one.id} and {longest.id} are of one talk and window, with different contexts")
        made += [Trunk(tuple(group[i : i + most])) for i in range(0, len(group), most)]
    return made


def of_kinds(pairs: Iterable[TokenPair], kinds: Sequence[str]) -> Iterator[TokenPair]:
    """The pairs of these kinds, all where none is named. A kind of which there is none is an InputError, at the end."""
    seen: set[str] = set()
    for pair in pairs:
        seen.add(pair.kind)
        if not kinds or pair.kind in kinds:
            yield pair
    for kind in kinds:
        if kind not in seen:
            raise unknown_name("kind of pair", kind, seen)


def split(all_trunks: Sequence[Trunk], share: float, seed: int) -> Split:
    """About `share` of the talks for validation; which ones hangs on their names and the seed alone."""

    def kept(trunk: Trunk) -> bool:
        digest = hashlib.sha256(f"{seed}/{trunk.pairs[0].talk}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    held = [trunk for trunk in all_trunks if kept(trunk)]
    rest = [trunk for trunk in all_trunks if not kept(trunk)]
    if share and not held and len({trunk.pairs[0].talk for trunk in rest}) > 1:
        held = [trunk for trunk in rest if trunk.pairs[0].talk == rest[-1].pairs[0].talk]
        rest = [trunk for trunk in rest if trunk.pairs[0].talk != held[0].pairs[0].talk]
    if not rest:
        raise InputError("no talk is left for training; give more talks or a smaller validation_share")
    return Split(rest, held)


class Entry(Value, frozen=True, forbid_unknown_fields=True):
    """A pair in index.json."""

    id: str
    talk: str
    window_start_frame: int
    kind: str
    context_frames: int
    shard: str
    given: int = 0


class Index(Value, frozen=True, forbid_unknown_fields=True):
    schema: Literal[1]
    pairs: list[Entry]


def write_pairs(folder: Path, all_pairs: Iterable[TokenPair], talks_per_shard: int = 256) -> Path:
    """Write index.json and its shards; index.json last, so a folder that has one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    entries: list[Entry] = []
    whole = trunks(all_pairs, most=1 << 30)
    for start in range(0, len(whole), talks_per_shard):
        shard = f"tokens-{start // talks_per_shard:05d}.safetensors"
        tensors: dict[str, Tokens] = {}
        for trunk in whole[start : start + talks_per_shard]:
            for pair in trunk.pairs:
                name = _talk_name(pair.talk, pair.window_start_frame)
                tensors |= {name: trunk.context, f"chosen/{pair.id}": pair.chosen, f"rejected/{pair.id}": pair.rejected}
                about = (
                    pair.id,
                    pair.talk,
                    pair.window_start_frame,
                    pair.kind,
                    pair.context.shape[1],
                    shard,
                    pair.given,
                )
                entries.append(Entry(*about))
        save_file({name: np.ascontiguousarray(tokens) for name, tokens in tensors.items()}, folder / f"{shard}.part")
        os.replace(folder / f"{shard}.part", folder / shard)
    index = folder / "index.json"
    index.with_suffix(".part").write_bytes(msgspec.json.format(msgspec.json.encode(Index(SCHEMA, entries)), indent=1))
    os.replace(index.with_suffix(".part"), index)
    return index


def read_pairs(folder: Path) -> Iterator[TokenPair]:
    """The pairs of a folder, shard by shard, their tokens left in its files. What cannot be read is an InputError."""
    path = folder / "index.json"
    try:
        index = msgspec.json.decode(path.read_bytes(), type=Index)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    shards: dict[str, list[Entry]] = {}
    for entry in index.pairs:
        shards.setdefault(entry.shard, []).append(entry)
    for shard, entries in shards.items():
        yield from _read_shard(folder / shard, entries)


def _read_shard(path: Path, entries: Sequence[Entry]) -> Iterator[TokenPair]:
    tokens = mapped_tokens(path)
    for entry in entries:
        names = (_talk_name(entry.talk, entry.window_start_frame), f"chosen/{entry.id}", f"rejected/{entry.id}")
        for name in names:
            if name not in tokens:
                raise InputError(f"{path} has no {name}, which index.json promises")
        talk, chosen, rejected = (tokens[name] for name in names)
        about = (entry.id, entry.talk, entry.window_start_frame, entry.kind)
        yield TokenPair(*about, talk[:, : entry.context_frames], chosen, rejected, entry.given)


def _talk_name(talk: str, window_start_frame: int) -> str:
    return f"talk/{talk}@{window_start_frame}"


def digest_of(all_trunks: Iterable[Trunk]) -> str:
    """Of pairs and their order."""
    return hashlib.sha256(json.dumps([p.digest for t in all_trunks for p in t.pairs]).encode()).hexdigest()
