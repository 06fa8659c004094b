"""Evidence that was looked at and waits to be sent: bounded, sent until it is there, given up aloud."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from qgjob_agent.clock import wall_ms
from qgjob_agent.evidence.batching import together

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgjob_agent.evidence.choice import Bounds
    from qgjob_agent.evidence.shelf import Evidence, Shelf

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
GATHER_SECONDS = 0.5
"""What comes within so long of the first goes with it."""
MB = 1_000_000


class EvidenceAwayError(Exception):
    """It can't be sent now: no coordinator, no store, no room there. The message says which."""


class EvidenceRefusedError(Exception):
    """It will never be taken: its job is gone, or something of it is wrong. The message says what."""


class EvidenceTooLargeError(Exception):
    """A coordinator takes less. The message says how much."""


Sent: TypeAlias = int | EvidenceAwayError | EvidenceRefusedError | EvidenceTooLargeError
"""Of one attempt how many files were not there yet, or why they are not there now."""


class Push(Protocol):
    """The coordinators' store of evidence."""

    async def __call__(self, several: Sequence[Evidence]) -> list[Sent]:
        """What became of the first ones of these, of one at least. Raises EvidenceAwayError where no one serves."""


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """`keep` is `all`, `failed` (of what did not pass) or `none`. `keep_ms` is how long it is tried to send one."""

    keep: str
    bounds: Bounds
    spool_bytes: int
    keep_ms: int = 48 * 3600 * 1000


class Outgoing:
    """What waits, the oldest first, and when the next of it is tried. It belongs to the event loop."""

    def __init__(self, shelf: Shelf, settings: KeeperSettings, push: Push, log: Any) -> None:
        self._shelf = shelf
        self._settings = settings
        self._push = push
        self._log = log
        self._waiting: list[Evidence] = []
        self._alone = 0  # so many are sent one by one
        self._failures = 0  # calls in a row that sent nothing
        self._held_up = False
        self._next_try = 0.0

    @property
    def due(self) -> float | None:
        """When the next is to be tried, by the loop's clock; None where nothing waits."""
        return self._next_try if self._waiting else None

    @property
    def paths(self) -> set[Path]:
        """Where what waits lies."""
        return {each.path for each in self._waiting}

    async def add(self, *evidence: Evidence) -> None:
        """Takes what was looked at. Gives up the oldest where all that waits is too much for this host."""
        if not self._waiting and not self._failures:
            self._next_try = asyncio.get_running_loop().time() + GATHER_SECONDS
        self._waiting += evidence
        most = self._settings.spool_bytes
        total = sum(each.size_bytes for each in self._waiting)
        for place, each in enumerate(self._waiting):
            if total <= most:
                return
            if not each.size_bytes:
                continue
            total -= each.size_bytes
            reason = f"more than {most / MB:g} MB waited to be sent (evidence.spool_mb of the agent)"
            self.lost(each, reason)
            try:
                self._waiting[place] = await asyncio.to_thread(self._shelf.drop, each, reason)
            except OSError:
                self._waiting[place] = each.without_files(reason)

    async def send(self) -> None:
        """Sends the first that waits, with others where they are small."""
        batch = self._waiting[:1] if self._alone else together(self._waiting)
        self._alone = max(self._alone - 1, 0)
        try:
            sent = await self._push(batch)
        except EvidenceAwayError as error:
            await self._later([(each, str(error)) for each in batch])
            return
        except Exception:  # noqa: BLE001 - whatever it is, tests go on without it
            if len(batch) > 1:
                self._log.warning("evidence_goes_alone", attempts=len(batch), exc_info=True)
                self._alone = len(batch)  # it shows which of them it is
            else:
                await self.failed(batch[0])
            return
        left = []
        for evidence, result in zip(batch, sent, strict=False):
            if (why := await self._settle(evidence, result)) is not None:
                left.append((evidence, why))
        if left:
            await self._later(left)
        elif self._held_up:
            self._held_up = False
            self._log.info("evidence_goes_on", waiting=len(self._waiting))

    async def failed(self, evidence: Evidence) -> None:
        """A fault of the program costs that evidence: it would come again after a restart, and end each daemon."""
        whose = evidence.whose
        self._log.error("evidence_failed", job_id=whose.job_id, attempt=whose.attempt, exc_info=True)
        self._waiting = [each for each in self._waiting if each.path != evidence.path]
        await asyncio.to_thread(self._shelf.remove, evidence.path)

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
        self._failures, self._next_try = 0, 0.0
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
            self._waiting[self._waiting.index(evidence)] = await asyncio.to_thread(self._shelf.halve, evidence, why)
        except OSError as error:
            return error.strerror or str(error)
        return None

    async def _later(self, left: Sequence[tuple[Evidence, str]]) -> None:
        """What a call did not send, and why: tried again after a growing pause, behind all others, and not for ever."""
        self._failures += 1
        self._next_try = asyncio.get_running_loop().time() + pause_after(self._failures)
        if not self._held_up:
            self._held_up = True
            size = sum(each.size_bytes for each in self._waiting)
            self._log.warning("evidence_waits", error=left[0][1], attempts=len(self._waiting), size_bytes=size)
        for evidence, why in left:
            if wall_ms() - evidence.whose.ended_at_ms > self._settings.keep_ms:
                self.lost(evidence, f"it could not be sent for {self._settings.keep_ms / 3_600_000:g} h: {why}")
                await self._remove(evidence)
            else:  # what is wrong may be of this one alone
                self._waiting.append(self._waiting.pop(self._waiting.index(evidence)))

    async def _remove(self, evidence: Evidence) -> None:
        self._waiting.remove(evidence)
        await asyncio.to_thread(self._shelf.remove, evidence.path)


def pause_after(failures: int) -> float:
    """How long to wait after so many failures in a row, from 1; in seconds."""
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_SECONDS)
