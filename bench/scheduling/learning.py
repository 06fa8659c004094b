"""What the store's scripts learn from a measurement, in Python: for the simulator, and to hold the scripts against.

Both compute with the same whole numbers, so that they agree to the millisecond. What the estimates mean, and why they
move so, is told in `qgjob_coordinator.policy.estimates`.
"""

from __future__ import annotations

import math

from qgjob_coordinator.policy.estimates.estimate import Estimate
from qgjob_coordinator.policy.estimates.measurement import LONGEST_MS
from qgjob_coordinator.policy.estimates.typical import ENOUGH, LOG_UNIT, Typical

TYPICAL_GAIN = 1 / 64
LOG_REACH = 2 * LOG_UNIT
"""A measurement counts as at most e^2, 7.4 times, as long or as short as the typical one."""
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


def measured_ms(seconds: float) -> int | None:
    """A measurement as whole ms; None for what can't be one: not finite, below 1 ms, above a day."""
    if not math.isfinite(seconds):
        return None
    ms = rounded(seconds * _MS) if abs(seconds) <= LONGEST_MS else -1
    return ms if 1 <= ms <= LONGEST_MS else None


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


def observe_typical(typical: Typical | None, seconds: float) -> Typical | None:
    """The typical duration after one more measurement; the same one when that can't be a duration.

    log += g * (ln x - log), with g = max(1/64, 1/(count + 1)), and ln x brought within reach of log once that was
    measured often enough: who reaches for a strange first one takes long to leave it.
    """
    ms = measured_ms(seconds)
    if ms is None:
        return typical
    log = log_of(ms)
    if typical is None:
        return Typical(log, 1)
    off = log - typical.log
    if typical.count >= ENOUGH:
        off = max(-LOG_REACH, min(LOG_REACH, off))
    gain = max(TYPICAL_GAIN, 1 / (typical.count + 1))
    return Typical(rounded(typical.log + gain * off), typical.count + 1)


def log_of(ms: int) -> int:
    """The logarithm of a measurement, in millionths."""
    return rounded(math.log(ms) * LOG_UNIT)


def rounded(x: float) -> int:
    """To the nearest whole number, halves up: as scripts do."""
    return math.floor(x + 0.5)
