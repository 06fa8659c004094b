"""Takes what attempts left when their results are told, looks at it, and hands it on to be sent: never in their way."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished
from qgjob_agent.core.values import Outcome
from qgjob_agent.disk_watch import may_pass
from qgjob_agent.evidence.choice import LeftOut
from qgjob_agent.evidence.outgoing import Outgoing
from qgjob_agent.evidence.preparing import clear, is_heavy, prepared
from qgjob_agent.evidence.sending import pause_after
from qgjob_agent.evidence.shelf import DEVICE_LOG, BrokenError, Evidence, Whose
from qgjob_agent.tasks import end_tasks

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.core.events import AttemptKilled
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.evidence.outgoing import KeeperSettings
    from qgjob_agent.evidence.pushing import Push
    from qgjob_agent.evidence.shelf import Shelf

PATIENT_MS = 3600 * 1000
"""So long after its attempt a file is waited for that the disk does not give back at the moment."""
DEVICES_SECONDS = 30.0
"""So long after the agent began its devices may not be found yet."""
DEVICES_PAUSE_SECONDS = 1.0


class DeviceLogs(Protocol):
    """What devices log."""

    async def __call__(self, device_id: str, since_ms: int, until_ms: int) -> bytes | None:
        """What a device logged between two times; None for one that has no log. Raises OSError, saying why not."""


class _DeviceAwayError(Exception):
    """The device may still be found: what it logged is asked for again."""


@dataclass(slots=True)
class _Fresh:
    """What is to be looked at, from when on, and how often that failed."""

    evidence: Evidence
    due: float = 0.0
    failures: int = 0


class EvidenceKeeper:
    """Takes evidence and sends it. `take` belongs to the event loop."""

    def __init__(
        self, shelf: Shelf, settings: KeeperSettings, push: Push, log: Any, device_logs: DeviceLogs | None = None
    ) -> None:
        self._shelf = shelf
        self._settings = settings
        self._log = log
        self._device_logs = device_logs
        self._outgoing = Outgoing(shelf, settings, push, log)
        self._unread: list[Path] | None = None  # of an earlier daemon; None: it is not known what there is
        self._reading_failed = 0  # in a row
        self._read_again = 0.0
        self._fresh: list[_Fresh] = []
        self._heavy: asyncio.Queue[_Fresh] = asyncio.Queue()
        self._in_hand: set[Path] = set()  # of what is looked at, or waits for that as it is heavy
        self._devices_known_at = 0.0
        self._news = asyncio.Event()

    def take(
        self,
        assignment: Assignment,
        files: Path,
        output: Path,
        end: AttemptFinished | AttemptKilled | None,
        began_at_ms: int = 0,
    ) -> None:
        """Puts aside what an attempt left, whose result is in the spool. What can't be is told.

        `began_at_ms` is when the test began, of one that did not come to its end; 0 where it did not, or nobody knows.
        """
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
            finished.started_at_ms if finished else began_at_ms,
            ended_at_ms,
        )
        try:
            evidence = self._shelf.take(whose, files, output)
        except OSError as error:
            why = error.strerror or str(error)
            self._log.warning("evidence_not_kept", job_id=whose.job_id, attempt=whose.attempt, error=why)
            return
        if evidence is not None:
            self._fresh.append(_Fresh(evidence))
            self._news.set()

    def open(self) -> None:
        """Finds what an earlier daemon left. Before the runners tell of theirs."""
        with contextlib.suppress(OSError):  # told, and tried again
            self._find()

    async def run(self) -> None:
        """Looks at what comes and sends it, for ever. What is small waits for no film, be it looked at or sent."""
        works = (self._look_at_what_comes(), self._look_at_what_is_heavy(), self._outgoing.run())
        tasks = [asyncio.create_task(work, name="evidence-keeping") for work in works]
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(tasks)

    async def _look_at_what_comes(self) -> None:
        loop = asyncio.get_running_loop()
        self._devices_known_at = loop.time() + DEVICES_SECONDS
        while True:
            self._news.clear()
            if self._unread != [] and loop.time() >= self._read_again:
                await self._read()
            while (next_one := next((each for each in self._fresh if each.due <= loop.time()), None)) is not None:
                self._outgoing.small.expect(more=True)
                self._fresh.remove(next_one)
                self._in_hand.add(next_one.evidence.path)
                if await asyncio.to_thread(is_heavy, next_one.evidence):
                    self._heavy.put_nowait(next_one)
                else:
                    await self._look(next_one)
            self._outgoing.small.expect(more=False)
            dues = [each.due for each in self._fresh] + ([self._read_again] if self._unread != [] else [])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(dues, default=None)):
                    await self._news.wait()

    async def _look_at_what_is_heavy(self) -> None:
        while True:
            await self._look(await self._heavy.get())

    # ---- what an earlier daemon left ----

    def _find(self) -> None:
        try:
            known = {each.evidence.path for each in self._fresh} | self._in_hand | self._outgoing.paths
            self._unread = [path for path in self._shelf.settle() if path not in known]
        except OSError as error:
            self._not_read(error)
            raise
        if self._unread:
            self._log.info("evidence_found", attempts=len(self._unread))

    async def _read(self) -> None:
        """What the disk does not give back now stays, and is read again after a pause."""
        left: dict[Path, OSError] = {}
        found: list[Evidence] = []
        try:
            if self._unread is None:
                self._find()
        except OSError:  # told; what there is, is still not known
            return
        for path in self._unread or ():
            try:
                found.append(await asyncio.to_thread(self._shelf.read, path))
            except BrokenError as broken:
                self._log.warning("evidence_broken", path=path.name, error=str(broken))
                await asyncio.to_thread(self._shelf.remove, path)
            except OSError as error:
                left[path] = error
        self._unread = list(left)
        if left:
            self._not_read(next(iter(left.values())))
        else:
            self._reading_failed = 0
        found.sort(key=lambda each: each.whose.ended_at_ms)
        self._fresh += [_Fresh(each) for each in found if each.kept is None]
        if waiting := [each for each in found if each.kept is not None]:
            for each in waiting:  # what wrote that down may have died before it made room
                await asyncio.to_thread(clear, each)
            await self._outgoing.add(*waiting)

    def _not_read(self, error: OSError) -> None:
        """It is read again after a growing pause; said once."""
        if not self._reading_failed:
            self._log.warning("evidence_not_read", error=error.strerror or str(error))
        self._reading_failed += 1
        self._read_again = asyncio.get_running_loop().time() + pause_after(self._reading_failed)

    # ---- what is to be looked at ----

    async def _look(self, fresh: _Fresh) -> None:
        try:
            looked_at = await self._looked_at(fresh)
        except _DeviceAwayError:
            self._again(fresh, DEVICES_PAUSE_SECONDS)
        except OSError as error:
            await self._not_now(fresh, error)
        except Exception:  # noqa: BLE001 - whatever it is, tests go on without it
            await self._outgoing.failed(fresh.evidence)
        else:
            if looked_at is not None:
                await self._outgoing.add(looked_at)
        self._in_hand.discard(fresh.evidence.path)

    async def _looked_at(self, fresh: _Fresh) -> Evidence | None:
        """What is sent of it; None where there is nothing. Raises OSError for what may be there another time."""
        evidence = fresh.evidence = await self._with_device_log(fresh.evidence)
        patient = wall_ms() - evidence.whose.ended_at_ms < PATIENT_MS
        looked_at = await asyncio.to_thread(prepared, evidence, self._settings.bounds, patient=patient)
        if not looked_at.kept and not looked_at.left_out:
            await asyncio.to_thread(self._shelf.remove, evidence.path)
            return None
        await asyncio.to_thread(self._shelf.write, looked_at)
        await asyncio.to_thread(clear, looked_at)
        return looked_at

    async def _not_now(self, fresh: _Fresh, error: OSError) -> None:
        """It stays while the disk may give it back; what never will, or not for long, is given up aloud."""
        evidence, why = fresh.evidence, f"the agent's disk: {error.strerror or error}"
        age = wall_ms() - evidence.whose.ended_at_ms
        if may_pass(error) and age <= self._settings.keep_ms:
            if not fresh.failures:
                whose = evidence.whose
                self._log.warning("evidence_not_looked_at", job_id=whose.job_id, attempt=whose.attempt, error=why)
            fresh.failures += 1
            self._again(fresh, pause_after(fresh.failures))
            return
        self._outgoing.lost(evidence, why)
        await asyncio.to_thread(self._shelf.remove, evidence.path)

    def _again(self, fresh: _Fresh, seconds: float) -> None:
        fresh.due = asyncio.get_running_loop().time() + seconds
        self._fresh.append(fresh)
        self._news.set()

    async def _with_device_log(self, evidence: Evidence) -> Evidence:
        """With what the device logged while the test ran; where that can't be had, with why."""
        whose = evidence.whose
        path = evidence.path / DEVICE_LOG
        if self._device_logs is None or not whose.started_at_ms or path.exists():
            return evidence
        if any(each.reason.startswith(_NO_DEVICE_LOG) for each in evidence.left_out):
            return evidence
        try:
            text = await self._device_logs(whose.device_id, whose.started_at_ms, whose.ended_at_ms)
        except OSError as error:
            if asyncio.get_running_loop().time() < self._devices_known_at:
                raise _DeviceAwayError from error
            why = f"{_NO_DEVICE_LOG}: {error.strerror or error}"
            return replace(evidence, left_out=(*evidence.left_out, LeftOut(0, 0, why[:500])))
        if text:
            await asyncio.to_thread(_write_whole, path, text)
        return evidence


_NO_DEVICE_LOG = "no device log"


def _write_whole(path: Path, text: bytes) -> None:
    """Writes a file that is there whole or not at all. Raises OSError."""
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(text)
    draft.replace(path)
