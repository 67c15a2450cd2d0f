"""A study file read strictly: every fault is one error with the file, the place in it, and the nearest valid name."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from app.study.config import Study
from protocols.config import plain_yaml
from protocols.errors import InputError, unknown_name

FIRST_LOOK = Path(__file__).parent / "default.yaml"
MOST = 5  # faults told at once


def read_study_file(path: Path) -> Study:
    """One study. InputError lists what is wrong with it."""
    return study_from(plain_yaml(path), str(path))


def first_look(is_there: Callable[[str], bool]) -> Study:
    """The shipped study over those of its systems that are there; with one left, raters talk with that one only."""
    data = plain_yaml(FIRST_LOOK)
    data["arms"] = {name: arm for name, arm in data["arms"].items() if is_there(arm["system"])}
    if len(data["arms"]) < 2:
        data |= {"design": "between", "blinding": None}
    return study_from(data, str(FIRST_LOOK))


def study_from(data: Any, where: str) -> Study:
    """A study from plain data."""
    if not isinstance(data, dict):
        raise InputError(f"{where}: a study is a mapping of keys; `duologue study new` writes one to start from")
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        told = [f"{where}: {_words(fault)}" for fault in faults[:MOST]]
        more = [f"... and {len(faults) - MOST} more"] if len(faults) > MOST else []
        raise InputError("\n".join([*told, *more])) from error


def _words(fault: Any) -> str:
    path, kind = [str(part) for part in fault["loc"]], fault["type"]
    place = ".".join(path) or "the study"
    if kind == "extra_forbidden":
        return str(unknown_name("key", place, [".".join([*path[:-1], name]) for name in _keys(path[:-1])]))
    if kind == "missing":
        return f"{place} is missing"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"


def _keys(path: Iterable[str]) -> list[str]:
    """Keys that are valid at a place of a study."""
    model: type[BaseModel] = Study
    for part in path:
        if part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X | None`, `tuple[X, ...]`, `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
