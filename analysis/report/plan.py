"""What a comparison sets out to show, as a YAML file says it before anybody looks: one primary metric, further claims,
figures that must not be harmed, and slices to explore. Without a file every metric with a direction is a claim, and
second readings of the same thing (by words, by a legacy scorer) are explored.

    primary: timing.latency            # must be better; a study's question is human.QUESTION
    claims: {timing.pause_held: better, qa.text: not-worse}
    harms: {qa.speech: 0.05}           # must not be worse by this or more, in the metric's unit
    slices: [task, voice]              # the task, or a tag such as voice:NAME
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from protocols.config import read_yaml
from protocols.errors import InputError, unknown_name
from protocols.records import MetricInfo

HUMAN = "human."  # before a study's question, where it stands beside metrics
Expected = Literal["better", "equivalent", "not-worse"]
SECOND_READINGS = (".words", ".tokens", ".substring", ".overlay")  # of a claim's own talks, by another rule
Role = Literal["primary", "claim", "harm", "explored", "neutral", "published"]


class ClaimsPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which metrics stand for what. Metrics that are not named are explored, not claimed."""

    primary: str | None = None
    claims: dict[str, Expected] = {}
    harms: dict[str, float] = {}
    slices: tuple[str, ...] = ("task",)

    @property
    def declared(self) -> bool:
        """Does it name anything that can hold or fail?"""
        return bool(self.primary or self.claims or self.harms)

    def role(self, info: MetricInfo) -> Role:
        """What a metric stands for. A metric without direction can never be a claim, published rules never are."""
        if is_published(info.name):
            return "published"
        if info.better == "none":
            return "neutral"
        if info.name == self.primary:
            return "primary"
        if info.name in self.harms:
            return "harm"
        if info.name in self.claims:
            return "claim"
        return "explored" if self.declared or info.name.endswith(SECOND_READINGS) else "claim"


def is_published(name: str) -> bool:
    """Somebody else's rule, or a floor that no system decides: shown for orientation, never claimed."""
    return name.startswith("compat.") or ".floor." in name


def read_plan(path: Path) -> ClaimsPlan:
    """A claims file, checked as far as that goes without the runs."""
    plan = read_yaml(path, ClaimsPlan)
    named = [*([plan.primary] if plan.primary else []), *plan.claims, *plan.harms]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise InputError(f"{path} names {twice} twice; a metric is the primary one, a claim or a harm")
    for name, margin in plan.harms.items():
        if not 0 < margin < float("inf"):
            raise InputError(f"{path}: the margin of {name} is {margin}; it must be above 0")
    return plan


def check_plan(plan: ClaimsPlan, metrics: Iterable[MetricInfo]) -> None:
    """Raise InputError where a plan names a metric that the runs lack or that has no direction."""
    known = {m.name: m for m in metrics}
    for name in [*([plan.primary] if plan.primary else []), *plan.claims, *plan.harms]:
        if name not in known:
            raise unknown_name("metric", name, known)
        if known[name].better == "none" or is_published(name):
            raise InputError(f"{name} has no better or worse of its own; it cannot be claimed")
