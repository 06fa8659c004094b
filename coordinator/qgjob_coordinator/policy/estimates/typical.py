"""What many different things take, a group's tests or an org's: about half of them take longer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from qgjob_coordinator.policy.estimates.measurement import measured_ms, rounded
from qgjob_coordinator.policy.snapshot import TYPICAL_SECONDS

TYPICAL_GAIN = 1 / 64
LOG_UNIT = 1_000_000
"""Logarithms are whole numbers of millionths."""
LOG_REACH = 2 * LOG_UNIT
"""A measurement counts as at most e^2, 7.4 times, as long or as short as the typical one."""
ENOUGH = 5
"""Measurements that a group or an org needs before it tells more than the larger whole that it is part of; or before
one more is brought within reach of what it tells."""

_MS = 1000


@dataclass(frozen=True, slots=True)
class Typical:
    """Mean of the logarithms of `count` measurements in ms, in millionths."""

    log: int
    count: int

    @property
    def seconds(self) -> float:
        """The median."""
        return math.exp(self.log / LOG_UNIT) / _MS


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


def typical_seconds(wholes: Iterable[Typical | None], fleet: Typical | None = None) -> float:
    """What a test of which nothing is known is expected to take (s).

    By the first of the wholes that was measured often enough, which are its group and its org; else by the fleet's
    typical duration, else by that of a fleet that has run nothing.
    """
    whole = known_whole(wholes) or fleet
    return TYPICAL_SECONDS if whole is None else whole.seconds


def known_whole(wholes: Iterable[Typical | None]) -> Typical | None:
    """The first of the wholes that was measured often enough."""
    return next((whole for whole in wholes if whole is not None and whole.count >= ENOUGH), None)


def log_of(ms: int) -> int:
    """The logarithm of a measurement, in millionths."""
    return rounded(math.log(ms) * LOG_UNIT)
