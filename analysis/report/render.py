"""A summary as one self-contained HTML file: style, scripts, figures and a few sounds inside, nothing loaded.

Beside it lie its twins (JSON, CSV, Markdown, LaTeX) and a page per shown talk. Sounds are embedded up to EMBEDDED bytes
in all; the others are linked, so that the page stays small however many talks it shows.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from markupsafe import Markup

from analysis.report.balance_figure import balance_html
from analysis.report.claims import Claim, Said
from analysis.report.export import to_csv, to_latex, to_markdown
from analysis.report.figures import claim_figure, forest, outcome_figure
from analysis.report.page import plot, plotly_script, templates, write_whole
from analysis.report.people import People
from analysis.report.people_figures import lag_figure, likert_figure, map_figure, slopes_figure, votes_figure
from analysis.report.plan import HUMAN
from analysis.report.summarize import Summary, to_json
from analysis.report.sweep_figure import sweep_html
from analysis.report.talk_svg import talk_svg
from analysis.report.talks import TalkPicture
from analysis.report.words import amount, interval, p_value, show

WORDS: dict[Said, str] = {"better": "▲ better", "worse": "▼ worse", "equivalent": "= equivalent",
                          "undecided": "? undecided", "different": "≠ different", "no harm": "✓ no harm"}  # fmt: skip
EMBEDDED = 1_500_000  # bytes of sound inside the page
DRAWN = ("primary", "claim", "harm", "neutral")


def write_report(summary: Summary, folder: Path, pages: Mapping[tuple[str, str, int], Path] | None = None) -> Path:
    """Write report.html and its twins report.json, .csv, .md and .tex into a folder; the page's path.

    pages: (arm, sample, take) -> a page of its own for that talk, which the report links.
    """
    page = folder / "report.html"
    texts = {".html": render(summary, folder, pages or {}), ".csv": to_csv(summary), ".md": to_markdown(summary),
             ".tex": to_latex(summary)}  # fmt: skip
    data = {ending: text.encode() for ending, text in texts.items()} | {".json": to_json(summary)}
    write_whole({page.with_suffix(ending): content for ending, content in data.items()})
    return page


def render(summary: Summary, folder: Path, pages: Mapping[tuple[str, str, int], Path]) -> str:
    """The whole page."""
    labels = [side.label for side in summary.sides]
    claimed = [c for c in summary.claims if c.role in ("primary", "claim", "harm")]
    return templates().get_template("report.html.j2").render(
        summary=summary,
        labels=labels,
        words=WORDS,
        show=show,
        interval=interval,
        amount=amount,
        p_value=p_value,
        plotly=plotly_script(),
        claimed=claimed,
        n_claims=sum(c.result is not None for c in claimed),
        role=lambda *roles: [c for c in summary.claims if c.role in roles],
        several=len({(c.against, c.arm) for c in summary.claims}) > 1,
        forest=plot(forest(claimed)) if any(c.result for c in claimed) else "",
        figures=[(c, _claim_plots(c, summary.claims)) for c in summary.claims if _is_drawn(c)],
        flows=[(side.label, side.flow) for side in summary.sides],
        balance=balance_html(summary.balance, labels),
        sweeps=[(s, Markup(sweep_html(s))) for s in summary.sweeps],
        **_people_plots(summary.people),
        scatter=balance_html(summary.agreeing, labels),
        talks=_talks(summary.talks, folder, pages),
        protocol=_protocol(summary),
        outcome_rows=_outcome_rows,
        plain=_plain,
    )  # fmt: skip


def _is_drawn(claim: Claim) -> bool:
    """People's answers have figures of their own."""
    return claim.role in DRAWN and not claim.metric.name.startswith(HUMAN)


def _claim_plots(claim: Claim, claims: Sequence[Claim]) -> Markup:
    """The claim's figure, with the reading by words where there is one, and its outcomes."""
    if claim.result is None:
        return Markup("")
    words = f"{claim.metric.name}.words"
    second = next((c for c in claims if c.metric.name == words and c.arm == claim.arm), None)
    return plot(claim_figure(claim, second)) + plot(outcome_figure(claim))


def _people_plots(people: People | None) -> dict[str, object]:
    """Figures of each question and each choice, for the template."""
    if people is None:
        return {"scales": [], "maps": [], "bars": [], "lag": ""}
    return {
        "scales": [(s, plot(likert_figure(s)) + plot(slopes_figure(s))) for s in people.scales],
        "maps": [plot(map_figure(s)) for s in people.scales],
        "bars": [plot(votes_figure(c)) for c in people.choices],
        "lag": plot(lag_figure(people.conduct.technical[0])) if people.conduct and people.conduct.technical else "",
    }


def _talks(
    talks: Sequence[TalkPicture], folder: Path, pages: Mapping[tuple[str, str, int], Path]
) -> list[tuple[TalkPicture, Markup, str, str]]:
    """Each talk with its picture, its sound (a data URI, a relative path, or nothing) and its own page."""
    left, out = EMBEDDED, []
    for talk in talks:
        path = Path(talk.folder) / talk.sound
        sound = ""
        if path.is_file():
            size = path.stat().st_size
            sound = _relative(path, folder)
            if size <= left:
                left -= size
                sound = "data:audio/flac;base64," + base64.b64encode(path.read_bytes()).decode()
        page = pages.get((talk.arm, talk.sample, talk.take))
        out.append((talk, Markup(talk_svg(talk)), sound, _relative(page, folder) if page else ""))
    return out


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.resolve(), folder.resolve()).replace(os.sep, "/")


def _protocol(summary: Summary) -> list[tuple[str, list[str]]]:
    """Every field of the protocol and every version, a value per arm."""
    sides = [msgspec.structs.asdict(side.run.protocol) for side in summary.sides]
    rows = [(name.replace("_", " "), [_plain(s[name]) for s in sides]) for name in sides[0]]
    versions = dict.fromkeys(name for side in summary.sides for name in side.run.versions)
    rows += [(name, [side.run.versions.get(name, "not recorded") for side in summary.sides]) for name in versions]
    return [*rows, ("sha256 of the scores", [side.sealed for side in summary.sides])]


def _outcome_rows(claim: Claim) -> list[tuple[str, int, int]]:
    names = list(dict.fromkeys([*claim.outcomes_a, *claim.outcomes_b]))
    return [(name, claim.outcomes_a.get(name, 0), claim.outcomes_b.get(name, 0)) for name in names]


def _plain(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
    return str(value)
