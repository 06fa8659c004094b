"""Fair shares between orgs: devices of a target by weight, among orgs that have work of the same urgency.

Each target is shared for itself: many cloud devices of an org are no reason to keep it from emulators.
"""

from __future__ import annotations

from collections.abc import Iterable

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.rank import urgent_for
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS

PATIENCE_INSTALLS = 5
"""For so many installations a job that has no device waits before one is called away for it."""


def share(books: Books, target: Target, org_id: str, more: int = 0) -> float:
    """Devices of a target that serve the org for each unit of its weight, were there `more` of them.

    Those that idle and were not asked yet count for the org that they have work of without an installation.
    """
    devices = books.fleet.working(target)[org_id] + books.fleet.homebound[target][org_id]
    return (devices + more) / books.snapshot.weights.get(org_id, 1.0)


def takers(books: Books, target: Target, orgs: Iterable[str], giver: str) -> list[str]:
    """Those of some orgs that shares may give a device of another one, the least share first.

    They have none; or one more leaves them with no larger share than the giver has, whose device has nothing to do.
    """
    giving = share(books, target, giver)
    found = []
    for org_id in orgs:
        has = share(books, target, org_id)
        if org_id != giver and (has == 0 or (has < giving and share(books, target, org_id, 1) <= giving)):
            found.append((has, org_id))
    return [org_id for _, org_id in sorted(found)]


def worth_a_turn(books: Books, target: Target, seconds: float, score: int) -> bool:
    """Whether an org that has no device is worth one that others have work for: an installation now, and as a rule one
    when the device goes back. By its seconds of work, or by how long its job of this score has waited.
    """
    needed = PATIENCE_INSTALLS * books.snapshot.install_seconds.get(target, INSTALL_SECONDS)
    return seconds >= needed or urgent_for(score, books.snapshot.now) >= needed


def evenness(books: Books, target: Target, giver: str, taker: str) -> float:
    """How even two orgs would be after a device went over: 0 to 1, which is where it makes them equal or more.

    The device that goes over has nothing to do, so it counts for neither of them.
    """
    giving = share(books, target, giver)
    return min(1.0, share(books, target, taker, 1) / giving) if giver != taker and giving > 0 else 1.0


def owed(books: Books, target: Target, org_id: str) -> float:
    """How far the org is from its share beside the other org that has most: 0 where one device more makes it even with
    that, and the nearer to 1 the less of its share it would have.

    The other one is taken to get all devices that idle but for one, if it has work for them: so orgs are not even just
    because the devices of a round are dealt in turns.
    """
    giving = next((most for most, org in _largest(books, target) if org != org_id), 0.0)
    return 1.0 - min(1.0, share(books, target, org_id, 1) / giving) if giving > 0 else 0.0


def _largest(books: Books, target: Target) -> list[tuple[float, str]]:
    """The two orgs that have most, or will have, less one device, with their shares; the first has more."""
    known = books.largest.get(target)
    if known is None:
        idle, held, weights = books.fleet.idle[target], books.fleet.working(target), books.snapshot.weights
        waiting = books.groups.orgs(target)
        # As `share` has it, but for those that are homebound: all that idle are counted here.
        shares = [
            ((held.get(org, 0) + (idle if org in waiting else 0) - 1) / weights.get(org, 1.0), org)
            for org in waiting.union(held)
        ]
        known = books.largest[target] = sorted(shares, reverse=True)[:2]
    return known


def owes(books: Books, target: Target, giver: str, taker: str) -> bool:
    """Whether a device that has nothing to do should go to another org: the giver has no smaller share then."""
    return giver != taker and share(books, target, giver) >= share(books, target, taker, 1)
