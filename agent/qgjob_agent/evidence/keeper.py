"""Sends what attempts left to the coordinator, when their results are told: never before, and never in their way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished
from qgjob_agent.core.values import Outcome
from qgjob_agent.evidence.choice import LeftOut
from qgjob_agent.evidence.preparing import prepared
from qgjob_agent.evidence.shelf import DEVICE_LOG, Evidence, Whose

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from qgjob_agent.core.events import AttemptKilled
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.evidence.choice import Bounds
    from qgjob_agent.evidence.shelf import Shelf

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
MB = 1_000_000


class EvidenceAwayError(Exception):
    """It can't be sent now: no coordinator, no store, no room there. The message says which."""


class EvidenceRefusedError(Exception):
    """It will never be taken: its job is gone, or something of it is wrong. The message says what."""


class EvidenceTooLargeError(Exception):
    """A coordinator takes less. The message says how much."""


class DeviceLogs(Protocol):
    """What devices log."""

    async def __call__(self, device_id: str, since_ms: int, until_ms: int) -> bytes | None:
        """What a device logged between two times; None for one that has no log. Raises OSError, saying why not."""


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """`keep` is `all`, `failed` (of what did not pass) or `none`. `keep_ms` is how long it is tried to send one."""

    keep: str
    bounds: Bounds
    spool_bytes: int
    keep_ms: int = 48 * 3600 * 1000


class EvidenceKeeper:
    """Takes evidence and sends it, one attempt after the other. `take` belongs to the event loop."""

    def __init__(
        self,
        shelf: Shelf,
        settings: KeeperSettings,
        push: Callable[[Evidence], Awaitable[int]],
        log: Any,
        device_logs: DeviceLogs | None = None,
    ) -> None:
        self._shelf = shelf
        self._settings = settings
        self._push = push
        self._log = log
        self._device_logs = device_logs
        self._fresh: list[Evidence] = []
        self._waiting: list[Evidence] = []  # looked at, the oldest first
        self._failures = 0
        self._next_try = 0.0
        self._news = asyncio.Event()

    def take(
        self, assignment: Assignment, files: Path, output: Path, end: AttemptFinished | AttemptKilled | None
    ) -> None:
        """Puts aside what an attempt left, whose result is in the spool. What can't be is told."""
        keep = self._settings.keep
        finished = end.finished if isinstance(end, AttemptFinished) else None
        outcome = None if finished is None else finished.outcome.value
        if keep == "none" or (keep == "failed" and outcome == Outcome.PASSED.value):
            return
        ended_at_ms = wall_ms() if end is None else finished.ended_at_ms if finished else getattr(end, "ended_at_ms", 0)
        whose = Whose(
            assignment.job_id,
            assignment.token,
            assignment.attempt,
            assignment.device_id,
            outcome,
            finished.started_at_ms if finished else 0,
            ended_at_ms,
        )
        try:
            evidence = self._shelf.take(whose, files, output)
        except OSError as error:
            why = error.strerror or str(error)
            self._log.warning("evidence_not_kept", job_id=whose.job_id, attempt=whose.attempt, error=why)
            return
        if evidence is not None:
            self._fresh.append(evidence)
            self._news.set()

    def open(self) -> None:
        """Finds what an earlier daemon left. Before the runners tell of theirs."""
        try:
            found = self._shelf.settle()
        except OSError as error:
            self._log.warning("evidence_not_read", error=error.strerror or str(error))
            return
        self._fresh += [each for each in found if each.kept is None]
        self._waiting += [each for each in found if each.kept is not None]
        if found:
            self._log.info("evidence_found", attempts=len(found))

    async def run(self) -> None:
        """Looks at what comes and sends it, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            while self._fresh:
                await self._guarded(self._look, self._fresh.pop(0))
            now = loop.time()
            if self._waiting and now >= self._next_try:
                await self._guarded(self._send, self._waiting[0])
                continue
            pause = max(self._next_try - now, 0) if self._waiting else None
            try:
                async with asyncio.timeout(pause):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _guarded(self, step: Callable[[Evidence], Awaitable[None]], evidence: Evidence) -> None:
        """A fault of the program costs that evidence: it would come again after a restart, and end each daemon."""
        try:
            await step(evidence)
        except Exception:  # noqa: BLE001 - whatever it is, tests go on without it
            whose = evidence.whose
            self._log.error("evidence_failed", job_id=whose.job_id, attempt=whose.attempt, exc_info=True)
            self._waiting = [each for each in self._waiting if each.path != evidence.path]
            self._shelf.remove(evidence.path)

    async def _look(self, evidence: Evidence) -> None:
        try:
            evidence = await self._with_device_log(evidence)
            looked_at = await asyncio.to_thread(prepared, evidence, self._settings.bounds)
            if not looked_at.kept and not looked_at.left_out:
                await asyncio.to_thread(self._shelf.remove, evidence.path)
                return
            await asyncio.to_thread(self._shelf.write, looked_at)
        except OSError as error:
            self._lost(evidence, f"the agent's disk: {error.strerror or error}")
            await asyncio.to_thread(self._shelf.remove, evidence.path)
            return
        self._waiting.append(looked_at)
        await self._make_room()

    async def _with_device_log(self, evidence: Evidence) -> Evidence:
        """With what the device logged while the test ran; where that can't be had, with why."""
        whose = evidence.whose
        path = evidence.path / DEVICE_LOG
        if self._device_logs is None or not whose.started_at_ms or path.exists():
            return evidence
        try:
            text = await self._device_logs(whose.device_id, whose.started_at_ms, whose.ended_at_ms)
            if text:
                await asyncio.to_thread(path.write_bytes, text)
        except OSError as error:
            why = f"no device log: {error.strerror or error}"
            return replace(evidence, left_out=(*evidence.left_out, LeftOut(0, 0, why[:500])))
        return evidence

    async def _make_room(self) -> None:
        """Gives up the oldest where all that waits is too much for this host."""
        most = self._settings.spool_bytes
        total = sum(each.size_bytes for each in self._waiting)
        for place, each in enumerate(self._waiting):
            if total <= most:
                return
            if not each.size_bytes:
                continue
            total -= each.size_bytes
            reason = f"more than {most / MB:g} MB waited to be sent (evidence.spool_mb of the agent)"
            self._lost(each, reason)
            try:
                self._waiting[place] = await asyncio.to_thread(self._shelf.drop, each, reason)
            except OSError:
                self._waiting[place] = replace(each, kept=())

    async def _send(self, evidence: Evidence) -> None:
        whose = evidence.whose
        try:
            count = await self._push(evidence)
        except EvidenceAwayError as error:
            self._later(evidence, str(error))
            return
        except EvidenceTooLargeError as error:
            await self._less(evidence, str(error))
            return
        except EvidenceRefusedError as error:
            self._lost(evidence, str(error))
        else:
            if self._failures:
                self._log.info("evidence_goes_on", waiting=len(self._waiting))
            self._failures, self._next_try = 0, 0.0
            left_out = sum(each.files for each in evidence.left_out)
            self._log.info(
                "evidence_sent",
                job_id=whose.job_id,
                attempt=whose.attempt,
                files=count,
                size_bytes=evidence.size_bytes,
                left_out=left_out,
            )
        self._waiting.remove(evidence)
        await asyncio.to_thread(self._shelf.remove, evidence.path)

    async def _less(self, evidence: Evidence, why: str) -> None:
        """The next try sends the half of it that tells the most."""
        try:
            self._waiting[self._waiting.index(evidence)] = await asyncio.to_thread(self._shelf.halve, evidence, why)
        except OSError as error:
            self._later(evidence, error.strerror or str(error))

    def _later(self, evidence: Evidence, why: str) -> None:
        """Tried again after a growing pause, and not for ever."""
        self._failures += 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 20), LONGEST_PAUSE_SECONDS)
        self._next_try = asyncio.get_running_loop().time() + pause
        if self._failures == 1:
            size = sum(each.size_bytes for each in self._waiting)
            self._log.warning("evidence_waits", error=why, attempts=len(self._waiting), size_bytes=size)
        if wall_ms() - evidence.whose.ended_at_ms > self._settings.keep_ms:
            self._lost(evidence, f"it could not be sent for {self._settings.keep_ms / 3_600_000:g} h: {why}")
            self._waiting.remove(evidence)
            self._shelf.remove(evidence.path)
        elif len(self._waiting) > 1:  # what is wrong may be of this one alone
            self._waiting.append(self._waiting.pop(0))

    def _lost(self, evidence: Evidence, why: str) -> None:
        whose = evidence.whose
        self._log.warning(
            "evidence_lost", job_id=whose.job_id, attempt=whose.attempt, size_bytes=evidence.size_bytes, error=why
        )
