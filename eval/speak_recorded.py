"""Speech that was recorded before: a folder with speech.tsv, whose columns are Text, File and (if several) Voice.

A text that was not recorded is an error that names it: nothing is ever said in its place. Capitals and spacing of a
text do not matter, its words and punctuation do.
"""

import csv
from pathlib import Path

from eval.speak import trimmed
from protocols.audio import read_channel
from protocols.duplex import Audio
from protocols.errors import InputError, unknown_name
from protocols.store import sha256_of

TABLE = "speech.tsv"


class RecordedSpeaker:
    """Looks up what it is asked to say. `source` changes with the table."""

    def __init__(self, folder: Path) -> None:
        table = folder / TABLE
        if not table.is_file():
            raise InputError(f"no {TABLE} (columns Text, File, Voice) in {folder}")
        self._files: dict[tuple[str, str | None], Path] = {}
        for number, row in enumerate(_rows(table), 2):
            text, file = row.get("text") or "", folder / (row.get("file") or "")
            if not text.strip() or not file.is_file():
                raise InputError(f"{table}, line {number}: no text, or no sound file {row.get('file')!r} in {folder}")
            self._files[_plain(text), row.get("voice") or None] = file
        self.voices = tuple(sorted({voice for _, voice in self._files if voice}))
        self.source = f"recorded:{folder.resolve().name}:{sha256_of(table)[:12]}"
        self._table = table

    def say(self, text: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        if speed != 1.0:
            raise InputError(f"a recording cannot be said at speed {speed:g}")
        if voice is not None and voice not in self.voices:
            raise unknown_name("voice", voice, self.voices)
        voices = [voice] if voice else [None, *self.voices]
        file = next((self._files[_plain(text), v] for v in voices if (_plain(text), v) in self._files), None)
        if file is None:
            raise InputError(f"{self._table} has no recording of {text!r}" + (f" in voice {voice!r}" if voice else ""))
        return trimmed(read_channel(file), text)


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            header = [name.strip().lower() for name in next(reader, [])]
            return [dict(zip(header, map(str.strip, cells), strict=False)) for cells in reader if any(cells)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table} is not a tab-separated UTF-8 text: {error}") from error


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
