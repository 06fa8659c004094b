"""Fair shares between orgs: devices by weight, among those that have work of the same urgency."""

from __future__ import annotations

from heapq import nlargest

from qgjob_coordinator.policy.work import Books


def share(books: Books, org_id: str, more: int = 0) -> float:
    """Devices that serve the org for each unit of its weight, were there `more` of them."""
    return (books.devices_of_org[org_id] + more) / books.snapshot.weights.get(org_id, 1.0)


def evenness(books: Books, giver: str, taker: str) -> float:
    """How even two orgs would be after a device went over: 0 to 1, which is where it makes them equal or more."""
    giving = share(books, giver, -1)
    return min(1.0, share(books, taker, 1) / giving) if giver != taker and giving > 0 else 1.0


def owed(books: Books, org_id: str) -> float:
    """How far the org is from its share, beside the one that has most: 0 where it has it, 1 where it has nothing.

    Of devices that idle it may have one, and the other orgs with work all others: so it is not even with them just
    because the devices of a round are dealt in turns.
    """
    giving = next((most for most, org in _largest(books) if org != org_id), 0.0)
    return 1.0 - min(1.0, share(books, org_id, 1) / giving) if giving > 0 else 0.0


def _largest(books: Books) -> list[tuple[float, str]]:
    """The two orgs that have most, or will have, less one device, with their shares; the first has more."""
    if books.largest is None:
        idle = sum(books.idle.values())
        waiting = books.waiting_orgs
        shares = ((share(books, o, idle - 1 if o in waiting else -1), o) for o in {*books.devices_of_org, *waiting})
        books.largest = nlargest(2, shares)
    return books.largest


def owes(books: Books, giver: str, taker: str) -> bool:
    """Whether a device should go from one org to another: the giver still has no smaller share afterwards."""
    return giver != taker and share(books, giver, -1) >= share(books, taker, 1)
