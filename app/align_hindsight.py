"""`duologue align hindsight`: talks in which the user reacts, as data of the loss `sdpo`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from app.show import Terminal
from eval.pairs.reactions import reactions
from eval.pairs.runs import RunTalks
from eval.pairs.settings import PairSettings
from eval.pairs.talks import Exclusion
from model.align.data import TokenPair, write_pairs
from model.align.hindsight import hindsight
from model.tiny.codec import load_codec
from model.tiny.voice import layout_of
from protocols.errors import InputError


def gather(runs: Sequence[Path], out: Path, seconds: float, terminal: Terminal) -> list[TokenPair]:
    """Write what `found` gives as a folder of pairs. InputError: the folder is not new, or nobody reacts."""
    if (out / "index.json").exists():
        raise InputError(f"{out} holds pairs already; give another folder")
    made = list(found(runs, seconds))
    if not made:
        raise InputError("in none of these talks is a reply with tokens followed by words of the user")
    write_pairs(out, made)
    terminal.say(f"{len(made)} replies with the user's next words, of {len({p.talk for p in made})} talks: {out}")
    terminal.result({"folder": str(out), "replies": len(made), "talks": len({p.talk for p in made})})
    return made


def found(runs: Sequence[Path], seconds: float) -> Iterator[TokenPair]:
    """Every reply of these runs that the user's words follow."""
    layout, settings = layout_of(load_codec()), PairSettings()
    for run in runs:
        source = RunTalks(run, settings)
        for name in source.names():
            raw = source.read(name)
            if not isinstance(raw, Exclusion):
                yield from (hindsight(*reacted) for reacted in reactions(raw, layout, settings, seconds))
