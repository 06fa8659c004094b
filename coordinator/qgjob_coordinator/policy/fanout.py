"""Whether one more device is worth an installation."""

from __future__ import annotations

from qgjob_coordinator.policy.fairness import below
from qgjob_coordinator.policy.rank import URGENT, urgency
from qgjob_coordinator.policy.snapshot import Head
from qgjob_coordinator.policy.work import Books, Work

REACH_INSTALLS = 3
"""An urgent job is left to the devices that serve its group if one is free within so many installations: to install for
it costs one now and, as a rule, another one when the device goes back."""


OWED_FAN_OUT = 2.5


def out_of_reach(work: Work) -> bool:
    """Whether no device that serves the group takes its next job soon."""
    return work.reached_in() > REACH_INSTALLS * work.install


def worth_joining(books: Books, work: Work, first: Head) -> bool:
    """Whether a device that would have to install should join the group, whose next job is `first`.

    A group that nobody serves is worth it. One that is served is when each of its devices has `fan_out` installations'
    worth of work before it, what it holds included: then the installation is a small part of what the new device takes
    over; `OWED_FAN_OUT` while the org has less than its share, which comes before few installations. Or when an urgent
    job is out of the reach of those that serve it.
    """
    if not work.serving:
        return True
    installs = work.per_device() / work.install
    if installs >= books.snapshot.limits.fan_out:
        return True
    if installs >= OWED_FAN_OUT and below(books, work.key[0]):
        return True
    return urgency(first, books.snapshot.now) >= URGENT and out_of_reach(work)
