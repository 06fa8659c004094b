"""What many different things take, a group's tests or an org's: about half of them take longer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from qgjob_coordinator.policy.snapshot import TYPICAL_SECONDS

LOG_UNIT = 1_000_000
"""Logarithms are whole numbers of millionths."""
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
