"""`duologue plan`: what a study of a given size could find, as a table. The statistics are in `analysis.power`, which
is imported when the command runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from app.options import as_json
from protocols.errors import InputError

if TYPE_CHECKING:
    from analysis.power import RatingPlan

CHANGES = (0.10, 0.15, 0.25)
COLUMNS = ["raters", "talks per arm", "power [95 %]", "found in 4 of 5 studies"]
ITEM_COLUMNS = ["items", *(f"{100 * change:.0f} % change" for change in CHANGES)]


class Row(NamedTuple):
    """One size of a rating study. Effects are in logits, shifts in rating points."""

    raters: int
    talks: int
    power: float
    low: float
    high: float
    detectable_effect: float | None
    detectable_shift: float | None

    def cells(self) -> list[str]:
        found, sure = self.detectable_shift, f"[{100 * self.low:.0f}, {100 * self.high:.0f}]"
        least = "over 5 logits" if found is None else f"{found:.2f} points ({self.detectable_effect:.2f} logits)"
        return [str(self.raters), str(self.talks), f"{100 * self.power:.0f} % {sure}", least]


class ItemRow(NamedTuple):
    """One size of a benchmark: the smallest difference of two shares it shows, by share of items that change."""

    items: int
    detectable: dict[str, float]

    def cells(self) -> list[str]:
        return [f"{self.items:,}", *(f"{100 * d:.1f} points" for d in self.detectable.values())]


@click.command()
@click.option("--raters", type=click.IntRange(2, 5_000), multiple=True, default=(20, 40, 80), show_default=True)
@click.option("--talks", type=click.IntRange(1, 100), multiple=True, default=(2, 4), show_default=True,
              help="Talks per rater and arm.")  # fmt: skip
@click.option("--effect", type=click.FloatRange(-5, 5), default=0.5, show_default=True,
              help="Log odds of a higher rating under B.")  # fmt: skip
@click.option("--by-duration", "durations", type=click.FloatRange(-5, 5), multiple=True, default=(0.0,),
              show_default=True, help="Change of the effect at each planned duration of talks.")  # fmt: skip
@click.option("--rater-sd", type=click.FloatRange(0, 5), default=0.9, show_default=True, help="Raters' levels, logits.")
@click.option("--slope-sd", type=click.FloatRange(0, 5), default=0.3, show_default=True,
              help="How raters differ in the effect, logits; from a pilot.")  # fmt: skip
@click.option("--shares", "share_text", default="0.08,0.17,0.35,0.28,0.12", show_default=True,
              help="Of the categories, lowest first.")  # fmt: skip
@click.option("--items", type=click.IntRange(2), multiple=True, default=(300, 1_000, 2_000), show_default=True,
              help="Sizes of a benchmark.")  # fmt: skip
@click.option("--studies", type=click.IntRange(100, 100_000), default=2_000, show_default=True, help="To simulate.")
@click.option("--seed", type=int, default=0, show_default=True)
@as_json
def plan(
    raters: tuple[int, ...], talks: tuple[int, ...], effect: float, durations: tuple[float, ...], rater_sd: float,
    slope_sd: float, share_text: str, items: tuple[int, ...], studies: int, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """How large must a study be? Power and smallest detectable differences, before it starts."""
    from analysis.power import RatingPlan
    from app.show import Terminal

    terminal = Terminal(as_json)
    base = RatingPlan(2, 1, effect, rater_sd, slope_sd, shares(share_text), durations)
    rated, counted = rating_rows(base, raters, talks, seed, studies), item_rows(items)
    terminal.table(COLUMNS, [row.cells() for row in rated], title=f"Ratings, a true effect of {effect:g} logits")
    terminal.say("\nBenchmark: difference of two shares found in 4 of 5 comparisons, if so many items change")
    terminal.table(ITEM_COLUMNS, [row.cells() for row in counted])
    terminal.result({"ratings": [row._asdict() for row in rated], "items": [row._asdict() for row in counted]})


def shares(text: str) -> tuple[float, ...]:
    """Shares of the categories, lowest first, from "0.1,0.2,0.4,0.2,0.1"; they need not sum to 1."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) < 2 or not all(0 < v < float("inf") for v in values):
        raise InputError(f"shares {text!r} cannot be used; give two or more positive numbers, lowest category first")
    return values


def rating_rows(plan: "RatingPlan", raters: Sequence[int], talks: Sequence[int], seed: int, studies: int) -> list[Row]:
    """Every combination of raters and talks."""
    from analysis.power import detectable_effect, expected_shift, power

    rows = []
    if min(talks) < len(plan.durations):
        raise InputError(f"{min(talks)} talks per arm cannot be spread over {len(plan.durations)} durations")
    for r in raters:
        for t in talks:
            sized = plan._replace(raters=r, talks=t)
            found = power(sized, seed, studies).power
            effect = detectable_effect(sized, seed, studies)
            shift = None if effect is None else expected_shift(sized._replace(effect=effect))
            rows.append(Row(r, t, found.value, found.low or 0.0, found.high or 1.0, effect, shift))
    return rows


def item_rows(items: Sequence[int]) -> list[ItemRow]:
    from analysis.power import detectable_share

    return [ItemRow(n, {f"{change:g}": detectable_share(n, change) for change in CHANGES}) for n in items]
