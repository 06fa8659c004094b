"""The times of a run: those of the product, all by one factor, and the bounds that follow from them. No I/O.

`Scale(1)` is the product as it ships: heartbeat 5 s, session 15 s, lease 60 s. What is not a setting of the product,
but a constant beside these times, is scaled too (see programs.py), or a short run would test another system.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.fakes.stack import Times
from tests.fakes.waiting import BUSY_SECONDS

HEARTBEAT_SECONDS = 5.0
SESSION_SECONDS = 15.0
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Scale:
    """`factor` of the product's times; `load_seconds` is what a busy machine may add to each bound."""

    factor: float = 0.2
    load_seconds: float = BUSY_SECONDS

    @property
    def times(self) -> Times:
        """What the lab's programs are started with."""
        return Times(HEARTBEAT_SECONDS * self.factor, SESSION_SECONDS * self.factor, LEASE_SECONDS * self.factor)

    @property
    def session(self) -> float:
        """S, in seconds."""
        return self.times.session

    @property
    def lease(self) -> float:
        """A, in seconds."""
        return self.times.lease

    @property
    def patience(self) -> float:
        """The store may be away for so long, and no test is killed: 0.8 A less two heartbeats."""
        return self.times.patience
