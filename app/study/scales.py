"""Questions that raters answer after a talk, and the sets of them that are shipped.

A set is a YAML file of `protocols/library/scales`: data, no logic. Levels are whole numbers with a word for each, since
the analysis is of ordered categories; "cannot judge" is offered with every question and is no level.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

import protocols
from protocols.errors import unknown_name

LIBRARY = Path(protocols.__file__).parent / "library" / "scales"
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
Words = Annotated[str, Field(min_length=1, max_length=2_000)]


class Strict(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Question(Strict):
    """One question about one talk."""

    id: Name
    text: Words
    levels: dict[int, Words] = Field(min_length=2, max_length=11)
    help: str = ""
    unsafe_only: bool = False  # asked only where the scenario is marked unsafe

    @field_validator("levels", mode="before")
    @classmethod
    def _sorted(cls, given: Any) -> Any:
        """Lowest first, whatever order they were written in."""
        whole = isinstance(given, dict) and all(type(level) is int for level in given)
        return dict(sorted(given.items())) if whole else given


def presets() -> list[str]:
    """Names of the shipped sets."""
    return sorted(path.stem for path in LIBRARY.glob("*.yaml"))


def observed(name: str) -> str:
    """The set that asks the same of somebody who was not in the talk; the set itself where it needs no other words."""
    return f"{name}-observed" if f"{name}-observed" in presets() else name


def preset(name: str) -> tuple[Question, ...]:
    """A shipped set. InputError names the nearest where there is none."""
    if name not in presets():
        raise unknown_name("scale", name, presets())
    return tuple(Question(**row) for row in yaml.safe_load((LIBRARY / f"{name}.yaml").read_text(encoding="utf-8")))
