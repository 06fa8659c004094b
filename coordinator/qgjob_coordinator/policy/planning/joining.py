"""Which group a device without work of its own joins.

Groups of a target are kept in a heap for each org, and orgs in one by their best group, so that a device that joins one
changes two ranks, though all groups of the org rank lower afterwards. None ranks better than the heaps say: what a
device joins has less work for each device then. So the top is looked at again before it is taken.

A group comes to the heap of its org when it may be the best one there. Urgency and age come first in a rank, and follow
from the score of the oldest job alone: so of a thousand groups one device ranks those few whose jobs are as old as that
of the best one, and looks at the best of these. Groups that have no build for some devices are kept apart by those that
they have: there are few kinds. Others that are not open to all devices alike are looked at for each.

A group is judged when it is the best one. If it is not worth it, it is not looked at again in the round: what is enough
only rises while devices are given work, so it makes no difference when a group is judged.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from operator import itemgetter

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.feasible import missing_slot
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fanout import worth_joining
from qgjob_coordinator.policy.planning.places import differs_by_device, may_take
from qgjob_coordinator.policy.planning.precedence import (
    EVEN,
    InOrg,
    Rank,
    by_score,
    in_org,
    rank,
    rank_of,
    unseen_in_org,
)
from qgjob_coordinator.policy.planning.work import Work, plain_queue
from qgjob_coordinator.policy.snapshot import NO_BUILDS, DeviceView, GroupView, Head

Unseen = dict[str, list[tuple[int, GroupView]]]
"""Of each org groups after the scores of their oldest jobs."""


class Offers:
    """The groups of one target that are worth an installation, best first, as the round goes on."""

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._picky: list[GroupView] = []
        for_all: Unseen = defaultdict(list)
        bound: dict[frozenset[str], Unseen] = {}
        capped = books.snapshot.limits.group_max_devices is not None
        limited = bool(books.room)
        for group in books.groups.of(target):
            queue = plain_queue(group)
            if queue is None or (capped and books.awaits_own(group)) or (limited and differs_by_device(books, group)):
                self._picky.append(group)
                continue
            unseen = for_all
            if group.pushed and books.groups.bound(group):
                unseen = bound.setdefault(group.pushed, defaultdict(list))
            if queue.oldest is not None:
                unseen[group.org_id].append((queue.oldest, group))
            elif queue.heads:
                unseen[group.org_id].append((queue.heads[0].score, group))
        self._kinds = [(NO_BUILDS, _Kind(books, target, for_all))] if for_all else []
        self._kinds += [(pushed, _Kind(books, target, unseen)) for pushed, unseen in bound.items()]

    def __bool__(self) -> bool:
        return bool(self._picky) or any(kind for _, kind in self._kinds)

    def best(self, device: DeviceView) -> Work | None:
        """The group that the device joins; None when none is worth it."""
        books = self._books
        found = None
        for pushed, kind in self._kinds:
            top = kind.top(device) if missing_slot(device, pushed) is None else None
            if top is not None and (found is None or top[0] < found[0]):
                found = top
        for group in self._picky:
            work = _open(books, group, device)
            if work is None:
                continue
            # Of the queues the first that is worth it: those that serve the group may not serve all of them.
            for head in [work.first((line,)) for line in books.lines(work, device)]:
                if head is not None and worth_joining(books, work, head):
                    ranked = rank(books, work, head)
                    if found is None or ranked < found[0]:
                        found = ranked, work
        return found[1] if found else None


class _Kind:
    """Groups that are open to the same devices, all alike."""

    def __init__(self, books: Books, target: Target, unseen: Unseen) -> None:
        self._books = books
        self._target = target
        self._of_org = {org_id: _OrgOffers(books, groups) for org_id, groups in unseen.items()}
        bests = ((org.at_best(), org_id) for org_id, org in self._of_org.items())
        self._orgs = [(rank_of(books, target, best), org_id) for best, org_id in bests if best is not None]
        heapq.heapify(self._orgs)

    def __bool__(self) -> bool:
        return bool(self._orgs)

    def top(self, device: DeviceView) -> tuple[Rank, Work] | None:
        """The best of the heaps, as it ranks now."""
        while self._orgs:
            told, org_id = self._orgs[0]
            found = self._of_org[org_id].top(device)
            if found is None:
                heapq.heappop(self._orgs)
                continue
            ranked = rank_of(self._books, self._target, found[0])
            if ranked != told:
                heapq.heapreplace(self._orgs, (ranked, org_id))
            if self._orgs[0][1] == org_id:
                return ranked, found[1]
        return None


class _OrgOffers:
    """Those of one org in a kind. One that is full or not worth it is not looked at again."""

    __slots__ = ("_books", "_heap", "_next", "_ordered", "_unseen")

    def __init__(self, books: Books, unseen: list[tuple[int, GroupView]]) -> None:
        """`unseen`: groups after the scores of their oldest jobs."""
        self._books = books
        self._unseen = unseen
        self._ordered = False
        self._next = 0, False, 0  # what the rank of the last unseen one begins with, once they are in order
        self._heap: list[tuple[InOrg, GroupView]] = []

    def at_best(self) -> InOrg | None:
        """A rank that no group is better than, before any is looked at."""
        if not self._unseen:
            return None
        score, org_id = min([score for score, _ in self._unseen]), self._unseen[0][1].org_id
        return *by_score(score, self._books.snapshot.now), -math.inf, score, (org_id, "")

    def top(self, device: DeviceView) -> tuple[InOrg, Work] | None:
        """The best one, as it ranks now. While devices are given work groups only come to rank lower."""
        books, heap = self._books, self._heap
        if not self._ordered:
            self._ordered = True
            self._unseen.sort(key=itemgetter(0), reverse=True)
            self._tell_next()
        while heap or self._unseen:
            if self._unseen and (not heap or self._next <= heap[0][0]):
                for score, group in self._of_next_age():
                    heapq.heappush(heap, (unseen_in_org(books, group, score), group))
                continue
            told, group = heap[0]
            work = _open(books, group, device)
            head = None if work is None else self._worth(work)
            if work is None or head is None:
                heapq.heappop(heap)
                continue
            ranked = in_org(books, work, head)
            if ranked == told:
                return told, work
            heapq.heapreplace(heap, (ranked, group))
        return None

    def _of_next_age(self) -> list[tuple[int, GroupView]]:
        """Takes the groups whose oldest jobs are of one age, the greatest; with the scores of these jobs."""
        unseen = self._unseen
        younger = (unseen[-1][0] // EVEN + 1) * EVEN
        groups = []
        while unseen and unseen[-1][0] < younger:
            groups.append(unseen.pop())
        self._tell_next()
        return groups

    def _tell_next(self) -> None:
        """At best its rank begins so, and so no group that is unseen ranks better."""
        if self._unseen:
            self._next = by_score(self._unseen[-1][0], self._books.snapshot.now)

    def _worth(self, work: Work) -> Head | None:
        """The next job of a group, if one more device is worth an installation for it."""
        head = work.first((0,)) if work.left else None
        return head if head is not None and worth_joining(self._books, work, head) else None


def _open(books: Books, group: GroupView, device: DeviceView) -> Work | None:
    """A group if it has work, and the device may join it."""
    if not books.has_room(group.org_id):
        return None
    work = books.groups.work(group)
    return work if work.left and may_take(books, work, device) else None
