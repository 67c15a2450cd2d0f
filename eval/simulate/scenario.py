"""What a simulated user wants and says: scenario files, YAML for a set or JSONL for one scenario a line.

A scenario is written (`turns`, said in order, each perhaps only if certain words were heard), or it is a goal for a
language model, which then chooses the words; a file may hold both at once, and who speaks is decided by whoever opens
it. A bar in a text marks where its speaker may stop for a while.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

import protocols
from protocols.config import from_data, read_yaml
from protocols.errors import InputError, unknown_name

LIBRARY = Path(protocols.__file__).parent / "library" / "scenarios"
INTERRUPTIONS = ("Wait, hold on.", "Sorry, let me stop you there.", "Okay, that is enough.", "One moment, please.")
BACKCHANNELS = ("Mm-hmm.", "Okay.", "Right.", "I see.", "Yeah.")
FILLERS = ("Um", "Uh", "Well, um", "So")


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something the user says. With `heard` only if the agent's last reply held one of these words or phrases."""

    say: str
    heard: tuple[str, ...] = ()
    otherwise: str | None = None  # said where they were not heard; None: the turn is left out


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One talk's purpose."""

    id: str
    goal: str = ""
    turns: tuple[Turn, ...] = ()
    details: tuple[str, ...] = ()  # what a language model's user knows and tells only bit by bit
    persona: str = ""


class Scenarios(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of scenarios, and what its users say in passing."""

    name: str
    version: str
    scenarios: tuple[Scenario, ...]
    about: str = ""
    interruptions: tuple[str, ...] = INTERRUPTIONS
    backchannels: tuple[str, ...] = BACKCHANNELS
    fillers: tuple[str, ...] = FILLERS


def shipped_scenarios() -> dict[str, Path]:
    """Name -> file of the sets in the library."""
    return {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}


def read_scenarios(name: str) -> Scenarios:
    """A set of the library by name, or one's own file by path; InputError where it cannot be spoken."""
    path = shipped_scenarios().get(name) or Path(name).expanduser()
    if path.suffix == ".jsonl" and path.is_file():
        found = Scenarios(path.stem, "1", tuple(_lines(path)))
    elif path.suffix == ".yaml" and path.is_file():
        found = read_yaml(path, Scenarios)
    else:
        raise unknown_name("set of scenarios", name, [*shipped_scenarios(), "FILE.yaml", "FILE.jsonl"])
    _check(found, path)
    return found


def _lines(path: Path) -> Sequence[Scenario]:
    out = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            data = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise InputError(f"{path}, line {number} is not JSON: {error}") from error
        out.append(from_data(data, Scenario, f"{path}, line {number}"))
    return out


def _check(found: Scenarios, path: Path) -> None:
    ids = [scenario.id for scenario in found.scenarios]
    if not ids or len(set(ids)) < len(ids):
        raise InputError(f"{path} " + ("uses a scenario's id twice" if ids else "holds no scenarios"))
    for scenario in found.scenarios:
        if not re.fullmatch(r"[\w.-]+", scenario.id):
            raise InputError(f"{path}: {scenario.id!r} is no id; use letters, digits, dots and hyphens")
        if not scenario.turns and not scenario.goal.strip():
            raise InputError(f"{path}: {scenario.id} has neither turns nor a goal")
        said = [text for turn in scenario.turns for text in (turn.say, turn.otherwise) if text is not None]
        _check_texts(said, f"{path}: {scenario.id}")
    for what in ("interruptions", "backchannels", "fillers"):
        if not getattr(found, what):
            raise InputError(f"{path}: {what} is empty; leave it out to have the usual ones")
        _check_texts(getattr(found, what), f"{path}: {what}")


def _check_texts(texts: Sequence[str], where: str) -> None:
    for text in texts:
        if any(not any(c.isalnum() for c in part) for part in text.split("|")):
            raise InputError(f"{where}: nothing in {text!r} (or in a part of it) can be spoken")
