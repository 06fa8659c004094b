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
    """How far the org is from its share beside the other org that has most: 0 where one device more makes it even with
    that, and the nearer to 1 the less of its share it would have.

    The other one is taken to get all devices that idle but for one, if it has work for them: so orgs are not even just
    because the devices of a round are dealt in turns.
    """
    giving = next((most for most, org in _largest(books) if org != org_id), 0.0)
    return 1.0 - min(1.0, share(books, org_id, 1) / giving) if giving > 0 else 0.0


def _largest(books: Books) -> list[tuple[float, str]]:
    """The two orgs that have most, or will have, less one device, with their shares; the first has more."""
    if books.largest is None:
        idle, held = sum(books.idle.values()), books.devices_of_org
        weights, waiting = books.snapshot.weights, books.waiting_orgs
        # As `share` has it; this is for all orgs, and for each device that gets work.
        shares = [
            ((held.get(org, 0) + (idle if org in waiting else 0) - 1) / weights.get(org, 1.0), org)
            for org in {*held, *waiting}
        ]
        books.largest = sorted(shares, reverse=True)[:2]
    return books.largest


def owes(books: Books, giver: str, taker: str) -> bool:
    """Whether a device should go from one org to another: the giver still has no smaller share afterwards."""
    return giver != taker and share(books, giver, -1) >= share(books, taker, 1)
