"""Of many items, those with which something can't be done: found by doing it with fewer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from qgjob_coordinator.errors import BlobsUnavailableError, OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.store.reads import JobReader

MOST_SINGLED = 8

NO_FAULTS = (StoreUnavailableError, BlobsUnavailableError, OrgDamagedError)
"""That the store or the blob store is away is nobody's fault; and what was told once is known."""

I = TypeVar("I")  # noqa: E741 - of items


@dataclass(slots=True)
class Halving(Generic[I]):
    """Work that may be done twice, with all items at first.

    Where it fails, `unusable` is asked once with which it can't be done, and it is done with the others. Where that
    does not help it is done with each half, and so on, until the single ones are found with which it fails; after
    MOST_SINGLED of them the others are left too.
    """

    work: Callable[[Sequence[I]], Awaitable[None]]
    unusable: Callable[[Sequence[I]], Awaitable[Sequence[I]]]
    error: Exception | None = None
    """The first one."""
    _named: list[I] = field(default_factory=list)
    _singled: list[I] = field(default_factory=list)
    _untried: list[I] = field(default_factory=list)
    _asked: bool = False

    def left(self) -> list[I]:
        """Those with which it could not be done; the untried first, who would be behind the same ones the next time."""
        return self._untried + self._singled + self._named

    async def go(self, items: Sequence[I]) -> None:
        """Does it with all that it can be done with."""
        if len(self._singled) >= MOST_SINGLED:
            self._untried += items
            return
        try:
            await self.work(items)
        except NO_FAULTS:
            raise
        except Exception as e:  # noqa: BLE001 - `OrgFaults.halved` tells it
            self.error = self.error or e
            await self._without(items)

    async def _without(self, items: Sequence[I]) -> None:
        named = [] if self._asked or len(items) == 1 else await self.unusable(items)
        self._asked = True
        if named:
            self._named += named
            ids = {id(x) for x in named}
            if rest := [x for x in items if id(x) not in ids]:
                await self.go(rest)
        elif len(items) == 1:
            self._singled += items
        else:
            middle = len(items) // 2
            await self.go(items[:middle])
            await self.go(items[middle:])


def of_jobs(
    reads: JobReader, org_id: str, ulids: Callable[[I], Sequence[str]]
) -> Callable[[Sequence[I]], Awaitable[list[I]]]:
    """Which items are of a job that can't be read; `ulids` are those of an item. Raises StoreUnavailableError."""

    async def unusable(items: Sequence[I]) -> list[I]:
        found = await reads.unusable(org_id, [ulid for x in items for ulid in ulids(x)])
        return [x for x in items if not found.isdisjoint(ulids(x))]

    return unusable


async def nobody_knows(_items: Sequence[I]) -> list[I]:
    """Where nobody can say with which it can't be done."""
    return []
