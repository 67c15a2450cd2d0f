"""A summary as one self-contained HTML file: style, scripts, figures and a few sounds inside, nothing loaded."""

import base64
from pathlib import Path

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from analysis.report.figures import claim_figure, forest, talk_svg
from analysis.report.summarize import Claim, Summary, TalkPicture, amount, interval, show, to_json
from protocols.errors import StoreError

WORDS = {"better": "▲ better", "worse": "▼ worse", "equivalent": "= equivalent", "undecided": "? undecided"}


def write_report(summary: Summary, folder: Path) -> tuple[Path, Path]:
    """Write report.html and its twin report.json into a folder; their paths."""
    html, twin = folder / "report.html", folder / "report.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in ((html, render(summary).encode()), (twin, to_json(summary))):
            temporary = path.with_suffix(path.suffix + ".part")
            temporary.write_bytes(data)
            temporary.replace(path)
    except OSError as error:
        raise StoreError(f"cannot write the report to {folder}: {error.strerror}") from error
    return html, twin


def render(summary: Summary) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("analysis.report"), autoescape=select_autoescape(["html", "j2"]), undefined=StrictUndefined
    )
    labels = (summary.a.label, summary.b.label)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        words=WORDS,
        show=show,
        interval=interval,
        amount=amount,
        plotly=Markup(get_plotlyjs()),
        forest=_plot(forest(summary)),
        claims=[(claim, _plot(claim_figure(claim, labels)) if claim.values_a else "") for claim in summary.claims],
        talks=[(talk, Markup(talk_svg(talk)), _sound(talk)) for talk in summary.talks],
        protocol=[(k, _plain(v)) for k, v in msgspec.structs.asdict(summary.b.run.protocol).items()],
        outcome_rows=_outcome_rows,
    )


def _plot(figure: object) -> Markup:
    html = figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})  # type: ignore[attr-defined]
    return Markup(html)


def _sound(talk: TalkPicture) -> str:
    """The recording as a data URI; empty if the file is gone."""
    path = Path(talk.folder) / talk.sound
    if not path.is_file():
        return ""
    return "data:audio/flac;base64," + base64.b64encode(path.read_bytes()).decode()


def _outcome_rows(claim: Claim) -> list[tuple[str, int, int]]:
    names = list(dict.fromkeys([*claim.outcomes_a, *claim.outcomes_b]))
    return [(name, claim.outcomes_a.get(name, 0), claim.outcomes_b.get(name, 0)) for name in names]


def _plain(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return str(value)
