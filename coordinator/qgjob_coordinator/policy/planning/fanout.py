"""Whether one more device is worth an installation."""

from __future__ import annotations

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
BUSY_FACTOR, FREE_SLOPE, LEAST_FACTOR = 1.3, 1.25, 0.3
"""Of `fan_out`: where no device is free, how much less with the part that is, and the least. Where many are free an
installation keeps nobody waiting, where none is it takes its time from other jobs."""
SPARE_INSTALLS = 20
"""A device that had nothing to do for so many installations before it joined a group is free as far as that is asked:
if it counted as busy, a group would stop to spread over a farm that has nothing else to do."""


def out_of_reach(books: Books, work: Work, head: Head) -> bool:
    """Whether none of the devices that serve the group takes this job of it soon."""
    soonest = min(books.servers(work, head).values(), default=float("inf"))
    return soonest > REACH_INSTALLS * work.install


def enough(books: Books, work: Work) -> float:
    """Installations' worth of work before each device that are enough for another one to join."""
    org_id, target, fleet = work.key[0], work.group.target, books.fleet
    spare = sum([fleet.spare(device_id, SPARE_INSTALLS * work.install) for device_id in work.serving])
    free = fleet.idle_share(target, spare)
    most = max(LEAST_FACTOR, BUSY_FACTOR - FREE_SLOPE * free) * books.snapshot.limits.fan_out
    if most <= OWED_FAN_OUT:
        return most
    return OWED_FAN_OUT + (most - OWED_FAN_OUT) * (1.0 - owed(books, target, org_id)) ** SHARE_POWER


def _never_enough(books: Books, work: Work) -> bool:
    """A quick way past most groups: there is less before each device than is enough on any fleet."""
    least = min(OWED_FAN_OUT, LEAST_FACTOR * books.snapshot.limits.fan_out)
    return work.per_device() < least * work.install


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
    if not _never_enough(books, work) and work.per_device() >= enough(books, work) * work.install:
        return True
    return urgency(first, books.snapshot.now) >= URGENT and out_of_reach(books, work, first)
