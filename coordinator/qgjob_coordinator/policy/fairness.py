"""Fair shares between orgs: devices by weight, among those that have work of the same urgency."""

from __future__ import annotations

from qgjob_coordinator.policy.work import Books


def share(books: Books, org_id: str, more: int = 0) -> float:
    """Devices that serve the org for each unit of its weight, were there `more` of them."""
    return (books.devices_of_org[org_id] + more) / books.snapshot.weights.get(org_id, 1.0)


def evenness(books: Books, giver: str, taker: str) -> float:
    """How even two orgs would be after a device went over: 0 to 1, which is where it makes them equal or more."""
    giving = share(books, giver, -1)
    return min(1.0, share(books, taker, 1) / giving) if giver != taker and giving > 0 else 1.0


def owed(books: Books, org_id: str) -> float:
    """How far the org is from its share, beside the one that has most: 0 where it has it, 1 where it has nothing."""
    most = max(books.devices_of_org, key=lambda org: (share(books, org), org), default=org_id)
    return 1.0 - evenness(books, most, org_id)


def owes(books: Books, giver: str, taker: str) -> bool:
    """Whether a device should go from one org to another: the giver still has no smaller share afterwards."""
    return giver != taker and share(books, giver, -1) >= share(books, taker, 1)
