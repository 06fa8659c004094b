"""A runner whose attempts may name a suite: it is made ready before they begin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import Finished, Outcome
from qgjob_agent.host.places import Place, look
from qgjob_agent.suites.base import SuiteAwayError, SuiteUnresolvedError

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.core.events import AttemptEvent
    from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts
    from qgjob_agent.runners.base import Recovery, Runner, Sink
    from qgjob_agent.suites.prepared import Suites

SPARE_SECONDS = 1800.0
"""A suite is in use for so much longer than its attempts may take: for what goes before them on the device."""
UNLIMITED_SECONDS = 86_400.0
MAX_ERROR = 4000


@dataclass(slots=True, eq=False)
class _Group:
    """Attempts of one suite that begin together, if they are not ended before."""

    device: DeviceFacts
    waiting: dict[str, Assignment]
    task: asyncio.Task[None] | None = field(default=None)


class SuitedRunner:
    """See Runner; it is `inner` for attempts that name no suite. Of others nothing lives until their suite is ready."""

    def __init__(self, inner: Runner, sink: Sink, suites: Suites) -> None:
        self.attempts_per_execution = inner.attempts_per_execution
        self._inner = inner
        self._sink = sink
        self._suites = suites
        self._groups: dict[str, _Group] = {}  # by token of each that waits

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        """Begins attempts, those with a suite when that is ready; see Runner."""
        of_suites: dict[tuple[str, str], dict[str, Assignment]] = {}
        plain = []
        for each in assignments:
            if each.suite_digest is None:
                plain.append(each)
            else:
                of_suites.setdefault((each.org_id, each.suite_digest), {})[each.token] = each
        if plain:
            self._inner.start(device, plain)
        for waiting in of_suites.values():
            group = _Group(device, waiting)
            self._groups.update(dict.fromkeys(waiting, group))
            group.task = asyncio.create_task(self._begin(group), name="suite-group")
            group.task.add_done_callback(self._done)

    async def _begin(self, group: _Group) -> None:
        of_all = list(group.waiting.values())
        seconds = SPARE_SECONDS + sum(each.timeout_ms / 1000 or UNLIMITED_SECONDS for each in of_all)
        try:
            folder = await self._suites.ready(of_all[0], seconds)
        except (SuiteUnresolvedError, SuiteAwayError) as error:
            unresolvable = isinstance(error, SuiteUnresolvedError)
            left = self._take(group)
            unfit = isinstance(error, SuiteAwayError) and error.host_unfit
            events: list[AttemptEvent] = [
                _failed(each, str(error), unresolvable=unresolvable, host_unfit=unfit) for each in left
            ]
            self._sink.report(events)
            return
        missing: list[AttemptEvent] = []
        there = []
        for each in self._take(group):
            fault = _fault(folder, each)
            if fault is None:
                there.append(each)
            else:
                missing.append(_failed(each, fault, unresolvable=True))
        if missing:
            self._sink.report(missing)
        if there:
            self._inner.start(group.device, there)

    def _take(self, group: _Group) -> list[Assignment]:
        """Those that nobody ended meanwhile."""
        left = list(group.waiting.values())
        for each in left:
            del self._groups[each.token]
        group.waiting.clear()
        return left

    def _done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._sink.failed(error)

    def kill(self, token: str, cause: DeathCause, grace_seconds: float) -> None:
        """Ends one attempt; see Runner."""
        group = self._groups.pop(token, None)
        if group is None:
            self._inner.kill(token, cause, grace_seconds)
            return
        del group.waiting[token]
        if not group.waiting and group.task is not None:
            group.task.cancel()
        self._sink.report([AttemptKilled(token, wall_ms(), cause, begun=False)])

    def settled(self, token: str) -> None:
        """See Runner."""
        self._inner.settled(token)

    def told(self, token: str) -> None:
        """See Runner."""
        self._inner.told(token)

    def lost(self, device_id: str) -> None:
        """See Runner."""
        self._inner.lost(device_id)

    def prove_room(self) -> None:
        """See Runner."""
        self._inner.prove_room()

    async def recover(self, settled: set[str]) -> Recovery:
        """See Runner. What waited for its suite had not begun, and is not shown any more."""
        await self._suites.end_leftovers()
        return await self._inner.recover(settled)

    async def close(self) -> None:
        """See Runner."""
        tasks = [group.task for group in set(self._groups.values()) if group.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inner.close()
        await self._suites.close()


def _fault(folder: Path, what: Assignment) -> str | None:
    """Why an attempt can't begin in its suite; None if it can."""
    path = folder / what.test_path
    if look(path) in (Place.FILE, Place.FOLDER) and path.resolve().is_relative_to(folder.resolve()):
        return None
    return (
        f"test_path {what.test_path!r} is no file of the suite {what.suite_digest} of {what.org_id}; "
        "name a file of it, or push the suite that has it"
    )


def _failed(what: Assignment, error: str, *, unresolvable: bool, host_unfit: bool = False) -> AttemptFinished:
    """Its device did nothing; a suite that can't be had only now is tried again."""
    finished = Finished(Outcome.PROVIDER_ERROR, now := wall_ms(), now, 0, error=error[:MAX_ERROR])
    finished.unresolvable, finished.unfetched, finished.host_unfit = unresolvable, not unresolvable, host_unfit
    return AttemptFinished(what.token, finished)
