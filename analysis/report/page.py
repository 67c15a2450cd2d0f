"""The frame of every page: one self-contained file, light, dark and on paper, with one style sheet.

What the figures show is not known here. Callers escape what they put into a body.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from protocols.errors import StoreError

COLOURS = ("#999999", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("dash", "solid", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")


@cache
def templates() -> Environment:
    """The pages' templates; `frame.html.j2` is what they extend."""
    return Environment(
        loader=PackageLoader("analysis.report"), autoescape=select_autoescape(["html", "j2"]), undefined=StrictUndefined
    )


@cache
def plotly_script() -> Markup:
    """Plotly's script, to stand on a page once."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def plot(figure: go.Figure | None) -> Markup:
    """A figure for a page that has plotly's script, wide enough to be read and scrolled on a small screen; nothing for
    None."""
    if figure is None:
        return Markup("")
    config = {"displayModeBar": False, "responsive": True}
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    return Markup(f'<div class="figure">{drawn}</div>')


def write_page(title: str, body: str, path: Path) -> Path:
    """One file with this title over this body; its path."""
    page = templates().get_template("page.html.j2").render(title=title, body=Markup(body), plotly=plotly_script())
    write_whole({path: page.encode()})
    return path


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Each file whole or not at all; folders are made. StoreError where one cannot be written."""
    path = None
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(content)
            part.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
