"""What one thing takes that is measured again and again, a test or an installation: a mean and a spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

from qgjob_coordinator.policy.estimates.measurement import measured_ms, rounded
from qgjob_coordinator.policy.estimates.typical import LOG_REACH, LOG_UNIT, Typical, log_of

MEAN_GAIN = 1 / 8
SPREAD_GAIN = 1 / 4
REACH_SPREADS = 4
"""A measurement further from the mean than so many spreads counts as if it were there: the K of RFC 6298."""
REACH_SHARE = 1 / 2
REACH_MS = 1000
"""... but at least this share of the mean, and at least a second, since a spread may be 0."""
FAR = math.exp(LOG_REACH / LOG_UNIT)
"""The reach of logarithms as a factor: measurements of one test that are so far apart contradict each other."""
FEW = 3
"""So many measurements are given up, one by one, for others that contradict them. More than that are moved."""

_MS = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean and mean absolute deviation (ms) of `count` measurements, the newest weighing most.

    Of one measurement the deviation is half of it. Where it is not, that measurement is in doubt: it stands in place of
    the deviation, and the mean is as much of it as is believed.
    """

    mean_ms: int
    deviation_ms: int
    count: int

    @property
    def mean(self) -> float:
        """In seconds."""
        return self.mean_ms / _MS

    @property
    def deviation(self) -> float:
        """In seconds."""
        return self.deviation_ms / _MS


def observe(estimate: Estimate | None, seconds: float, typical: Typical | None = None) -> Estimate | None:
    """The estimate after one more measurement; the same one when that can't be a duration.

    mean += g * (x - mean), with g = max(1/8, 1/(count + 1)); deviation += 1/4 * (|x - mean| - deviation), with the mean
    before; x is the measurement, brought within reach of the mean. The first one gives mean x and deviation x / 2, and
    is in doubt where it is far from what is `typical` of the tests around it. While there are few, one that contradicts
    them takes one of them away.
    """
    ms = measured_ms(seconds)
    if ms is None:
        return estimate
    if estimate is None:
        return _first(ms, typical)
    mean, deviation, count = estimate.mean_ms, estimate.deviation_ms, estimate.count
    if count == 1 and deviation != mean // 2:
        mean, deviation = deviation, deviation // 2
    if count <= FEW and (ms > FAR * mean or mean > FAR * ms):
        if count == 1:
            return _first(ms, typical)
        return Estimate(mean, mean // 2 if count == 2 else deviation, count - 1)
    reach = max(REACH_SPREADS * deviation, REACH_SHARE * mean, REACH_MS)
    off = max(-reach, min(reach, ms - mean))
    gain = max(MEAN_GAIN, 1 / (count + 1))
    return Estimate(
        rounded(mean + gain * off),
        rounded(deviation + SPREAD_GAIN * (abs(off) - deviation)),
        count + 1,
    )


def _first(ms: int, typical: Typical | None) -> Estimate:
    """The estimate from one measurement."""
    off = 0 if typical is None else log_of(ms) - typical.log
    if typical is None or abs(off) <= LOG_REACH:
        return Estimate(ms, ms // 2, 1)
    believed = typical.log + (LOG_REACH if off > 0 else -LOG_REACH)
    return Estimate(rounded(math.exp(believed / LOG_UNIT)), ms, 1)
