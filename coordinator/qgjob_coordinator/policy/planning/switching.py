"""When a warm device leaves a group that still has work for it. These rules are the only ones by which it does.

- *Class*: an urgent job waits elsewhere out of the reach of those that serve it, the next one here is less urgent, and
  the other has been urgent for `PATIENCE_INSTALLS` installations. The device stays if it alone serves its group and is
  done with it within `STAY_INSTALLS`: it is free for the urgent job then, and leaves nothing to install for again.
- *Age*: a job waits elsewhere that is older than the next one here by more than `OLDER_SECONDS`, head starts of classes
  included, and nobody who may serve it serves its group. So no job waits for ever behind a group that never runs dry.
  An urgent one beside a less urgent one has to have been urgent for so long: else its head start would call at once.
- *Shares*: another org with work as urgent, and worth an installation, has so few devices that one more leaves it with
  no larger share than this one has then; and the device has stayed for `TURN_INSTALLS`, or for as much less as the
  shares are uneven, so that devices don't flip between orgs that are about even. Or it has none: where there are more
  orgs than devices they take turns of that length. A group that nobody serves is worth it when it has work for
  `PATIENCE_INSTALLS` installations, or has been as urgent for so long: else single jobs that trickle in cost two each.
"""

from __future__ import annotations

from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fairness import PATIENCE_INSTALLS, evenness, owes, share, worth_a_turn
from qgjob_coordinator.policy.planning.fanout import out_of_reach, worth_joining
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.rank import (
    OLDER_SECONDS,
    ORDER_EPOCH_MS,
    ORDERS_PER_MS,
    URGENT,
    URGENT_SECONDS,
    older_by,
    urgency,
    urgent_for,
)
from qgjob_coordinator.policy.snapshot import DeviceView, Head

STAY_INSTALLS = 16
TURN_INSTALLS = 15


def latest_call(books: Books, next_here: Head) -> int:
    """The latest score of a job that may call a device away by class or age; a quick way past all others."""
    now = (books.snapshot.now - ORDER_EPOCH_MS) * ORDERS_PER_MS
    urgent = now - URGENT_SECONDS * 1000 * ORDERS_PER_MS
    older = next_here.score - OLDER_SECONDS * 1000 * ORDERS_PER_MS
    return max(older, urgent) if urgency(next_here, books.snapshot.now) < URGENT else older


def may_share(books: Books, device: DeviceView, here: Work, taker: str) -> bool:
    """Whether the device has stayed long enough to be moved by shares: the longer, the less uneven they are."""
    stayed = (books.snapshot.now - device.home_since) / 1000
    return stayed >= evenness(books, device.target, here.key[0], taker) * TURN_INSTALLS * here.install


def leaves_for(books: Books, device: DeviceView, here: Work, next_here: Head, there: Work, next_there: Head) -> bool:
    """Whether the device leaves its group for another one, given the next job of both."""
    if out_of_reach(books, there, next_there) and _by_class(books, here, next_here, there, next_there):
        return True
    return _by_age(books, next_here, there, next_there) or _by_shares(books, device, here, next_here, there, next_there)


def _by_class(books: Books, here: Work, next_here: Head, there: Work, next_there: Head) -> bool:
    now = books.snapshot.now
    if not urgency(next_there, now) >= URGENT > urgency(next_here, now):
        return False
    soon_done = not here.serving and here.seconds < STAY_INSTALLS * here.install
    return urgent_for(next_there.score, now) >= PATIENCE_INSTALLS * there.install and not soon_done


def _by_age(books: Books, next_here: Head, there: Work, next_there: Head) -> bool:
    now = books.snapshot.now
    if older_by(next_there, next_here) <= OLDER_SECONDS or books.servers(there, next_there):
        return False
    if urgency(next_there, now) >= URGENT > urgency(next_here, now):
        return urgent_for(next_there.score, now) > OLDER_SECONDS
    return True


def _by_shares(books: Books, device: DeviceView, here: Work, next_here: Head, there: Work, next_there: Head) -> bool:
    now, giver, taker = books.snapshot.now, here.key[0], there.key[0]
    if giver == taker or urgency(next_there, now) < urgency(next_here, now):
        return False
    if not may_share(books, device, here, taker):
        return False
    if share(books, device.target, taker) > 0 and not owes(books, device.target, giver, taker):
        return False
    if there.serving:
        return worth_joining(books, there, next_there)
    return worth_a_turn(books, device.target, there.seconds, next_there.score)
