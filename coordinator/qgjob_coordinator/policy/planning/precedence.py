"""Which group comes first: where devices are to go, by the next job of each."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fairness import share, worth_a_turn
from qgjob_coordinator.policy.planning.work import GroupKey, Work
from qgjob_coordinator.policy.rank import ORDERS_PER_MS, urgency_of
from qgjob_coordinator.policy.snapshot import GroupView, Head

EVEN_SECONDS = 30
"""Jobs whose ages differ by less are of the same age where groups are compared."""

EVEN = EVEN_SECONDS * 1000 * ORDERS_PER_MS
"""The same in steps of scores."""

Rank = tuple[int, bool, float, int, float, int, GroupKey]

InOrg = tuple[int, bool, int, float, int, GroupKey]
"""A rank less the share, which all groups of an org have in common."""


def rank(books: Books, work: Work, head: Head) -> Rank:
    """Which group comes first, by its next job; the smaller rank is the better one.

    Urgency, then what is worth a device that others have work for, the smaller share of the org, the older job, the
    most work for each device.
    """
    return rank_of(books, work.group.target, in_org(books, work, head))


def rank_of(books: Books, target: Target, found: InOrg) -> Rank:
    """The rank of a group among all, given the one in its org."""
    urgent, little, age, most, score, key = found
    return urgent, little, share(books, target, key[0], 1), age, most, score, key


def in_org(books: Books, work: Work, head: Head) -> InOrg:
    """The rank of a group among those of its org, by its next job."""
    return _in_org(books, work.group.target, head.score, work.per_device(1), work.key)


def unseen_in_org(books: Books, group: GroupView, score: int) -> InOrg:
    """The same of a group open to all devices alike, by the score of its oldest job; makes no work and no head."""
    key = group.org_id, group.gid
    return _in_org(books, group.target, score, books.groups.per_device(group, 1), key)


def _in_org(books: Books, target: Target, score: int, seconds: float, key: GroupKey) -> InOrg:
    urgent, _, age = by_score(score, books.snapshot.now)
    return urgent, not worth_a_turn(books, target, seconds, score), age, -seconds, score, key


def by_score(score: int, now: int) -> tuple[int, bool, int]:
    """What a rank in an org begins with at best, however much work there is: never less for a larger score."""
    return -urgency_of(score, now), False, score // EVEN
