"""Which group a warm device is called away to. The rules are those of `switching`; here is who is asked.

Groups are looked at from the one with the oldest job on (head starts included), and no further than a job can call; and
those of the orgs with less than their share. So a device costs a few steps, however many groups there are; and where
none has a job that is old enough, and no org less than its share, groups are not even put in order.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from itertools import islice

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fairness import takers
from qgjob_coordinator.policy.planning.places import may_take
from qgjob_coordinator.policy.planning.precedence import Rank, rank
from qgjob_coordinator.policy.planning.switching import latest_call, leaves_for, may_share
from qgjob_coordinator.policy.planning.work import GroupKey, Work, oldest
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head

MOST = 32
"""Groups that are asked for one device by each of the two ways."""

Aged = tuple[int, GroupKey, GroupView]
"""A group after the score of its oldest job."""


class Callers:
    """The groups of one target that may call devices away, in one round."""

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._target = target
        # What was taken before the first device asked leaves an org without a call.
        done = {key for key, work in books.groups.made.items() if not work.left}
        groups = books.groups.of(target)
        self._groups = [g for g in groups if (g.org_id, g.gid) not in done] if done else groups
        self._orgs = list(dict.fromkeys([group.org_id for group in self._groups]))
        self._scores = [oldest(group) for group in self._groups]
        self._least = min((score for score in self._scores if score is not None), default=None)
        self._of_org: dict[str, list[Aged]] = {}

    @cached_property
    def _by_age(self) -> list[Aged]:
        return self._aged(None)

    def _aged(self, org_id: str | None) -> list[Aged]:
        """The groups of an org, or all, from the one with the oldest job on."""
        return sorted(
            [
                (score, (group.org_id, group.gid), group)
                for score, group in zip(self._scores, self._groups, strict=True)
                if score is not None and (org_id is None or group.org_id == org_id)
            ]
        )

    def any_for(self, home: Work, first: Head) -> bool:
        """Whether some group might call a device away from its own: a quick way past most questions."""
        if self._least is not None and self._least <= latest_call(self._books, first):
            return True
        return any(org != home.key[0] for org in self._orgs)

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
        if self._least is not None and self._least <= latest:
            asked = 0
            for score, key, group in self._by_age:
                if score > latest or asked == MOST:
                    break
                if key != home.key and (work := self._open(group, device)) is not None:
                    asked += 1
                    yield work
        orgs = [
            org_id
            for org_id in takers(self._books, self._target, self._orgs, home.key[0])
            if may_share(self._books, device, home, org_id)
        ]
        # All of them: one whose work is not worth an installation hides none that has more.
        for org_id in orgs[:MOST]:
            open_ = (work for *_, group in self._taking(org_id) if (work := self._open(group, device)) is not None)
            yield from islice(open_, max(1, MOST // len(orgs)))

    def _taking(self, org_id: str) -> list[Aged]:
        groups = self._of_org.get(org_id)
        if groups is None:
            groups = self._of_org[org_id] = self._aged(org_id)
        return groups

    def _open(self, group: GroupView, device: DeviceView) -> Work | None:
        books = self._books
        if not books.has_room(group.org_id):
            return None
        work = books.groups.work(group)
        # Of those that the device may not serve there may be any number: they count for nothing.
        return work if books.next_for(work, device) is not None and may_take(books, work, device) else None
