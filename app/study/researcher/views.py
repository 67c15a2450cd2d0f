"""The researcher's pages as HTML. They need no script; the talk's page has one, to play from a click,
and the page of live talks one that loads it anew.

`Shown` is what every page knows: the study, its state, where one is, and the key its forms bring back.
"""

from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from app.study.config import Study

PAGES = {"": "Study", "live": "Live talks", "raters": "Raters", "talks": "Talks", "files": "Files"}


class Shown(NamedTuple):
    study: Study
    status: str  # of the study
    key: str  # of forms
    here: str = ""  # a key of PAGES


def _figure(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash for what is not known."""
    return "\N{EN DASH}" if value is None else f"{value:.{digits}f}"


templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
templates.filters["figure"] = _figure
templates.filters["rule"] = lambda name: str(name).replace("_", " ")
templates.filters["when"] = lambda text: str(text)[:16].replace("T", " ")


def show(template: str, shown: Shown, **words: Any) -> str:
    return templates.get_template(f"{template}.html.j2").render(**shown._asdict(), pages=PAGES, **words)


def show_door(study: Study, fault: str = "") -> str:
    return templates.get_template("door.html.j2").render(study=study, fault=fault)
