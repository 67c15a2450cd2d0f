"""Threshold curves against known figures, and what is refused."""

from pathlib import Path

import pytest

from analysis.paired import wilson
from analysis.report.sweep_figure import sweep_figure, sweep_html, write_sweep
from analysis.sweep import SweepRow, sweep
from protocols.errors import InputError

DURATIONS = {"a": [0.3, 0.4, 2.0, 3.0], "b": [0.8, 0.9, 0.9, 0.95]}


def rows(*thresholds: float) -> list[SweepRow]:
    """Takeovers: speech at least as long as the threshold."""
    return [
        SweepRow(system, t, f"s{i}", float(seconds >= t))
        for system, durations in DURATIONS.items()
        for t in thresholds
        for i, seconds in enumerate(durations)
    ]


def test_each_point_is_a_share_with_wilsons_interval() -> None:
    made = sweep(rows(1.0, 0.5), "Takeovers", "seconds")
    a, b = made.curves
    assert [p.threshold for p in a.points] == [0.5, 1.0]
    assert [p.estimate.value for p in b.points if p.estimate] == [1.0, 0.0]
    estimate = a.points[1].estimate
    assert estimate is not None
    assert (estimate.low, estimate.high) == wilson(2, 4)


def test_a_ranking_that_flips_is_said() -> None:
    made = sweep(rows(0.5, 1.0), "Takeovers", "seconds")
    assert made.flips == (
        "By the estimates alone, a is above b at 1 and below it at 0.5 (seconds): "
        "the threshold decides which is higher.",
    )
    assert sweep(rows(1.0, 2.0), "Takeovers", "seconds").flips == ()


def test_clusters_make_a_bootstrap_and_one_has_no_interval() -> None:
    grouped = [r._replace(cluster="c") for r in rows(1.0)]
    estimate = sweep(grouped, "t", "s").curves[0].points[0].estimate
    assert estimate is not None
    assert (estimate.low, estimate.n_clusters) == (None, 1)


def test_items_without_a_value_are_counted() -> None:
    some = [r._replace(value=None) if r.item == "s0" else r for r in rows(1.0)]
    point = sweep(some, "t", "s").curves[0].points[0]
    assert (point.n_items, point.unscored) == (4, 1)
    none = sweep([r._replace(value=None) for r in rows(1.0)], "t", "s")
    assert none.curves[0].points[0].estimate is None
    assert "none" in sweep_html(none)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rows(0.5, 1.0)[1:], "lacks s0 at 0.5"),
        ([*rows(1.0), rows(1.0)[0]], "twice"),
        ([SweepRow("a", 1.0, "s", 0.5)], "neither 0 nor 1"),
    ],
)
def test_rows_that_make_no_curve_are_refused(bad: list[SweepRow], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep(bad, "t", "s")


def test_the_picture_has_the_numbers_and_loads_nothing(tmp_path: Path) -> None:
    made = sweep(rows(0.5, 1.0), "Takeovers", "seconds <s>")
    lines = [t for t in sweep_figure(made).data if t.name]
    assert [list(t.y) for t in lines] == [[50.0, 50.0], [100.0, 0.0]]
    assert len({(t.line.dash, t.marker.symbol) for t in lines}) == 2
    html = write_sweep(made, tmp_path / "sweep.html").read_text()
    assert "seconds &lt;s&gt;" in html
    assert ' src="http' not in html
