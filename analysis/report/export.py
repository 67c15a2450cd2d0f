"""The claims as a table for other programs and for papers: CSV with every number, Markdown and LaTeX to print.

The paper's tables hold claims, harms and neutral metrics; published rules and explored metrics are in the CSV alone.
"""

import csv
import io
from collections.abc import Sequence

from analysis.estimates import Estimate
from analysis.report.claims import Claim
from analysis.report.summarize import Summary
from analysis.report.words import interval, p_value

COLUMNS = (
    "metric", "unit", "better", "role", "arm", "against", "verdict", "base", "base_low", "base_high", "value", "low",
    "high", "difference", "difference_low", "difference_high", "n", "clusters", "p", "p_adjusted", "p_equivalence",
    "test", "detectable", "margin", "only_base", "only_arm", "unscored", "slice_by", "slice",
)  # fmt: skip
HEAD = ("metric", "against", "value", "difference", "p, adjusted", "n", "verdict")
SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"~": r"\textasciitilde{}", "^": r"\^{}",
                         "\\": r"\textbackslash{}", "<": r"$<$"})  # fmt: skip


def to_csv(summary: Summary) -> str:
    """One line per claim and per slice, in plain units; an unknown is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for c in summary.claims:
        r = c.result
        numbers: list[object] = [None] * 9
        tests: list[object] = [None] * 7
        if r is not None:
            numbers = [*_three(r.a), *_three(r.b), *_three(r.difference)]
            tests = [r.difference.n, r.difference.n_clusters, r.p, c.p_adjusted, c.p_equivalence, r.test, r.detectable]
        writer.writerow([c.metric.name, c.metric.unit, c.metric.better, c.role, c.arm, c.against, c.verdict, *numbers,
                         *tests, c.margin, c.only_a, c.only_b, c.unscored, None, None])  # fmt: skip
    for s in summary.slices.slices:
        e = s.result
        writer.writerow([s.metric.name, s.metric.unit, s.metric.better, "slice", s.arm, summary.sides[0].label,
                         s.verdict, *_three(e.a), *_three(e.b), *_three(e.difference), e.difference.n,
                         e.difference.n_clusters, e.p, s.p_adjusted, None, e.test, e.detectable, s.metric.margin,
                         None, None, None, s.by, s.level])  # fmt: skip
    return out.getvalue()


def _three(e: Estimate) -> list[float | None]:
    return [e.value, e.low, e.high]


def to_markdown(summary: Summary) -> str:
    """The paper's table in Markdown."""
    lines = [" | ".join(HEAD), " | ".join(["---", "---:", "---:", "---:", "---:", "---:", "---"])]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in paper_rows(summary.claims)]
    return "".join(f"| {line} |\n" for line in lines) + f"\n{_note(summary)}\n"


def to_latex(summary: Summary) -> str:
    """The paper's table in LaTeX; needs booktabs."""
    rows = [" & ".join(cell.translate(SPECIAL) for cell in row) for row in (HEAD, *paper_rows(summary.claims))]
    body = [rows[0] + r" \\", r"\midrule", *(row + r" \\" for row in rows[1:])]
    return "\n".join([
        r"\begin{table}", r"\centering", r"\begin{tabular}{lrrrrrl}", r"\toprule", *body, r"\bottomrule",
        r"\end{tabular}", rf"\caption{{{_note(summary).translate(SPECIAL)}}}", r"\end{table}", "",
    ])  # fmt: skip


def _note(summary: Summary) -> str:
    against = summary.sides[0].label
    people = " (ratings and votes: of the same raters)" if summary.people is not None else ""
    return (
        f"Compared with {against} on the same items of {summary.sides[0].run.protocol.suite}{people}; 95 % intervals; "
        "p after Holm over the claims."
    )


def paper_rows(claims: Sequence[Claim]) -> list[list[str]]:
    """Cells of the claims that a paper prints."""
    several = len({c.arm for c in claims}) > 1
    rows = []
    for c in claims:
        r = c.result
        if r is None or c.role in ("published", "explored"):
            continue
        unit = "" if c.metric.unit == "share" else f" ({c.metric.unit})"
        name = f"{c.metric.title}{unit}" + (f", {c.arm}" if several else "")
        rows.append([name, interval(r.a, c.metric), interval(r.b, c.metric), interval(r.difference, c.metric),
                     p_value(c.p_adjusted), str(r.difference.n), c.verdict])  # fmt: skip
    return rows
