"""Names of systems on the command line -> systems. The only place that knows every kind."""

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import model.tiny
from app.replies import replies_for
from eval.runner import DriveOptions
from eval.tasks.suite import Suite
from model.systems.behaviour import BEHAVIOURS, Plan, plan
from model.systems.recorded import RecordedSystem
from model.systems.scripted import ScriptedSystem
from model.systems.simple import EchoSystem, SilenceSystem
from protocols.duplex import DuplexSystem
from protocols.errors import InputError, unknown_name
from protocols.secrets import refuse_secrets

KINDS: Mapping[str, str] = {
    "silence": "says nothing: the floor under every metric",
    "echo": "repeats the user one frame later",
    **{f"scripted:{name}": f"follows a script: {b.latency:g} s latency, cuts into {b.cut_in_rate:.0%} of pauses, "
       f"{b.wrong_rate:.0%} wrong answers" for name, b in BEHAVIOURS.items()},
    "tiny:base": "the embedded full-duplex model, with faults planted at known rates",
    "tiny:aligned": "what `duologue demo` made of it, in runs/demo",
    "tiny:DIR": "another model that `duologue train-base` made",
    "moshi:PATH_OR_REPO[@LORA]": "a checkpoint of Kyutai's family in this process, with Mimi; a folder or a hub name",
    "recorded:DIR": "plays talks recorded elsewhere (left agent, right user, or ID.agent.wav and ID.user.wav)",
    "cascade:CONFIG.yaml": "voice activity, recognition, any OpenAI-compatible chat server, text to speech",
    "command:PROGRAM": "any program that reads and writes lines of JSON (protocol: design/remote.md)",
    "moshi-server:ws://HOST:PORT": "a server that speaks Kyutai's protocol, such as python -m moshi.server",
    "openai-realtime:MODEL[,voice=V][@URL]": "OpenAI's Realtime interface, or a server that speaks it",
}  # fmt: skip


NAMED = {  # models that need no path
    "base": Path(model.tiny.__file__).parent / "base",
    "aligned": Path("runs/demo/round-1/aligned/model"),
}


def is_there(name: str) -> bool:
    """Whether a system such as tiny:base or tiny:aligned can be run here."""
    kind, _, place = name.partition(":")
    return kind == "tiny" and place in NAMED and NAMED[place].is_dir()


PACKAGES: Mapping[str, tuple[tuple[str, ...], str]] = {  # kind -> modules it needs, and how to get them
    "tiny": (("torch", "safetensors"), "pip install -e '.[model]'"),
    "moshi": (("torch", "safetensors", "sentencepiece"), "pip install -e '.[moshi]'"),
    "moshi-server": (("sphn", "websockets"), "pip install -e '.[moshi-server]'"),
    "cascade": (("openai",), "pip install -e '.[openai]'"),
    "openai-realtime": (("openai", "websockets"), "pip install -e '.[openai]'"),
}


def missing(name: str) -> str | None:
    """What this machine lacks to run a system of a kind, and how to get it; None if nothing."""
    kind, _, place = name.partition(":")
    modules, get = PACKAGES.get(kind, ((), ""))
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        return f"{' and '.join(absent)} ({get})"
    if kind == "tiny" and place in NAMED and not is_there(name):
        return f"model in {NAMED[place]} (`duologue {'demo' if place == 'aligned' else 'train-base'}` makes it)"
    if kind == "openai-realtime" and not os.environ.get("OPENAI_API_KEY"):
        return "OPENAI_API_KEY in the environment (any word for a local server)"
    return None


class Opened(NamedTuple):
    """A system that can hold talks, what was planted in it, and what the user should know."""

    system: DuplexSystem
    plan: Plan | None = None
    note: str | None = None


def open_system(name: str, suite: Suite, options: DriveOptions, decoding: Mapping[str, float] = {}) -> Opened:
    """The system a command line names, ready for a suite. `decoding`: options of a system that chooses tokens."""
    kind, _, place = name.partition(":")
    refuse_secrets(name)
    if kind == "tiny" and place:
        if place in NAMED and not is_there(name):
            raise InputError(f"{name} cannot be run: there is no {missing(name)}")
        return Opened(_tiny(name, NAMED.get(place) or Path(place).expanduser(), decoding))
    if kind == "moshi" and place:
        from model.systems.moshi import MoshiSystem

        made = MoshiSystem(place, decoding)
        return Opened(made, note=made.size)
    if kind == "openai-realtime" and place:
        from model.systems.openai_realtime import OpenAIRealtimeSystem

        return Opened(OpenAIRealtimeSystem(place, decoding))
    if decoding:
        raise InputError(f"{name} takes no --decoding options; drop {', '.join(decoding)}")
    if name == "silence":
        return Opened(SilenceSystem())
    if name == "echo":
        return Opened(EchoSystem())
    if kind == "cascade" and place:
        from app.cascade import open_cascade

        return Opened(open_cascade(name, Path(place).expanduser(), options.clock == "real-time"))
    if kind == "command":
        from model.systems.command import CommandSystem

        return Opened(CommandSystem(place))
    if kind == "moshi-server" and place:
        from model.systems.moshi_server import MoshiServerSystem

        return Opened(MoshiServerSystem(place))
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
