"""How long this agent may act on its leases.

A confirmation counts from the moment at which the confirmed message was *sent*: only that bounds what the coordinator's
clock shows. `window` is 0.8 of a lease; the rest is for drift and for killing. A confirmation that arrives when its own
window is over revives nothing, since the coordinator may have given the leases up in between.
"""

from __future__ import annotations


class LeaseClock:
    """The last confirmed sending time, in seconds of the caller's monotonic clock."""

    __slots__ = ("confirmed_at", "window")

    def __init__(self) -> None:
        self.confirmed_at: float | None = None
        self.window = 0.0

    def confirm(self, sent_at: float, now: float) -> bool:
        """Counts a confirmation received at `now` of what was sent at `sent_at`; False if it renewed nothing."""
        if now - sent_at >= self.window:
            return False
        if self.confirmed_at is not None and sent_at <= self.confirmed_at:
            return False
        self.confirmed_at = sent_at
        return True

    @property
    def ends_at(self) -> float | None:
        """When nothing may start any more and what runs is killed; None before the first confirmation."""
        return None if self.confirmed_at is None else self.confirmed_at + self.window

    def fresh(self, now: float) -> bool:
        """True while attempts may be started."""
        # The same sum as the supervisors are told: a difference would be rounded otherwise, and start what they kill.
        return self.confirmed_at is not None and now < self.confirmed_at + self.window
