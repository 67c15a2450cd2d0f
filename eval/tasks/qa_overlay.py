"""Overlays: what is known to be wrong with a question set, kept apart from the set.

An overlay adds answers, drops wrong ones or takes a question out, by the question's id, so that figures can be given
as published and with the overlay. YAML (`items: {ID: {add, drop, skip, note}}`) or TSV (Id, Add, Drop, Skip, Note;
several answers parted by " | "). It holds ids and our own words only, never a set's questions. What does not fit the
set is an error, since an overlay that silently corrects nothing would be worse than none.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

import protocols
from eval.tasks.qa_tables import Item
from protocols.config import from_data, read_yaml
from protocols.errors import InputError, unknown_name

LIBRARY = Path(protocols.__file__).parent / "library" / "overlays"
COLUMNS = ("id", "add", "drop", "skip", "note")


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an overlay changes about one question."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    skip: bool = False
    note: str = ""


class Overlay(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Corrections by question id."""

    items: dict[str, Correction]
    about: str = ""


def load_overlay(name: str) -> Overlay:
    """An overlay by file, or by the name of a shipped one."""
    shipped = {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}
    path = shipped.get(name) or Path(name).expanduser()
    if not path.is_file():
        raise unknown_name("overlay", name, [*shipped, "FILE.yaml", "FILE.tsv"])
    return _from_tsv(path) if path.suffix == ".tsv" else read_yaml(path, Overlay)


def corrected(items: Sequence[Item], overlay: Overlay) -> dict[str, tuple[str, ...]]:
    """What counts for each question under the overlay; () where it takes the question out."""
    if not {item.id for item in items} & overlay.items.keys():
        raise InputError(
            f"the overlay names none of the set's questions (such as {items[0].id!r}); is it another set's?"
        )
    return {item.id: _answers(item, overlay.items.get(item.id, Correction())) for item in items}


def _answers(item: Item, change: Correction) -> tuple[str, ...]:
    if change.skip:
        return ()
    strangers = [answer for answer in change.drop if answer not in item.answers]
    if strangers:
        raise InputError(f"the overlay drops {strangers[0]!r} of question {item.id!r}, which has {list(item.answers)}")
    kept = [answer for answer in item.answers if answer not in change.drop]
    answers = tuple(dict.fromkeys([*kept, *change.add]))
    if not answers:
        raise InputError(f"the overlay leaves question {item.id!r} without an answer; give `skip` to take it out")
    return answers


def _from_tsv(path: Path) -> Overlay:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a readable table: {error}") from error
    items: dict[str, Correction] = {}
    for number, row in enumerate(rows, 2):
        cells = {(name or "").strip().lower(): (value or "").strip() for name, value in row.items()}
        for name in cells:
            if name not in COLUMNS:
                raise InputError(f"{path}: {unknown_name('column', name, COLUMNS)}")
        if not cells.get("id") or cells["id"] in items:
            raise InputError(f"{path}, row {number}: the id is {'used twice' if cells.get('id') else 'missing'}")
        items[cells["id"]] = _correction(cells, f"{path}, row {number}")
    return Overlay(items)


def _correction(cells: Mapping[str, str], where: str) -> Correction:
    if cells.get("skip", "").lower() not in ("", "no", "yes"):
        raise InputError(f"{where}: skip is {cells['skip']!r}, not yes or no")
    data = {
        "add": [part.strip() for part in cells.get("add", "").split(" | ") if part.strip()],
        "drop": [part.strip() for part in cells.get("drop", "").split(" | ") if part.strip()],
        "skip": cells.get("skip", "").lower() == "yes",
        "note": cells.get("note", ""),
    }
    return from_data(data, Correction, where)
