"""Times that are expected, each with the band that most such times lie in, and what is known of durations for that."""

from __future__ import annotations

from dataclasses import dataclass

RUNNING_SHARE = 0.9
"""Of what jobs take, the part that those which run now have still before them, on average: the mean residual life
(1 + cv^2) / 2 of a renewal process, for durations whose deviation is nine tenths of their mean."""
SPREAD = 0.9
"""Deviation of a job's duration, as a share of what it is expected to take, where that is known from its group only."""
SURE = 0.1
"""A start is told no closer than to this share of the time until then."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A time from now, and the band that most such times lie in; seconds."""

    seconds: float
    least: float
    most: float


def around(at: float, spread: float) -> Expected:
    """A time with a band of so many seconds to each side, as far as that is not over."""
    return Expected(at, max(0.0, at - spread), at + spread)
