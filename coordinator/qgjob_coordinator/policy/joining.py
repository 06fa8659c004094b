"""Which group a device without work of its own joins.

Groups of a target are kept in a heap for each org, and orgs in one by their best group, so that a device that joins one
changes two ranks, though all groups of the org rank lower afterwards. None ranks better than the heaps say: what a
device joins has less work for each device then. So the top is looked at again before it is taken. Groups that are not
open to all devices alike are looked at for each device. A group that is not worth it when it is looked at is not looked
at again in the round, though by what others are given meanwhile its org may come to be owed a device.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.fairness import share
from qgjob_coordinator.policy.fanout import worth_joining
from qgjob_coordinator.policy.rank import ORDERS_PER_MS, urgency
from qgjob_coordinator.policy.snapshot import DeviceView, Head
from qgjob_coordinator.policy.work import Books, Work

EVEN_SECONDS = 30
"""Jobs whose ages differ by less are of the same age where groups are compared."""

Rank = tuple[int, float, int, float, int, tuple[str, str]]

InOrg = tuple[int, int, float, int, tuple[str, str]]
"""A rank less the share, which all groups of an org have in common."""


def rank(books: Books, work: Work, head: Head) -> Rank:
    """Which group comes first, by its next job; the smaller rank is the better one.

    Urgency, then the smaller share of the org, the older job, the most work for each device.
    """
    age = head.score // (EVEN_SECONDS * 1000 * ORDERS_PER_MS)
    most = -work.per_device(1)
    return (-urgency(head, books.snapshot.now), share(books, work.key[0], 1), age, most, head.score, work.key)


def _in_org(ranked: Rank) -> InOrg:
    return (ranked[0], *ranked[2:])


class Offers:
    """The groups of one target that are worth an installation, best first, as the round goes on."""

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._of_org: dict[str, list[tuple[InOrg, Work]]] = defaultdict(list)
        self._picky: list[Work] = []
        for work in books.by_target[target]:
            if not work.left or not books.has_room(work):
                continue
            if not work.plain or books.awaits_own(work):
                self._picky.append(work)
                continue
            ranked = self._ranked(work, work.first((0,)))
            if ranked is not None:
                self._of_org[work.key[0]].append((_in_org(ranked), work))
        for heap in self._of_org.values():
            heapq.heapify(heap)
        tops = ((self._ranked(heap[0][1], heap[0][1].first((0,))), org_id) for org_id, heap in self._of_org.items())
        self._orgs = [(ranked, org_id) for ranked, org_id in tops if ranked is not None]
        heapq.heapify(self._orgs)

    def __bool__(self) -> bool:
        return bool(self._orgs or self._picky)

    def best(self, device: DeviceView) -> Work | None:
        """The group that the device joins; None when none is worth it."""
        found = self._top(device)
        for work in self._picky:
            if work.left and self._books.has_room(work) and self._books.may_join(work, device):
                # Of the queues the first that is worth it: those that serve the group may not serve all of them.
                heads = (work.first((line,)) for line in self._books.lines(work, device))
                for ranked in filter(None, (self._ranked(work, head) for head in heads)):
                    if found is None or ranked < found[0]:
                        found = ranked, work
        return found[1] if found else None

    def _ranked(self, work: Work, head: Head | None) -> Rank | None:
        if head is None or not worth_joining(self._books, work, head):
            return None
        return rank(self._books, work, head)

    def _top(self, device: DeviceView) -> tuple[Rank, Work] | None:
        """The best of the heaps, as it ranks now."""
        while self._orgs:
            told, org_id = self._orgs[0]
            found = self._top_of(org_id, device)
            if found is None:
                heapq.heappop(self._orgs)
            elif found[0] != told:
                heapq.heapreplace(self._orgs, (found[0], org_id))
            else:
                return found
        return None

    def _top_of(self, org_id: str, device: DeviceView) -> tuple[Rank, Work] | None:
        """The best of an org. One that is full or not worth it any more leaves the heap."""
        heap = self._of_org[org_id]
        while heap:
            told, work = heap[0]
            open_ = work.left and self._books.has_room(work) and self._books.may_join(work, device)
            now = self._ranked(work, work.first((0,))) if open_ else None
            if now is None:
                heapq.heappop(heap)
            elif _in_org(now) != told:
                heapq.heapreplace(heap, (_in_org(now), work))
            else:
                return now, work
        return None
