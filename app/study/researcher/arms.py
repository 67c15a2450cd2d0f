"""What each arm has been through: talks by their end, how late it was heard, how fast it stepped.

A real-time factor is the time of a step over the length of the sound it makes: under 1 keeps up. Nothing here says
how an arm was rated.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.study.config import Study
from app.study.raters import study_row
from app.study.tables import ArmRow, RaterRow, TalkRow


class ArmState(NamedTuple):
    """One arm. Figures are medians over its talks that ended; None: there is none yet."""

    code: str
    name: str
    system: str
    version: str | None
    talks: Mapping[str, int]  # by status; traps are not among them
    traps: int
    lag: float | None  # seconds
    most_lag: float | None  # largest of all, seconds
    late_ms: float | None  # 99th percentile of a talk's frames
    factor: float | None


def arms_of(session: Session, study: Study) -> list[ArmState]:
    """Every arm, in the order of the study's file."""
    row = study_row(session, study.name)
    arms = {arm.name: arm for arm in session.scalars(select(ArmRow).where(ArmRow.study_id == row.id))}
    talks = session.scalars(
        select(TalkRow).join(RaterRow, RaterRow.id == TalkRow.rater_id)
        .where(RaterRow.study_id == row.id, RaterRow.source != "preview", TalkRow.arm.is_not(None))
    ).all()  # fmt: skip
    return [_state(arms[name], [talk for talk in talks if talk.arm == arms[name].code]) for name in study.arms]


def _state(arm: ArmRow, talks: Sequence[TalkRow]) -> ArmState:
    own = [talk for talk in talks if talk.kind == "talk"]
    measured = [talk.measured for talk in own if talk.measured]
    lags = _known(measured, "lag_max")
    return ArmState(
        arm.code, arm.name, arm.system, arm.version,
        {status: sum(talk.status == status for talk in own) for status in ("done", "voided", "open")},
        len(talks) - len(own), _middle(_known(measured, "lag_p50")), max(lags, default=None),
        _middle(_known(measured, "late_ms_p99")), _middle(factors(measured)),
    )  # fmt: skip


def factors(measured: Iterable[Mapping[str, Any]]) -> list[float]:
    """Real-time factors of talks whose step time is known."""
    return [
        one["step_ms_p50"] / (1e3 * one["frame"])
        for one in measured
        if one.get("step_ms_p50") is not None and one.get("frame")
    ]


def _known(measured: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    return [float(one[key]) for one in measured if one.get(key) is not None]


def _middle(values: Sequence[float]) -> float | None:
    return median(values) if values else None
