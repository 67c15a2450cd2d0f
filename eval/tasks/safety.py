"""Requests that should be refused, and requests that only sound so, from a table on disk: what comes with it decides
its form.

    XSTest          id, prompt, type, label              CC BY 4.0
    ALERT           id, prompt, category                 CC BY-NC-SA 4.0 (attack_type: its adversarial half)
    StrongREJECT    category, source, forbidden_prompt   MIT, what it took from others under their licences
    HarmBench       Behavior, FunctionalCategory, SemanticCategory, BehaviorID   MIT
    AdvBench        goal, target                         MIT
    any other       a column of texts and a column `label` with safe or unsafe

CSV, TSV, JSON lists and JSON lines are read; column names count without case. The sets are never shipped: the user has
them, and is told the licence they are known to have. How texts are spoken is `eval.tasks.aloud`'s. Behaviours that only
make sense with a page of context beside them, or that ask for a copyrighted text, cannot be asked in speech and are
left out with a note.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eval.tasks.aloud import Aloud, Text, Watch, ask_aloud, unwatched
from protocols.contracts import Speaker
from protocols.errors import InputError
from protocols.records import Sample

Label = Literal["safe", "unsafe"]
TEXT_COLUMNS = ("prompt", "text", "question", "request", "goal", "instruction")
ALERT_GROUPS = ("hate", "crime", "substance", "sex", "self_harm", "weapon")  # what its 32 categories begin with


class Request(NamedTuple):
    """What a user asks, and whether it should be refused."""

    id: str
    text: str
    label: Label
    kind: str | None = None  # the set's own type or category
    group: str | None = None  # what types are grouped by


class Requests(NamedTuple):
    """A set's requests in file order, and what the user should know about them."""

    form: str
    requests: tuple[Request, ...]
    notes: tuple[str, ...]


class _Form(NamedTuple):
    name: str
    columns: frozenset[str]
    read: Callable[[Mapping[str, str]], Request | None]  # None: cannot be asked in speech
    licence: str | None


def _xstest(row: Mapping[str, str]) -> Request:
    return Request(row["id"], row["prompt"], _label(row["label"]), row["type"])


def _alert(row: Mapping[str, str]) -> Request:
    kind = row["category"].strip()
    group = next((name for name in ALERT_GROUPS if kind.lower().startswith(f"{name}_")), None)
    return Request(row["id"], row["prompt"], "unsafe", kind, group)


def _strong_reject(row: Mapping[str, str]) -> Request:
    return Request("", row["forbidden_prompt"], "unsafe", row["category"])


def _harm_bench(row: Mapping[str, str]) -> Request | None:
    if row["functionalcategory"].lower() != "standard":
        return None
    return Request(row["behaviorid"], row["behavior"], "unsafe", row["semanticcategory"])


def _adv_bench(row: Mapping[str, str]) -> Request:
    return Request("", row["goal"], "unsafe")


def _labelled(row: Mapping[str, str]) -> Request:
    text = next((row[name] for name in TEXT_COLUMNS if name in row), "")
    return Request(row.get("id", ""), text, _label(row["label"]), row.get("type") or row.get("category") or None)


_FORMS = tuple(
    _Form(name, frozenset(columns.split()), read, licence)
    for name, columns, read, licence in (
        ("xstest", "id prompt type label", _xstest, "CC BY 4.0"),
        ("alert", "id prompt category", _alert, "CC BY-NC-SA 4.0"),
        ("strongreject", "category source forbidden_prompt", _strong_reject, "MIT (parts: see its column source)"),
        ("harmbench", "behavior functionalcategory semanticcategory behaviorid", _harm_bench, "MIT"),
        ("advbench", "goal target", _adv_bench, "MIT"),
        ("labelled", "label", _labelled, None),
    )
)


def read_requests(path: Path) -> Requests:
    """The table's requests, checked. Every fault is an InputError that names the file and the row."""
    rows = _rows(path)
    if not rows:
        raise InputError(f"{path} holds no requests")
    form = _form(path, set.intersection(*(set(row) for row in rows)))
    requests: dict[str, Request] = {}
    left_out = 0
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        try:
            request = form.read(row)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if request is None:
            left_out += 1
            continue
        request = request._replace(id=request.id.strip() or f"{number:05d}", text=request.text.strip())
        if not any(c.isalnum() for c in request.text):
            raise InputError(f"{where}: there is nothing to say in {request.text!r}")
        if request.id in requests:
            raise InputError(f"{where}: the id {request.id!r} was used before")
        requests[request.id] = request
    if not requests:
        raise InputError(f"{path} holds no request that can be asked in speech")
    notes = [f"{path.name}: read as {form.name}" + (f", licence {form.licence}" if form.licence else "")]
    if left_out:
        notes.append(f"{left_out} behaviours need a context or a copyrighted text and are left out")
    if kinds := {request.kind for request in requests.values() if request.kind}:
        notes.append(f"{len(requests)} requests of {len(kinds)} types")
    return Requests(form.name, tuple(requests.values()), tuple(notes))


def speak_requests(requests: Requests, speaker: Speaker, folder: Path, watch: Watch = unwatched) -> list[Sample]:
    """One sample per request; its sound lies in `folder`, made only where it is not there yet."""
    texts = [Text(request.id, request.text) for request in requests.requests]
    aloud = ask_aloud(texts, speaker, folder, watch)
    return [_sample(requests.form, request, said) for request, said in zip(requests.requests, aloud, strict=True)]


def _sample(form: str, request: Request, said: Aloud) -> Sample:
    more = {"type": request.kind, "group": request.group}
    return Sample(
        id=f"{form}/{request.id}",
        task=form,
        cues=(said.cue,),
        length=said.length,
        events=(said.turn,),
        text=request.text,
        cluster=request.id,
        tags=(f"label:{request.label}", f"voice:{said.voice}", *(f"{key}:{tag}" for key, tag in more.items() if tag)),
    )


def _label(text: str) -> Label:
    if (label := text.strip().lower()) not in ("safe", "unsafe"):
        raise InputError(f"the label {text!r} is neither safe nor unsafe")
    return "safe" if label == "safe" else "unsafe"


def _form(path: Path, columns: set[str]) -> _Form:
    for form in _FORMS:
        if form.columns <= columns and (form.name != "labelled" or columns & set(TEXT_COLUMNS)):
            return form
    needed = "; ".join(f"{form.name}: {', '.join(sorted(form.columns))}" for form in _FORMS)
    raise InputError(
        f"{path} has the columns {', '.join(sorted(columns)) or 'none'}; a safety set needs one of: {needed}"
    )


def _rows(path: Path) -> list[dict[str, str]]:
    """The table's rows, by lower-case column name."""
    if not path.is_file():
        raise InputError(f"no safety set at {path}; give a CSV, TSV, JSON or JSONL file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            if path.suffix.lower() in (".json", ".jsonl"):
                return [_texts(path, row) for row in _json_rows(path, lines.read())]
            reader = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a UTF-8 table: {error}") from error
    for row in rows:
        if None in row or None in row.values():
            raise InputError(f"{path}: a row has more or fewer cells than columns: {str(row)[:80]}")
    return [_texts(path, row) for row in rows]


def _json_rows(path: Path, text: str) -> Iterator[Any]:
    try:
        if text.lstrip().startswith("["):
            yield from json.loads(text)
        else:
            yield from (json.loads(line) for line in text.split("\n") if line.strip())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def _texts(path: Path, row: Any) -> dict[str, str]:
    if not isinstance(row, Mapping):
        raise InputError(f"{path}: {str(row)[:80]!r} is not an object with columns as keys")
    return {str(name).strip().lower(): "" if value is None else str(value) for name, value in row.items()}
