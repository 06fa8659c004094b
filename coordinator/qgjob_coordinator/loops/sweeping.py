"""Releases what closed sessions held: several agents at once, and those first that were heard last.

A store that has a new life has every closed session swept again, however long its agent is gone. A host that dies
meanwhile was heard later than all of them, so it goes before them: it waits for one call at most, and not for history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store

CALLS_AT_ONCE = 32
AGENTS_AT_ONCE = 8
"""Of so many the orgs are known here, and served beside each other."""

PART = "reaper"

Session = tuple[str, int]
"""Agent and epoch."""


@dataclass(slots=True)
class _Sweep:
    """One session's. `life` is the store's from before its orgs were read, `held` None until they are."""

    session: Session
    heard_at: float
    life: int = 0
    busy: int = 0
    held: frozenset[str] | None = None
    left: set[str] = field(default_factory=set)


class Sweeps:
    """Begins when something is offered, and ends when all of that was tried.

    An org that can't be reached, or is damaged, keeps nothing from being released in another one; it is not asked again
    until all was tried, and then it alone: damage may stay for days. One call at a time is made to an org, so one that
    hangs keeps no more than that.
    """

    def __init__(
        self, store: Store, release: Callable[[str, str, int], Awaitable[None]], sight: Sight, faults: OrgFaults
    ) -> None:
        """`release(org_id, agent_id, epoch)` raises the floor of an agent's claims there and releases its leases."""
        self._store = store
        self._release = release
        self._sight = sight
        self._order: list[_Sweep] = []
        self._tried: set[Session] = set()
        self._behind: dict[Session, tuple[int, frozenset[str]]] = {}  # the life of the store, and orgs
        self._at: set[str] = set()
        self._faults = faults
        self._orgs = EachOrg(faults, CALLS_AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()
        self._away: StoreUnavailableError | None = None
        self._fault: BaseException | None = None

    def offer(self, closed: Iterable[tuple[Session, float]]) -> None:
        """Closed sessions that are to be swept, with when their agents were heard last (ms).

        Raises what a sweep of before ended with, if that was a fault of ours.
        """
        if self._fault is not None:
            raise self._fault
        listed = dict(closed)
        self._behind = {session: left for session, left in self._behind.items() if session in listed}
        known = self._tried | {sweep.session for sweep in self._order}
        new = [session for session in listed.keys() - known if not self._rests(session)]
        self._order += [_Sweep(session, listed[session]) for session in new]
        self._order.sort(key=lambda sweep: (-sweep.heard_at, sweep.session))
        self._begin()

    def _rests(self, session: Session) -> bool:
        """Whether each org that is left of it was found damaged lately."""
        if session not in self._behind:
            return False
        life, left = self._behind[session]
        return life == self._store.epoch and all(self._faults.resting(PART, org_id) for org_id in left)

    async def settled(self) -> None:
        """Returns when all that was offered was tried."""
        while self._running:
            await asyncio.wait(self._running)

    def _begin(self) -> None:
        """As many calls as may be made now."""
        while len(self._running) < CALLS_AT_ONCE and (step := self._next()) is not None:
            task = asyncio.create_task(step)
            self._running.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled():
            self._fault = self._fault or RuntimeError("a sweep was cancelled")  # as the process stops: nobody asks then
        elif (error := task.exception()) is not None:
            if isinstance(error, StoreUnavailableError):
                self._away = self._away or error
            else:
                self._fault = self._fault or error
        self._begin()
        if not self._running and self._fault is None:
            self._tell()

    def _tell(self) -> None:
        """All was tried; what could not be done is offered again, since it is still on the store's list."""
        try:
            self._orgs.tell()
        except StoreUnavailableError as e:
            self._away = self._away or e
        if self._away is not None:
            self._sight.lost(self._away)
        else:
            self._sight.seen()
        self._order.clear()
        self._tried.clear()
        self._orgs, self._away = EachOrg(self._faults, CALLS_AT_ONCE), None

    def _next(self) -> Coroutine[Any, Any, None] | None:
        """The next call; None when none can be made beside those under way."""
        if self._away is not None or self._fault is not None:
            return None
        for sweep in self._order[:AGENTS_AT_ONCE]:
            if sweep.held is None:
                if not sweep.busy:
                    sweep.busy = 1
                    return self._read(sweep)
                continue
            free = sweep.left - self._at
            if free:
                return self._serve(sweep, min(free))
        return None

    async def _read(self, sweep: _Sweep) -> None:
        sweep.life = self._store.epoch
        held = frozenset(await self._store.agent_orgs(sweep.session[0]))
        # What was swept in this life of the store stays so: a closed session takes no lease.
        life, behind = self._behind.get(sweep.session, (0, held))
        left = held & behind if life == sweep.life else held
        sweep.held, sweep.left, sweep.busy = held, set(left), 0
        await self._finish(sweep)

    def _serve(self, sweep: _Sweep, org_id: str) -> Coroutine[Any, Any, None]:
        agent_id, epoch = sweep.session
        sweep.left.discard(org_id)
        sweep.busy += 1
        self._at.add(org_id)

        async def serve() -> None:
            try:
                await self._orgs.serve(PART, [org_id], lambda org_id: self._release(org_id, agent_id, epoch))
            finally:
                self._at.discard(org_id)
                sweep.busy -= 1
            await self._finish(sweep)

        return serve()

    async def _finish(self, sweep: _Sweep) -> None:
        """Takes the session off the store's list when its last org was served."""
        if sweep.left or sweep.busy or sweep.held is None:
            return
        self._order.remove(sweep)
        self._tried.add(sweep.session)
        failed = sweep.held & self._orgs.failed.keys()
        if failed:
            self._behind[sweep.session] = sweep.life, failed
        else:
            await self._store.sessions.swept(*sweep.session, sweep.life, sorted(sweep.held))
