"""Spoken questions from a folder: a TSV with the columns Questions, Answer and Wav Filename, and the sound files.

That is the layout of Llama Questions; singular and plural column names both count, and further columns are
optional: Id (else the file's stem), Speech start and Speech end (else an activity detector finds them), Voice, and Role
(what else than a question a row is, see `eval.tasks.material`; only questions need an answer).
Several accepted answers are separated by " | ". Sound files lie beside the TSV or in its `wav` folder.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from eval.tasks.aloud import Watch, unwatched
from protocols.audio import Sound, channel_of, read_sound
from protocols.contracts import ActivityDetector
from protocols.duplex import SAMPLE_RATE
from protocols.errors import InputError
from protocols.timeline import Span

COLUMNS = {"question": "question", "questions": "question", "answer": "answer", "answers": "answer",
           "wav filename": "file", "wav": "file", "id": "id", "voice": "voice", "role": "role",
           "speech start": "start", "speech end": "end"}  # fmt: skip
NEEDED = {"question": "Questions", "answer": "Answer", "file": "Wav Filename"}


class Question(NamedTuple):
    """A spoken question. `speech` is where the user's voice lies in the file."""

    id: str
    text: str
    answers: tuple[str, ...]
    file: Path
    duration: float
    speech: Span
    speech_source: str
    voice: str | None
    role: str | None = None


class Questions(NamedTuple):
    """A table's questions in file order, and what was done to them that the user should know."""

    questions: list[Question]
    notes: list[str]


def read_questions(
    folder: Path, detector: ActivityDetector, limit: int | None = None, watch: Watch = unwatched
) -> Questions:
    """The folder's questions, or the first so many, checked."""
    table = _table_of(folder)
    rows = _rows(table)[:limit]
    with watch("reading", len(rows)) as step:
        return _read(folder, table, rows, detector, step)


def _read(
    folder: Path,
    table: Path,
    rows: list[tuple[int, dict[str, str]]],
    detector: ActivityDetector,
    step: Callable[[int], None],
) -> Questions:
    questions: list[Question] = []
    rates: dict[int, int] = {}
    seen: dict[str, int] = {}
    for done, (number, row) in enumerate(rows, 1):
        file = _find(folder, row["file"], table, number)
        name = row.get("id") or file.stem
        if name in seen:
            raise InputError(f"{table}, line {number}: the id {name!r} was used in line {seen[name]} already")
        seen[name] = number
        sound = read_sound(file)
        rates[sound.sample_rate] = rates.get(sound.sample_rate, 0) + 1
        questions.append(_question(name, row, file, sound, detector, f"{table}, line {number}"))
        step(done)
    if not questions:
        raise InputError(f"{table} holds no questions")
    notes = [f"{n} recordings converted from {rate} Hz to {SAMPLE_RATE} Hz" for rate, n in rates.items()
             if rate != SAMPLE_RATE]  # fmt: skip
    return Questions(questions, notes)


def _question(
    name: str, row: dict[str, str], file: Path, sound: Sound, detector: ActivityDetector, where: str
) -> Question:
    audio = channel_of(sound, file)
    duration = len(audio) / SAMPLE_RATE
    if row.get("start") and row.get("end"):
        speech, source = Span(_seconds(row["start"], where), _seconds(row["end"], where)), "given"
        if not 0 <= speech.start < speech.end <= duration + 1e-3:
            raise InputError(f"{where}: speech from {speech.start} to {speech.end} s does not lie in {file.name}")
    else:
        spans = detector.spans(audio, SAMPLE_RATE)
        if not spans:
            raise InputError(f"{where}: no speech was found in {file}")
        speech, source = Span(spans[0].start, spans[-1].end), detector.source
    answers = tuple(a.strip() for a in row["answer"].split(" | ") if a.strip())
    if not answers and not row.get("role"):
        raise InputError(f"{where}: the answer is empty")
    voice, role = row.get("voice") or None, row.get("role") or None
    return Question(name, row["question"].strip(), answers, file, duration, speech, source, voice, role)


def _table_of(folder: Path) -> Path:
    if not folder.is_dir():
        raise InputError(f"no folder of questions at {folder}")
    if (folder / "questions.tsv").is_file():
        return folder / "questions.tsv"
    tables = sorted(folder.glob("*.tsv"))
    if len(tables) != 1:
        raise InputError(f"{folder} holds {len(tables)} .tsv files; one, or questions.tsv, is needed")
    return tables[0]


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows, by our names for the columns."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = [COLUMNS.get(name.strip().lower(), "") for name in next(reader, [])]
            missing = [title for column, title in NEEDED.items() if column not in header]
            if missing:
                raise InputError(f"{table} lacks the column(s) {', '.join(missing)}")
            rows = []
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) < len(header):
                    raise InputError(f"{table}, line {reader.line_num}: {len(cells)} of {len(header)} columns")
                rows.append((reader.line_num, dict(zip(header, cells, strict=False))))
            return rows
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is not a tab-separated UTF-8 text: {error}") from error


def _find(folder: Path, name: str, table: Path, number: int) -> Path:
    name = name.strip()
    for file in (folder / name, folder / "wav" / name):
        if name and "\0" not in name and file.is_file():
            return file
    raise InputError(f"{table}, line {number}: no sound file {name!r} in {folder} or its wav folder")


def _seconds(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not a time in seconds") from error
