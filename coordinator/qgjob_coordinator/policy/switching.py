"""When a warm device leaves a group that still has work for it. These rules are the only ones by which it does.

- *Class*: an urgent job waits elsewhere, the next job here is less urgent, and no device that serves that group reaches
  it within an installation's time.
- *Age*: a job elsewhere waits that is older than the next one here by more than `OLDER_SECONDS` (ages with the head
  start of the class), and nobody serves its group. So no job waits for ever behind a group that never runs dry.
- *Shares*: another org with work as urgent has so few devices that one more leaves it with no larger share than this
  one; or it has none, and its job and this device's stay have both lasted for `PATIENCE_INSTALLS` installations.
"""

from __future__ import annotations

from qgjob_coordinator.policy.fairness import owes, share
from qgjob_coordinator.policy.fanout import URGENT, worth_joining
from qgjob_coordinator.policy.rank import CLASS_SECONDS, ORDERS_PER_MS, urgency
from qgjob_coordinator.policy.snapshot import DeviceView, Head
from qgjob_coordinator.policy.work import Books, Work

OLDER_SECONDS = 2 * CLASS_SECONDS
PATIENCE_INSTALLS = 10


def leaves_for(books: Books, device: DeviceView, here: Work, next_here: Head, there: Work, next_there: Head) -> bool:
    """Whether the device leaves its group for another one, given the next job of both."""
    now, install = books.snapshot.now, there.install
    if there.reached_in() <= install:
        return False
    urgent_here, urgent_there = urgency(next_here, now), urgency(next_there, now)
    if urgent_there >= URGENT > urgent_here:
        return True
    older = (next_here.score - next_there.score) / (1000 * ORDERS_PER_MS)
    if older > OLDER_SECONDS and not there.serving:
        return True
    if urgent_there < urgent_here or not worth_joining(there, next_there, books.snapshot.limits, now):
        return False
    giver, taker = here.key[0], there.key[0]
    if owes(books, giver, taker):
        return True
    patient = PATIENCE_INSTALLS * install
    starved = giver != taker and share(books, taker) == 0 and not there.serving
    return starved and device.home_for >= patient and older_than(next_there, now) >= patient


def older_than(head: Head, now: int) -> float:
    """Seconds since the job's score, at least what it has waited beyond its head start."""
    return now / 1000 - head.score / (1000 * ORDERS_PER_MS) - urgency(head, now) * CLASS_SECONDS
