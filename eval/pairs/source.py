"""Where raw talks come from, as a build sees it: names first, then one talk at a time."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from eval.pairs.talks import Exclusion, Mark, RawTalk


class Name(NamedTuple):
    """A talk of a source. `sound_sha256` finds talks that are there twice; None: not known without reading it."""

    id: str
    key: str  # what the source finds it by
    sound_sha256: str | None = None


class Source(Protocol):
    """Raw talks in a fixed order."""

    @property
    def source(self) -> str:
        """Its name and version in one short string."""
        ...

    def names(self) -> Iterator[Name]: ...

    def read(self, name: Name) -> RawTalk | Exclusion:
        """A talk, or why it cannot be had."""
        ...


class Altered(ABC):
    """A source whose talks are another's, each altered; what the other cannot give stays left out."""

    def __init__(self, source: Source, how: str) -> None:
        self._source = source
        self.source = f"{source.source}+{how}"

    def names(self) -> Iterator[Name]:
        return self._source.names()

    def read(self, name: Name) -> RawTalk | Exclusion:
        raw = self._source.read(name)
        return raw if isinstance(raw, Exclusion) else self.alter(name, raw)

    @abstractmethod
    def alter(self, name: Name, raw: RawTalk) -> RawTalk | Exclusion:
        """The talk as this source gives it."""


class MarkedTalks(Altered):
    """A source whose talks carry what people marked in them, by the talk's id or what stands after its first slash."""

    def __init__(self, source: Source, marks: Mapping[str, tuple[Mark, ...]]) -> None:
        super().__init__(source, f"marks:{hashlib.sha256(repr(sorted(marks.items())).encode()).hexdigest()[:8]}")
        self._marks = marks

    def alter(self, name: Name, raw: RawTalk) -> RawTalk:
        short = raw.id.partition("/")[2]
        return raw._replace(marks=(*raw.marks, *self._marks.get(raw.id, ()), *self._marks.get(short, ())))


class Chained:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)
        self.source = " + ".join(s.source for s in sources)

    def names(self) -> Iterator[Name]:
        for number, source in enumerate(self._sources):
            for name in source.names():
                yield name._replace(key=f"{number}\n{name.key}")

    def read(self, name: Name) -> RawTalk | Exclusion:
        number, _, key = name.key.partition("\n")
        return self._sources[int(number)].read(name._replace(key=key))
