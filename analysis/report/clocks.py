"""When people heard it, and when the system said it: a figure in seconds on the talk's other clock.

A live talk is recorded as heard; on the system's own clock its replies come earlier by the talk's lag. A run in real
time is recorded as modelled; somebody who listens without gaps hears it later by what 99 of 100 frames need. On the
simulated clock both are one.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from analysis.report.measure import Curve, curve
from analysis.tables import Floats, Paired
from protocols.records import Conversation, Key
from protocols.store import Run

DELAYED = ("timing.latency", "timing.interruption_latency", "timing.stop_latency", "timing.transfer_offset")
Clock = Literal["as heard", "as modelled"]


class Delays(msgspec.Struct, frozen=True):
    """What takes each talk of a run from the clock of its recording to the other one."""

    clock: Clock  # the other one
    seconds: Mapping[Key, float]


class OtherClock(msgspec.Struct, frozen=True):
    """The same figures on the other clock."""

    clock: Clock
    a: Curve
    b: Curve
    median_a: float
    median_b: float


def delays(run: Run) -> Delays | None:
    """None where both clocks are one, or nothing is known of the other."""
    if run.info.protocol.clock == "simulated":
        return None
    talks = {talk.key: talk for talk in run.read(Conversation) if talk.recording is not None}
    if lags := {key: -talk.lag for key, talk in talks.items() if talk.lag is not None}:
        return Delays("as modelled", lags)
    late = {key: talk.pacing.late_p99_ms / 1000 for key, talk in talks.items() if talk.pacing is not None}
    return Delays("as heard", late) if late else None


def other_clock(name: str, paired: Paired, a: Delays | None, b: Delays | None) -> OtherClock | None:
    """A delayed metric's matched values on the other clock; None where a talk's delay is not known."""
    if a is None or b is None or a.clock != b.clock or not len(paired.a) or not name.startswith(DELAYED):
        return None
    moved = [_moved(values, paired, of.seconds) for values, of in ((paired.a, a), (paired.b, b))]
    if moved[0] is None or moved[1] is None:
        return None
    return OtherClock(a.clock, curve(moved[0]), curve(moved[1]), float(np.median(moved[0])), float(np.median(moved[1])))


def _moved(values: Floats, paired: Paired, seconds: Mapping[Key, float]) -> Floats | None:
    by = [seconds.get(Key(item.sample, item.take or 0)) for item in paired.items]
    return None if None in by else values + np.array(by, dtype=np.float64)
