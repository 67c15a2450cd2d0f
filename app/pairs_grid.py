"""Whose token grid a build's talks are laid out in: read off the systems' names, or said with --layout.

One dataset has one layout: a trainer reads all of it with one model. Talks of systems that give no tokens go with any.
"""

from collections.abc import Sequence
from typing import NamedTuple

from eval.pairs.synthetic import LAYOUT
from model.codec import Codec
from model.spoken_grid import GridVoice, Spell, heard_codes
from model.tiny.clips import plain, vocabulary
from model.tiny.codec import load_codec
from model.tiny.grid import EPAD
from model.tiny.voice import layout_of
from model.tiny.world import load_world
from protocols.duplex import Audio
from protocols.errors import InputError
from protocols.replies import NO_GRID, GridLayout, ReplyVoice, Tokens

AUTO = "auto"
LAYOUTS = "auto, tiny or moshi:PATH_OR_REPO"


class Grid(NamedTuple):
    """A layout, and what makes tokens of it."""

    layout: GridLayout
    codec: Codec | None = None
    spell: Spell | None = None
    end_of_padding: int = 0
    skip_first: bool = False

    def encode(self, user: Audio) -> Tokens:
        """The user's sound, [n] at 24 kHz, as this grid's codes [K, frames]."""
        if self.codec is None:
            raise InputError("these talks have no codec that could hear another voice")
        return heard_codes(self.codec, user, self.skip_first)

    def voice(self, voice: ReplyVoice) -> ReplyVoice:
        """A voice that also gives this grid's tokens, where there are any."""
        if self.codec is None or self.spell is None:
            return voice
        return GridVoice(voice, self.codec, self.spell, self.layout.pad, self.end_of_padding)


def grid_of(systems: Sequence[str], wanted: str = AUTO, synthetic: bool = False) -> Grid:
    """The one grid of some systems' talks; InputError if they have several. `synthetic`: synthetic talks are there."""
    if wanted != AUTO:
        return _grid(wanted)
    found: list[Grid] = [Grid(LAYOUT)] if synthetic else []
    for grid in map(_grid, dict.fromkeys(n for n in systems if has_grid(n))):
        if all(grid.layout != other.layout for other in found):
            found.append(grid)
    if len(found) > 1:
        named = ", ".join(grid.layout.source or "synthetic talks" for grid in found)
        raise InputError(f"these talks have token grids of several layouts ({named}); build a dataset of each")
    return found[0] if found else Grid(NO_GRID)


def has_grid(system: str) -> bool:
    """Whether talks with a system of this name have a token grid."""
    return system.startswith(("tiny:", "moshi:"))


def _grid(name: str) -> Grid:
    kind, _, place = name.partition(":")
    if kind == "tiny":
        codec, ids = load_codec(), {word: i for i, word in enumerate(vocabulary(load_world()))}
        return Grid(layout_of(codec), codec, lambda word: [ids[plain(word)]] if plain(word) in ids else None, EPAD)
    if kind == "moshi" and place:
        from model.systems.moshi import read_grid

        made = read_grid(place)
        return Grid(made.layout, made.codec, made.spell, made.end_of_padding, skip_first=True)
    raise InputError(f"unknown layout {name!r}; write {LAYOUTS}")
