"""Sends evidence that waits, one call after the other: until it is there, or given up aloud."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.evidence.batching import fills_a_call, together
from qgjob_agent.evidence.pushing import EvidenceAwayError, EvidenceRefusedError, EvidenceTooLargeError
from qgjob_agent.evidence.waiting import Waiting, org_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qgjob_agent.evidence.pushing import Push, Sent
    from qgjob_agent.evidence.shelf import Evidence, Shelf

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
GATHER_SECONDS = 0.5
"""What comes within so long of the first goes with it."""
LONGEST_GATHER_SECONDS = 2.0
"""So long a call that is not full waits for what is being looked at."""


class Sending:
    """What waits for one kind of call. It belongs to the event loop. `put` takes what is another size now."""

    def __init__(self, shelf: Shelf, push: Push, keep_ms: int, put: Callable[[Evidence], None], log: Any) -> None:
        self.waiting = Waiting()
        self.under_way: set[Path] = set()
        self._shelf = shelf
        self._push = push
        self._keep_ms = keep_ms
        self._put = put
        self._log = log
        self._news = asyncio.Event()
        self._more_comes = False
        self._alone = 0  # so many are sent one by one
        self._failures = 0  # calls in a row for several orgs of which nothing was sent
        self._held_up = False
        self._next_try = 0.0

    @property
    def due(self) -> float | None:
        """When the next is to be tried, by the loop's clock; None where nothing waits."""
        due = self.waiting.due
        return None if due is None else max(due, self._next_try)

    def add(self, evidence: Evidence) -> None:
        """Takes what was looked at."""
        if self.waiting.due is None and not self._failures:
            self._next_try = asyncio.get_running_loop().time() + GATHER_SECONDS
        self.waiting.add(evidence)
        self._news.set()

    def expect(self, *, more: bool) -> None:
        """Whether more is about to be added, which may go with what waits."""
        self._more_comes = more
        self._news.set()

    async def run(self) -> None:
        """Sends what comes, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            due = self.due
            if due is not None and self._more_comes and not fills_a_call(self.waiting):
                due += LONGEST_GATHER_SECONDS
            if due is not None and due <= loop.time():
                await self.send()
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._news.wait()

    async def send(self) -> None:
        """Sends the first that is due, with others where they are small."""
        ready = self.waiting.ready(asyncio.get_running_loop().time())
        batch = [next(ready)] if self._alone else together(ready)
        self._alone = max(self._alone - 1, 0)
        self.waiting.took(batch)
        self.under_way = {each.path for each in batch}
        try:
            await self._send(batch)
        finally:
            self.under_way = set()

    async def _send(self, batch: Sequence[Evidence]) -> None:
        try:
            sent = await self._push(batch)
        except EvidenceAwayError as error:
            if len({org_of(each) for each in batch}) > 1:
                self._failures += 1
                self._next_try = asyncio.get_running_loop().time() + pause_after(self._failures)
            else:  # it may be of this org alone
                self._hold_back(batch)
            await self._later([(each, str(error)) for each in batch])
            return
        except Exception:  # noqa: BLE001 - whatever it is, tests go on without it
            if len(batch) > 1:
                self._log.warning("evidence_goes_alone", attempts=len(batch), exc_info=True)
                self._alone = len(batch)  # it shows which of them it is
            else:
                await self.failed(batch[0])
            return
        self._failures, self._next_try = 0, 0.0
        left = []
        for evidence, result in zip(batch, sent, strict=False):
            if (why := await self._settle(evidence, result)) is not None:
                left.append((evidence, why))
        if left:
            self._hold_back([evidence for evidence, _ in left])
            await self._later(left)
        elif self._held_up and not self.waiting.held_back:
            self._held_up = False
            self._log.info("evidence_goes_on", waiting=len(self.waiting))

    def _hold_back(self, several: Sequence[Evidence]) -> None:
        now = asyncio.get_running_loop().time()
        for org in dict.fromkeys(map(org_of, several)):
            self.waiting.hold_back(org, now, pause_after)

    async def failed(self, evidence: Evidence) -> None:
        """A fault of the program costs that evidence: it would come again after a restart, and end each daemon."""
        whose = evidence.whose
        self._log.error("evidence_failed", job_id=whose.job_id, attempt=whose.attempt, exc_info=True)
        await self._remove(evidence)

    def lost(self, evidence: Evidence, why: str) -> None:
        """Says that it is given up."""
        whose = evidence.whose
        self._log.warning(
            "evidence_lost", job_id=whose.job_id, attempt=whose.attempt, size_bytes=evidence.size_bytes, error=why
        )

    async def _settle(self, evidence: Evidence, result: Sent) -> str | None:
        """Why it has to wait; None where it does not."""
        if isinstance(result, EvidenceAwayError):
            return str(result)
        if isinstance(result, EvidenceTooLargeError):
            return await self._less(evidence, str(result))
        if isinstance(result, EvidenceRefusedError):
            self.lost(evidence, str(result))
        else:
            self._sent(evidence, result)
        await self._remove(evidence)
        return None

    def _sent(self, evidence: Evidence, count: int) -> None:
        self.waiting.well(org_of(evidence))
        self._log.info(
            "evidence_sent",
            job_id=evidence.whose.job_id,
            attempt=evidence.whose.attempt,
            files=count,
            size_bytes=evidence.size_bytes,
            left_out=sum(each.files for each in evidence.left_out),
        )

    async def _less(self, evidence: Evidence, why: str) -> str | None:
        """The next try sends the half of it that tells the most."""
        try:
            less = await asyncio.to_thread(self._shelf.halve, evidence, why)
        except OSError as error:
            return error.strerror or str(error)
        self.waiting.remove(evidence)
        self._put(less)
        return None

    async def _later(self, left: Sequence[tuple[Evidence, str]]) -> None:
        """What a call did not send, and why: tried again after a growing pause, behind all others, and not for ever."""
        if not self._held_up:
            self._held_up = True
            waiting = self.waiting
            self._log.warning("evidence_waits", error=left[0][1], attempts=len(waiting), size_bytes=waiting.size_bytes)
        for evidence, why in left:
            if wall_ms() - evidence.whose.ended_at_ms > self._keep_ms:
                self.lost(evidence, f"it could not be sent for {self._keep_ms / 3_600_000:g} h: {why}")
                await self._remove(evidence)
            else:  # what is wrong may be of this one alone
                self.waiting.add(evidence)

    async def _remove(self, evidence: Evidence) -> None:
        self.waiting.remove(evidence)
        await asyncio.to_thread(self._shelf.remove, evidence.path)


def pause_after(failures: int) -> float:
    """How long to wait after so many failures in a row, from 1; in seconds."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS)
