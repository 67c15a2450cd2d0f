"""Question sets as people have them -> one list of questions with accepted answers.

Reads Llama Questions, Web Questions, TriviaQA (the nested original and the two-column form of DPR), and any TSV, CSV,
JSON or JSONL with a question and an answer column. Columns are found by name, whatever the set calls them; a set that
lacks one gets one error that names what was looked for and what is there. Answers are a list, or one text in which
" | " parts them. No set is shipped: what is known of its licence is handed on as a note.
"""

import ast
import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeGuard

from protocols.errors import InputError

Row = Mapping[str, object]

COLUMNS = {
    "question": ("question", "questions", "qtext", "query", "problem"),
    "answers": ("answers", "answer", "aliases", "reference"),
    "id": ("id", "qid", "question_id", "questionid"),
    "sound": ("wav filename", "audio", "wav", "audio_path", "audio_file", "file"),
    "voice": ("voice",),
}
NEEDED = ("question", "answers")
TABLES = (".tsv", ".csv", ".jsonl", ".json")
LLAMA = {"questions", "answer", "wav filename"}
LICENCES = {
    "llama": "Llama Questions state no licence: for use on this machine only",
    "web": "Web Questions: CC BY 4.0, attribution needed",
    "trivia": "TriviaQA: the rights in the questions are unclear, for use on this machine only",
    "": "the licence of this set is not known to duologue; see where it came from",
}


class Item(NamedTuple):
    """A question, what counts as an answer, and its recording if it has one."""

    id: str
    text: str
    answers: tuple[str, ...]
    sound: str | None = None  # as the table says it
    voice: str | None = None


class Table(NamedTuple):
    """A set's questions in file order."""

    items: tuple[Item, ...]
    folder: Path  # what the sounds are relative to
    licence: str


def read_table(path: Path) -> Table:
    """The questions of a file, or of the only table in a folder."""
    path = _file_of(path)
    rows, kind = _read(path)
    items = items_of(rows, str(path))
    return Table(items, path.parent, LICENCES[kind])


def items_of(rows: Iterable[tuple[int, Row]], where: str) -> tuple[Item, ...]:
    """Numbered rows as questions, checked."""
    items: list[Item] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        item = _item(number, row, where)
        if item.id in seen:
            raise InputError(f"{where}, row {number}: the id {item.id!r} was used in row {seen[item.id]} already")
        seen[item.id] = number
        items.append(item)
    if not items:
        raise InputError(f"{where} holds no questions")
    if len({item.sound is None for item in items}) > 1:
        silent = next(item.id for item in items if item.sound is None)
        raise InputError(f"{where}: {silent!r} has no recording and others have; give all of them one, or none")
    return tuple(items)


def _item(number: int, row: Row, where: str) -> Item:
    by_name = {name.strip().lower(): value for name, value in row.items()}
    found = {ours: next((n for n in names if n in by_name), None) for ours, names in COLUMNS.items()}
    missing = [f"{ours} ({' or '.join(COLUMNS[ours])})" for ours in NEEDED if found[ours] is None]
    if missing:
        raise InputError(f"{where}, row {number} lacks the column(s) {', '.join(missing)}; it has {', '.join(row)}")

    def text(column: str) -> str | None:
        value = by_name.get(found[column] or "")
        return None if value is None or not str(value).strip() else str(value).strip()

    question, answers = text("question"), _answers(by_name[found["answers"] or ""])
    if question is None:
        raise InputError(f"{where}, row {number}: the question is empty")
    if not answers:
        raise InputError(f"{where}, row {number}: the answer is empty")
    sound = text("sound")
    name = text("id") or (Path(sound).stem if sound else f"{number:05d}")
    return Item(name, question, answers, sound, text("voice"))


def _answers(value: object) -> tuple[str, ...]:
    """A cell as accepted answers: a list, a list written as text, " | " between them, or TriviaQA's own object."""
    if isinstance(value, Mapping):
        by_name = {str(key).lower(): part for key, part in value.items()}
        value = [by_name.get("value"), *_listed(by_name.get("aliases"))]
    if isinstance(value, str):
        value = _written_list(value) or value.split(" | ")
    parts = value if isinstance(value, (list, tuple)) else [value]
    return tuple(dict.fromkeys(str(part).strip() for part in parts if part is not None and str(part).strip()))


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def _written_list(text: str) -> Sequence[object]:
    """ "['a', 'b']" or '["a", "b"]' as a list; anything else gives none."""
    if not text.strip().startswith("["):
        return ()
    try:
        return _listed(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()


def _file_of(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"no question set at {path}")
    if (path / "questions.tsv").is_file():
        return path / "questions.tsv"
    tables = sorted(p for p in path.iterdir() if p.suffix in TABLES and not p.stem.endswith("overlay"))
    if len(tables) != 1:
        names = ", ".join(p.name for p in tables) or "none"
        raise InputError(f"{path} holds {len(tables)} tables ({names}); name the one you mean")
    return tables[0]


def _read(path: Path) -> tuple[list[tuple[int, Row]], str]:
    """Numbered rows, and which set it is ("" for any other)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a readable UTF-8 text: {error}") from error
    if path.suffix == ".json":
        return _from_json(text, path)
    if path.suffix == ".jsonl":
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        return [(n, _object(_json(line, f"{path}, line {n}"), f"{path}, line {n}")) for n, line in lines], ""
    if path.suffix in (".tsv", ".csv"):
        return _from_cells(text, path)
    raise InputError(f"{path}: a question set is one of {', '.join(TABLES)}")


def _from_json(text: str, path: Path) -> tuple[list[tuple[int, Row]], str]:
    data = _json(text, str(path))
    if isinstance(data, dict) and isinstance(data.get("Data"), list):
        rows = [(n, _object(row, f"{path}, entry {n}")) for n, row in enumerate(data["Data"], 1)]
        return rows, "trivia"
    if not isinstance(data, list):
        raise InputError(f"{path} is neither a list of questions nor TriviaQA's own form (an object with Data)")
    rows = [(n, _object(row, f"{path}, entry {n}")) for n, row in enumerate(data, 1)]
    return rows, "web" if rows and {"qText", "answers"} <= set(rows[0][1]) else ""


def _json(text: str, where: str) -> object:
    try:
        data: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from error
    return data


def _object(value: object, where: str) -> Row:
    if not _is_row(value):
        raise InputError(f"{where} is not an object with a question and an answer")
    return value


def _is_row(value: object) -> TypeGuard[Row]:
    return isinstance(value, dict)


def _from_cells(text: str, path: Path) -> tuple[list[tuple[int, Row]], str]:
    """A table of cells, with a header, or DPR's two columns without one."""
    tabs = path.suffix == ".tsv"
    first = text.partition("\n")[0].split("\t" if tabs else ",")
    known = {name for names in COLUMNS.values() for name in names}
    header = any(cell.strip().strip('"').lower() in known for cell in first)
    if tabs and not header and len(first) == 2:
        rows = _cells(text, path, "\t", csv.QUOTE_MINIMAL)
        if any(len(cells) != 2 for _, cells in rows):
            raise InputError(f"{path} has no header, and not two columns (question, list of answers) in every row")
        return [(n, {"question": cells[0], "answers": cells[1]}) for n, cells in rows], ""
    rows = _cells(text, path, "\t" if tabs else ",", csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
    names = rows[0][1] if rows else []
    for n, cells in rows[1:]:
        if len(cells) < len(names):
            raise InputError(f"{path}, row {n}: {len(cells)} of {len(names)} columns")
    kind = "llama" if {name.strip().lower() for name in names} == LLAMA else ""
    return [(n, dict(zip(names, cells, strict=False))) for n, cells in rows[1:]], kind


def _cells(text: str, path: Path, delimiter: str, quoting: Literal[0, 3]) -> list[tuple[int, list[str]]]:
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise InputError(f"{path} is not a table: {error}") from error
