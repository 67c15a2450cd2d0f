"""How far behind the page is: exact, from what its packets count.

A packet says which agent sample is played next, and the talk knows how many user samples the system was given, so

    lag = user samples given - next agent sample to be played

is how much later the agent is heard than it spoke on its own clock: a reply that comes d seconds after the user in the
talk as modelled comes d + lag seconds after in the talk as heard. It is constant while all is well. A lag that stays
over the limit makes a talk void, because a rater would judge the delay and not the system; doing so is up to `talk`.
"""

from collections.abc import Callable

import numpy as np

from app.live import events
from app.live.wire import Packet

STEP = 0.005  # seconds a lag must move to be logged


class LagWatch:
    def __init__(self, rate: int, limit: float, limit_for: float, log: Callable[[events.LiveEvent], None]) -> None:
        """A lag over `limit` for `limit_for` seconds is too much."""
        self._rate, self._limit, self._limit_for, self._log = rate, limit, limit_for, log
        self._lags: list[float] = []
        self._logged: float | None = None
        self._over_since: int | None = None
        self.restart()

    def restart(self) -> None:
        """A page that was loaded anew counts from zero."""
        self._dropped = self._missed = 0

    @property
    def last(self) -> float | None:
        """Seconds, at the latest packet."""
        return self._lags[-1] if self._lags else None

    def middle_and_most(self) -> tuple[float | None, float | None]:
        """The median and the largest lag of the talk."""
        if not self._lags:
            return None, None
        return float(np.median(self._lags)), max(self._lags)

    def count(self, packet: Packet, sample: int) -> None:
        """Log what the page dropped and missed up to the end of a packet."""
        if packet.dropped > self._dropped:
            self._log(events.Dropped(sample, packet.dropped - self._dropped))
        if packet.missed > self._missed:
            self._log(events.Missed(sample, packet.missed - self._missed))
        self._dropped, self._missed = packet.dropped, packet.missed

    def measure(self, packet: Packet, sample: int, given: int) -> float | None:
        """The lag, if it has been too much for too long. `given`: user samples the system has got."""
        lag = (given - packet.position) / self._rate
        self._lags.append(lag)
        if self._logged is None or abs(lag - self._logged) > STEP:
            self._log(events.Lag(sample, round(lag * 1e3, 2)))
            self._logged = lag
        if lag <= self._limit:
            self._over_since = None
        elif self._over_since is None:
            self._over_since = sample
        elif sample - self._over_since > self._limit_for * self._rate:
            return lag
        return None
