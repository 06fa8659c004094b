"""Fair shares between orgs: devices by weight, among those that have work of the same urgency."""

from __future__ import annotations

from qgjob_coordinator.policy.work import Books


def share(books: Books, org_id: str, more: int = 0) -> float:
    """Devices that serve the org for each unit of its weight, were there `more` of them."""
    return (books.devices_of_org[org_id] + more) / books.snapshot.weights.get(org_id, 1.0)


def below(books: Books, org_id: str) -> bool:
    """Whether some org with a device could give the org one and still have no smaller share."""
    return any(owes(books, giver, org_id) for giver, devices in books.devices_of_org.items() if devices)


def owes(books: Books, giver: str, taker: str) -> bool:
    """Whether a device should go from one org to another: the giver still has no smaller share afterwards."""
    return giver != taker and share(books, giver, -1) >= share(books, taker, 1)
