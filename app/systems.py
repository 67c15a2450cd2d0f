"""Names of systems on the command line -> systems. The only place that knows every kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from app.replies import replies_for
from eval.runner import DriveOptions
from eval.tasks.suite import Suite
from model.systems.behaviour import BEHAVIOURS, Plan, plan
from model.systems.recorded import RecordedSystem
from model.systems.scripted import ScriptedSystem
from model.systems.simple import EchoSystem, SilenceSystem
from protocols.duplex import DuplexSystem
from protocols.errors import InputError, unknown_name

KINDS: Mapping[str, str] = {
    "silence": "says nothing: the floor under every metric",
    "echo": "repeats the user one frame later",
    **{f"scripted:{name}": f"follows a script: {b.latency:g} s latency, cuts into {b.cut_in_rate:.0%} of pauses, "
       f"{b.wrong_rate:.0%} wrong answers" for name, b in BEHAVIOURS.items()},
    "tiny:DIR": "an embedded-size full-duplex model that `duologue train-base` made",
    "recorded:DIR": "plays talks recorded elsewhere (left agent, right user, or ID.agent.wav and ID.user.wav)",
}  # fmt: skip


class Opened(NamedTuple):
    """A system that can hold talks, what was planted in it, and what the user should know."""

    system: DuplexSystem
    plan: Plan | None = None
    note: str | None = None


def open_system(name: str, suite: Suite, options: DriveOptions, decoding: Mapping[str, float] = {}) -> Opened:
    """The system a command line names, ready for a suite. `decoding`: options of a system that chooses tokens."""
    kind, _, place = name.partition(":")
    if kind == "tiny" and place:
        return Opened(_tiny(name, Path(place).expanduser(), decoding))
    if decoding:
        raise InputError(f"{name} takes no --decoding options; drop {', '.join(decoding)}")
    if name == "silence":
        return Opened(SilenceSystem())
    if name == "echo":
        return Opened(EchoSystem())
    if kind == "recorded" and place:
        return Opened(RecordedSystem(Path(place).expanduser(), options.lead_in))
    if name in KINDS and place in BEHAVIOURS:
        if options.greeting != "none":
            raise InputError("a scripted system follows the clock and cannot wait for a greeting; drop --greeting wait")
        replies = replies_for(suite)
        planned = plan(suite.samples, BEHAVIOURS[place], replies.clips, options.seed, options.lead_in)
        return Opened(ScriptedSystem(name, planned.scripts), planned, replies.note)
    raise unknown_name("system", name, KINDS)


def _tiny(name: str, folder: Path, decoding: Mapping[str, float]) -> DuplexSystem:
    """A model of the embedded kind; torch is loaded only here."""
    from model.lm import Decoding
    from model.systems.tiny import TinySystem, load_parts
    from model.tiny.codec import load_codec

    known = {*Decoding.__dataclass_fields__, "greeting"}
    for key in decoding:
        if key not in known:
            raise unknown_name("decoding option", key, known)
    chosen = {key: int(value) if key.endswith("top_k") else value for key, value in decoding.items()}
    greeting = bool(chosen.pop("greeting", 1))
    return TinySystem(name, load_parts(folder, load_codec()), Decoding(**chosen), greeting=greeting)  # type: ignore[arg-type]
