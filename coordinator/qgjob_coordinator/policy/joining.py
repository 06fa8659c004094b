"""Which group a device without work of its own joins.

Groups of a target are kept in a heap by rank. What a device joins ranks lower afterwards, and with it the other groups
of the same org, so no group ranks better than the heap says: the top one is looked at again before it is taken. Groups
that are not open to all devices alike are looked at for each device. A group that is not worth it when it is looked at
is not looked at again in the round, though by what others are given meanwhile its org may come to be owed a device.
"""

from __future__ import annotations

import heapq

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.fairness import share
from qgjob_coordinator.policy.fanout import worth_joining
from qgjob_coordinator.policy.rank import ORDERS_PER_MS, urgency
from qgjob_coordinator.policy.snapshot import DeviceView, Head
from qgjob_coordinator.policy.work import Books, Work

EVEN_SECONDS = 30
"""Jobs whose ages differ by less are of the same age where groups are compared."""

Rank = tuple[int, float, int, float, int, tuple[str, str]]


def rank(books: Books, work: Work, head: Head) -> Rank:
    """Which group comes first, by its next job; the smaller rank is the better one.

    Urgency, then the smaller share of the org, the older job, the most work for each device.
    """
    age = head.score // (EVEN_SECONDS * 1000 * ORDERS_PER_MS)
    most = -work.per_device(1)
    return (-urgency(head, books.snapshot.now), share(books, work.key[0], 1), age, most, head.score, work.key)


class Offers:
    """The groups of one target that are worth an installation, best first, as the round goes on."""

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._heap: list[tuple[Rank, Work]] = []
        self._picky: list[Work] = []
        for work in books.by_target[target]:
            if not work.left or not books.has_room(work):
                continue
            if not work.plain or books.awaits_own(work):
                self._picky.append(work)
                continue
            ranked = self._ranked(work, work.first((0,)))
            if ranked is not None:
                self._heap.append((ranked, work))
        heapq.heapify(self._heap)

    def __bool__(self) -> bool:
        return bool(self._heap or self._picky)

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
        """The best of the heap, as it ranks now. One that is full or not worth it any more leaves the heap."""
        while self._heap:
            told, work = self._heap[0]
            open_ = work.left and self._books.has_room(work) and self._books.may_join(work, device)
            now = self._ranked(work, work.first((0,))) if open_ else None
            if now is None:
                heapq.heappop(self._heap)
            elif now != told:
                heapq.heapreplace(self._heap, (now, work))
            else:
                return told, work
        return None
