"""Evidence that was looked at and waits to be sent: bounded, and what is small waits for nothing large.

There are two ways, of one call at a time each: what is small goes together, and a film by itself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.evidence.batching import is_small
from qgjob_agent.evidence.sending import Sending
from qgjob_agent.evidence.waiting import org_of
from qgjob_agent.tasks import end_tasks

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.evidence.choice import Bounds
    from qgjob_agent.evidence.pushing import Push
    from qgjob_agent.evidence.shelf import Evidence, Shelf

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """`keep` is `all`, `failed` (of what did not pass) or `none`. `keep_ms` is how long it is tried to send one."""

    keep: str
    bounds: Bounds
    spool_bytes: int
    keep_ms: int = 48 * 3600 * 1000


class Outgoing:
    """What waits. It belongs to the event loop."""

    def __init__(self, shelf: Shelf, settings: KeeperSettings, push: Push, log: Any) -> None:
        self._shelf = shelf
        self._settings = settings
        self.small = Sending(shelf, push, settings.keep_ms, self._put, log)
        self.large = Sending(shelf, push, settings.keep_ms, self._put, log)
        self._dropping: set[Path] = set()
        self._adding = asyncio.Lock()

    @property
    def paths(self) -> set[Path]:
        """Where what waits lies."""
        return self._dropping | {each.path for way in (self.small, self.large) for each in way.waiting}

    async def run(self) -> None:
        """Sends what comes, for ever."""
        tasks = [asyncio.create_task(way.run(), name="evidence-sending") for way in (self.small, self.large)]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)

    async def add(self, *evidence: Evidence) -> None:
        """Takes what was looked at. Where all that waits is too much for this host, the oldest of the org that has the
        most of it is given up.
        """
        for each in evidence:
            self._put(each)
        async with self._adding:
            while (victim := self._too_much()) is not None:
                await self._drop(victim)

    def _put(self, evidence: Evidence) -> None:
        (self.small if is_small(evidence) else self.large).add(evidence)

    def _too_much(self) -> Evidence | None:
        """What is to be given up; nothing that is on its way at this moment."""
        if self.small.waiting.size_bytes + self.large.waiting.size_bytes <= self._settings.spool_bytes:
            return None
        under_way = self.small.under_way | self.large.under_way
        waiting = [each for way in (self.small, self.large) for each in way.waiting]
        free = [each for each in waiting if each.size_bytes and each.path not in under_way]
        sizes: Counter[str] = Counter()
        for each in free:
            sizes[org_of(each)] += each.size_bytes
        most = max(sizes, key=sizes.__getitem__, default=None)
        return min(
            (each for each in free if org_of(each) == most), key=lambda each: each.whose.ended_at_ms, default=None
        )

    async def _drop(self, evidence: Evidence) -> None:
        reason = f"more than {self._settings.spool_bytes / MB:g} MB waited to be sent (evidence.spool_mb of the agent)"
        self.lost(evidence, reason)
        for way in (self.small, self.large):
            way.waiting.remove(evidence)
        self._dropping.add(evidence.path)
        try:
            dropped = await asyncio.to_thread(self._shelf.drop, evidence, reason)
        except OSError:
            dropped = evidence.without_files(reason)
        self._put(dropped)
        self._dropping.discard(evidence.path)

    async def failed(self, evidence: Evidence) -> None:
        """A fault of the program costs that evidence; see Sending."""
        await self.small.failed(evidence)

    def lost(self, evidence: Evidence, why: str) -> None:
        """Says that it is given up."""
        self.small.lost(evidence, why)
