"""Prompts as files with a content hash: what a judge was asked is part of every verdict.

A prompt's slots (`{{request}}`) are filled in one pass, so what is filled in can never open a slot of its own. Values
from a talk are quoted as JSON strings, so they cannot end their quotation either.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

import protocols
from protocols.config import read_yaml
from protocols.errors import InputError, unknown_name

LIBRARY = Path(protocols.__file__).parent / "library" / "prompts"
_SLOT = re.compile(r"\{\{(\w+)\}\}")


class Prompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A prompt file: what a judge is told, and the verdicts it may end with."""

    name: str
    version: str
    system: str
    user: str
    max_tokens: int
    verdicts: tuple[str, ...] = ()  # none: the answer is JSON
    axes: dict[str, str] = {}  # axis -> rubric, for prompts that are asked once per axis

    @property
    def sha256(self) -> str:
        """Hash of everything a judge is told, not of the file's comments or layout."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def id(self) -> str:
        """Name, version and the first of the hash, for people and for scorers' names."""
        return f"{self.name}/{self.version}/{self.sha256[:8]}"

    def for_axis(self, axis: str) -> "Prompt":
        """The prompt with one axis and its rubric written in; its hash covers no other axis."""
        if axis not in self.axes:
            raise unknown_name("axis", axis, self.axes)
        user = fill(self.user, {"axis": axis, "rubric": self.axes[axis].strip()}, partly=True)
        return msgspec.structs.replace(self, name=f"{self.name}.{axis}", user=user, axes={})

    def messages(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The chat a judge is sent."""
        return [{"role": "system", "content": self.system}, {"role": "user", "content": fill(self.user, values)}]


def load_prompt(name_or_path: str | Path) -> Prompt:
    """A prompt of the library by name, or a user's own file by path."""
    path = Path(name_or_path)
    if path.suffix != ".yaml":
        path = LIBRARY / f"{name_or_path}.yaml"
        if not path.is_file():
            raise unknown_name("prompt", str(name_or_path), (p.stem for p in LIBRARY.glob("*.yaml")))
    return read_yaml(path, Prompt)


def fill(template: str, values: Mapping[str, str], partly: bool = False) -> str:
    """The template with its slots filled. A slot without a value is an InputError, or stays if `partly`."""

    def value(slot: re.Match[str]) -> str:
        if slot[1] not in values and not partly:
            raise InputError(f"the prompt has a slot {slot[0]} that nothing fills")
        return values.get(slot[1], slot[0])

    return _SLOT.sub(value, template)


def quoted(text: str) -> str:
    """Text as a JSON string."""
    return json.dumps(text, ensure_ascii=False)
