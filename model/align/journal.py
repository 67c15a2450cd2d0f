"""The figures of a training as JSON lines: appended, and cut back to a checkpoint when training goes on from it.

A figure that is not finite is written as null. A half-written last line, of a process that was killed, is dropped.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

from protocols.errors import StoreError


class Journal:
    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, line: Mapping[str, float]) -> None:
        known = {name: value if math.isfinite(value) else None for name, value in line.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known) + "\n")
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error}") from error

    def cut(self, step: int) -> None:
        """Keep the lines up to this step."""
        if not self.path.exists():
            return
        part, kept = self.path.with_suffix(".part"), [line for line in self.lines() if line["step"] <= step]
        try:
            part.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
            os.replace(part, self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise StoreError(f"{self.path} cannot be written: {error}") from error

    def lines(self) -> list[dict[str, float]]:
        rows = self.path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line break was cut off
        return [json.loads(row) for row in rows]
