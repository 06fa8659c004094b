"""Which group a warm device is called away to. The rules are those of `switching`; here is who is asked.

Groups are looked at from the one with the oldest job on (head starts included), and no further than a job can call; and
those of the org with the least share. So a device costs a few steps, however many groups there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.fairness import owes, share
from qgjob_coordinator.policy.joining import Rank, rank
from qgjob_coordinator.policy.snapshot import DeviceView, Head
from qgjob_coordinator.policy.switching import latest_call, leaves_for, may_share
from qgjob_coordinator.policy.work import Books, Work

MOST = 32
"""Groups that are asked for one device by each of the two ways."""


class Callers:
    """The groups of one target that may call devices away, in one round."""

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._by_age = sorted((w for w in books.by_target[target] if w.left), key=lambda w: (w.oldest, w.key))
        self._by_org: dict[str, list[Work]] = defaultdict(list)
        for work in self._by_age:
            self._by_org[work.key[0]].append(work)

    def best(self, device: DeviceView, home: Work, first: Head) -> Work | None:
        """The group that the device leaves its own for, given the next job of that."""
        latest = latest_call(self._books, first)
        best: tuple[Rank, Work] | None = None
        for work in self._asked(device, home, latest):
            head = self._books.next_for(work, device)
            if head is not None and leaves_for(self._books, device, home, first, work, head):
                ranked = rank(self._books, work, head)
                if best is None or ranked < best[0]:
                    best = ranked, work
        return best[1] if best else None

    def _asked(self, device: DeviceView, home: Work, latest: int) -> Iterable[Work]:
        """By class and age, then by shares."""
        asked = 0
        for work in self._by_age:
            if work.oldest > latest or asked == MOST:
                break
            if work is not home and self._open(work, device):
                asked += 1
                yield work
        others = (org for org in self._by_org if org != home.key[0])
        taker = min(others, key=lambda org: (share(self._books, org), org), default=None)
        if taker is None or not (owes(self._books, home.key[0], taker) or share(self._books, taker) == 0):
            return  # no rule of shares moves the device: a quick way past them
        if may_share(self._books, device, home, taker):
            open_ = (work for work in self._by_org[taker] if self._open(work, device))
            yield from (work for work, _ in zip(open_, range(MOST), strict=False))

    def _open(self, work: Work, device: DeviceView) -> bool:
        books = self._books
        # Of those that the device may not serve there may be any number: they count for nothing.
        return books.has_room(work) and books.may_join(work, device) and books.next_for(work, device) is not None
