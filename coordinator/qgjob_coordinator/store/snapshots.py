"""Reads what a plan is made from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast, overload

from qgjob_coordinator.model.builds import SLOTS
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.estimates.typical import Typical, typical_seconds
from qgjob_coordinator.policy.planning.batch import NEAR_JOBS
from qgjob_coordinator.policy.snapshot import HEADS, GroupView, Head, LazyHeads, Queue
from qgjob_coordinator.store import estimates, keys, names
from qgjob_coordinator.store.estimates import FleetEstimates
from qgjob_coordinator.store.scripts import ScriptRunner

_TARGET = {target.value: target for target in Target}


@dataclass(frozen=True, slots=True)
class OrgSnapshot:
    """One org: attempts it holds, its groups, and when its next retry and queue deadline are due (ms)."""

    org_id: str
    held: int
    next_retry_at: int | None
    next_deadline_at: int | None
    groups: tuple[GroupView, ...]

    @property
    def waits(self) -> bool:
        """There is work that a device could take now or later."""
        return bool(self.groups) or self.next_retry_at is not None


@dataclass(frozen=True, slots=True)
class Due:
    """When an org's next retry and deadline are due, and its next overflow is to be judged (ms), whether it has
    unfinished jobs, runs to cancel and bonds, and how many builds and suites have names."""

    next_retry_at: int | None
    next_deadline_at: int | None
    waits: bool
    runs_to_cancel: int = 0
    bonds: int = 0
    next_overflow_at: int | None = None
    contents: int = 0

    def next_after(self, now: int) -> int | None:
        """The first time after `now` at which a retry or a deadline is due."""
        return min((t for t in (self.next_retry_at, self.next_deadline_at) if t is not None and t > now), default=None)


class Heads(LazyHeads):
    """Heads as they came, each decoded when a plan looks at it: it looks at few."""

    __slots__ = ("_flat", "_known")

    def __init__(self, flat: list[str]) -> None:
        """`flat`: member, score, member, score, ...; a member is the ulid, then the expected duration if known."""
        self._flat = flat
        self._known: list[Head | None] = [None] * (len(flat) // 2)

    def __len__(self) -> int:
        return len(self._known)

    @overload
    def __getitem__(self, index: int) -> Head: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Head, ...]: ...

    def __getitem__(self, index: int | slice) -> Head | tuple[Head, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        head = self._known[index]
        if head is None:
            head = self._known[index] = _head(self._flat[2 * index], self._flat[2 * index + 1])
        return head

    def __iter__(self) -> Iterator[Head]:
        known = self._known
        if None in known:
            flat = self._flat
            known[:] = [h or _head(m, s) for h, m, s in zip(known, flat[::2], flat[1::2], strict=True)]
        return iter(cast("list[Head]", known))

    def known_seconds(self) -> tuple[float, int]:
        """The sum of the expected durations of those that have one, and how many have."""
        seconds = estimates.seconds
        known = [found for member in self._flat[::2] if (found := seconds(member.partition(" ")[2])) is not None]
        return math.fsum(known), len(known)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _head(member: str, score: str) -> Head:
    ulid, _, known = member.partition(" ")
    # What Head(...) does, less a call: a round makes them by the hundred.
    return tuple.__new__(Head, (int(score), ulid, estimates.seconds(known) if known else None))


def _queue(row: list[Any]) -> Queue:
    requirements, avoid = names.parse_signature(row[0])
    return Queue(requirements, avoid, row[1], Heads(row[2:]), int(row[3]) if len(row) > 3 else None)


@lru_cache(maxsize=1 << len(SLOTS))
def _slots(pushed: str) -> frozenset[str]:
    return frozenset([SLOTS[int(digit) - 1] for digit in pushed])


def _group(org_id: str, row: list[Any], org: Typical | None, fleet: Typical | None) -> GroupView:
    gid, version, target, unfinished, installs, serving, typical, pushed, *queues = row
    held = iter(serving)
    return GroupView(
        org_id,
        gid,
        version,
        _TARGET[target],
        unfinished,
        installs,
        {device_id: int(n) for device_id, n in zip(held, held, strict=True)},
        tuple([_queue(q) for q in queues]),
        typical_seconds((estimates.typical(typical), org), fleet),
        _slots(pushed),
    )


def decode(org_id: str, reply: list[Any], fleet: Typical | None) -> OrgSnapshot:
    """The script's reply; `fleet` is the typical duration for groups and orgs that have none of their own."""
    held, retry, deadline, typical, *groups = reply
    org = estimates.typical(typical)
    return OrgSnapshot(
        org_id,
        int(held),
        _time(retry),
        _time(deadline),
        tuple(_group(org_id, g, org, fleet) for g in groups if g[1]),
    )


def shown(heads: int) -> tuple[int | str, ...]:
    """The script's arguments: `heads` of each queue, but near a group's end, where a long one may be first, all."""
    return heads, NEAR_JOBS, HEADS, *SLOTS


def _time(score: str) -> int | None:
    return int(float(score)) if score else None


class SnapshotStore:
    """Aggregates and heads, never a list of all jobs."""

    def __init__(self, runner: ScriptRunner, fleet: FleetEstimates) -> None:
        self._runner = runner
        self._fleet = fleet

    async def org(self, org_id: str, heads: int) -> OrgSnapshot:
        """One org with the first `heads` jobs of each queue, more near a group's end. Raises StoreUnavailableError."""
        reply = await self._runner.run("snapshot", keys.org(org_id), shown(heads))
        return decode(org_id, reply, self._fleet.typical)

    async def due(self, org_id: str) -> Due:
        """What time brings next in one org. Raises StoreUnavailableError."""
        reply = await self._runner.run("due", keys.org(org_id), [])
        retry, deadline, waits, to_cancel, bonds, overflow, contents = reply
        times = _time(retry), _time(deadline)
        return Due(*times, bool(waits), int(to_cancel), int(bonds), _time(overflow), int(contents))

    async def tidy(self, org_id: str) -> int:
        """Forgets the empty queues of an org's groups; how many. Raises StoreUnavailableError."""
        return int(await self._runner.run("tidy", keys.org(org_id), []))
