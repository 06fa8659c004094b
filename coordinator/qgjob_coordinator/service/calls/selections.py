"""Calls on many jobs: part by part, bounded in what they hold and answer, repeatable by their operation id."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from qgjob_coordinator.model.jobs import Job

MOST_SHOWN = 1000


@dataclass(frozen=True, slots=True)
class Selection:
    """What a call on many jobs changed: `count` jobs, of which the first MOST_SHOWN stand in `jobs`.

    `detached` jobs only left the run. `equal` ones were not retried, since an equal of each is unfinished.
    """

    jobs: list[Job]
    count: int
    detached: int = 0
    equal: int = 0


@dataclass(slots=True)
class Changed:
    """The jobs that a call on many changed: all counted, the first kept."""

    first: list[str] = field(default_factory=list)
    count: int = 0
    detached: int = 0
    equal: int = 0

    def add(self, ulids: Iterable[str]) -> None:
        """More jobs that were changed."""
        for ulid in ulids:
            self.count += 1
            if len(self.first) < MOST_SHOWN:
                self.first.append(ulid)


class Row(Protocol):
    """What the store did with one job."""

    @property
    def ulid(self) -> str:
        """The job."""


R = TypeVar("R", bound=Row)


async def in_parts(
    parts: AsyncIterator[list[Job]],
    operation_id: str | None,
    do: Callable[[Sequence[Job], str | None], Awaitable[list[R]]],
) -> AsyncIterator[list[R]]:
    """Calls `do` with each part and an operation id of its own; its answers, none of them empty.

    A repeated operation gets the answers of the first time, goes on where that failed, and does nothing more when that
    came to its end: an operation's last part has no jobs.
    """
    number = 0
    async for part in parts:
        while True:
            rows = await do(part, _numbered(operation_id, number))
            if not rows:
                return
            yield rows
            number += 1
            if operation_id is None or [r.ulid for r in rows] == [j.ulid for j in part]:
                break  # else it was the answer for the jobs of the first time
    while operation_id is not None and (rows := await do((), _numbered(operation_id, number))):
        yield rows
        number += 1


def _numbered(operation_id: str | None, number: int) -> str | None:
    return None if operation_id is None else f"{operation_id}.{number}"
