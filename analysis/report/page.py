"""The frame of a page of figures: one self-contained file, plotly's script inside, light and dark.

What the figures show is not known here. Callers escape what they put into the body.
"""

from html import escape
from pathlib import Path

from protocols.errors import StoreError

COLOURS = ("#999999", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
DASHES = ("dash", "solid", "dot", "dashdot", "longdash")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
STYLE = """:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5c5c5c; --paper: #fff; --line: #d9d9d9; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececec; --soft: #a8a8a8; --paper: #161616; --line: #3a3a3a; } }
body { margin: 0 auto; max-width: 1040px; padding: 28px 20px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; font-size: .92rem; } th, td { padding: 4px 16px 4px 0; text-align: right;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
.js-plotly-plot text { fill: var(--ink) !important; } summary { cursor: pointer; color: var(--soft); }"""


def write_page(title: str, body: str, path: Path) -> Path:
    """One file with this title over this body, whole or not there; its path."""
    from plotly.offline import get_plotlyjs

    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>duologue: {escape(title)}</title>'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body><h1>{escape(title)}</h1>{body}"
        "</body></html>"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(page, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    return path
