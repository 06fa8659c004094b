"""Whether one more device is worth an installation."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fairness import owed
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.rank import URGENT, urgency
from qgjob_coordinator.policy.snapshot import Head

REACH_INSTALLS = 3
"""An urgent job is left to the devices that serve its group if one is free within so many installations: to install for
it costs one now and, as a rule, another one when the device goes back."""


OWED_FAN_OUT = 3.0
SHARE_POWER = 3
"""How soon the fan-out comes down for an org that has less than its share."""
BUSY_FACTOR = 1.2
"""Of `fan_out`, less the share of devices that idle: where many idle an installation keeps nobody waiting, where none
does it takes its time from other jobs."""
LEAST_FACTOR = 0.3


def out_of_reach(books: Books, work: Work, head: Head) -> bool:
    """Whether none of the devices that serve the group takes this job of it soon."""
    soonest = min(books.servers(work, head).values(), default=float("inf"))
    return soonest > REACH_INSTALLS * work.install


def enough(books: Books, target: Target) -> float:
    """Installations' worth of work that is enough for an org that has its share."""
    return max(LEAST_FACTOR, BUSY_FACTOR - books.fleet.idle_share(target)) * books.snapshot.limits.fan_out


def _enough_for(books: Books, org_id: str, target: Target) -> float:
    most = enough(books, target)
    least = min(OWED_FAN_OUT, most)
    return least + (most - least) * (1.0 - owed(books, target, org_id)) ** SHARE_POWER


def worth_joining(books: Books, work: Work, first: Head) -> bool:
    """Whether a device that would have to install should join the group, whose next job is `first`.

    A group that nobody serves is worth it, or nobody who may serve that job. One that is served is when each of its
    devices has about `fan_out` installations' worth of work before it, what it holds included: then the installation is
    a small part of what the new device takes over. The less the org has of its share the fewer are enough, down to
    `OWED_FAN_OUT` where it would be more: shares come before few installations. Or when an urgent job is out of the
    reach of those that serve it.
    """
    if not (work.serving and books.servers(work, first)):
        return True
    org_id, target = work.key[0], work.group.target
    needed = books.enough.get((org_id, target))
    if needed is None:
        needed = books.enough[org_id, target] = _enough_for(books, org_id, target)
    if work.per_device() >= needed * work.install:
        return True
    return urgency(first, books.snapshot.now) >= URGENT and out_of_reach(books, work, first)
