"""Whether one more device is worth an installation."""

from __future__ import annotations

from qgjob_coordinator.policy.rank import urgency
from qgjob_coordinator.policy.snapshot import Head, Limits
from qgjob_coordinator.policy.work import Work

URGENT = 2
"""From this urgency on a job pays for an installation when nobody reaches it within one: a fresh job of the highest
class, or one that waited so long that it is as urgent."""


def worth_joining(work: Work, first: Head, limits: Limits, now: int) -> bool:
    """Whether a device that would have to install should join the group, whose next job is `first`.

    A group that nobody serves is worth it. One that is served is when each of its devices has `fan_out` installations'
    worth of work before it, for then the installation is a small part of what the new device takes over; or when an
    urgent job would wait longer for a device that is there than for one that installs.
    """
    if not work.serving:
        return True
    if work.per_device() >= limits.fan_out * work.install:
        return True
    return urgency(first, now) >= URGENT and work.reached_in() > work.install
