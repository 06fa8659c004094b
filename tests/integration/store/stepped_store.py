"""A coordinator's store whose every call waits to be let through, and is then done on the model too.

The code above the store is the real one. What a machine decides is when each of its calls happens, whether it happens
twice (its reply was lost), and at which of them the coordinator dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any

from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.jobs import _known
from qgjob_coordinator.store.scripts import Step
from qgjob_coordinator.store.types import SubmitConflictError, Submitted
from tests.integration.store.side_by_side import Call, SideBySide

IDLE_TURNS = 4
"""Turns of the loop in which nothing went on, after which nothing goes on by itself."""


class Gates:
    """Where the calls of one coordinator wait."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[bool]] = []
        self._busy = 0
        self.failure: BaseException | None = None

    @property
    def waiting(self) -> int:
        """So many calls wait."""
        return len(self._waiting)

    def open(self, n: int, *, twice: bool) -> None:
        """Lets one of those that wait through."""
        self._waiting.pop(n % len(self._waiting)).set_result(twice)

    async def quiet(self) -> None:
        """Returns when all that goes on waits at a gate."""
        idle = 0
        while idle < IDLE_TURNS:
            await asyncio.sleep(0)
            idle = 0 if self._busy else idle + 1
        if self.failure is not None:
            raise self.failure

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Waits, then does the call, or does it again as for a reply that was lost; its last answer."""
        gate: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(gate)
        try:
            twice = await gate
        except asyncio.CancelledError:
            if gate in self._waiting:
                self._waiting.remove(gate)
            raise
        self._busy += 1
        try:
            if twice:
                await call()
            return await call()
        except AssertionError as e:
            self.failure = e  # of a task that nobody waits for, too
            raise
        finally:
            self._busy -= 1


class SteppedStore:
    """See the module. `epoch` is the store's life as this coordinator knows it."""

    def __init__(self, both: SideBySide) -> None:
        self.gates = Gates()
        self.both = both
        self.epoch, self.epoch_before = both.fleet.epoch, both.fleet.epoch_before
        self.sessions = _Sessions(self)
        self.leases = _OrgCalls(self)
        self.jobs = _Jobs(self)
        self.snapshots = _Reads(self, both.store.snapshots)
        self.reads = _Reads(self, both.store.reads)

    async def call(self, org_id: str | None, name: str, *args: Any, **options: Any) -> Any:
        """One operation on both, when it is let through."""
        what = Call(org_id, name, args, tuple(options.items()))
        return await self.gates.through(lambda: self.both.also(what))

    async def check(self, run_id: str) -> bool:
        """Meets the store, whose life is called so; whether it is another than before."""
        known = self.epoch
        self.epoch, self.epoch_before = await self.call(None, "hello", run_id, known)
        return self.epoch != known

    async def mark_active(self, org_id: str) -> None:
        await self.call(None, "mark_active", org_id)

    async def mark_idle(self, org_ids: Sequence[str]) -> None:
        await self.call(None, "mark_idle", list(org_ids))

    async def agent_orgs(self, agent_id: str) -> set[str]:
        return await self.gates.through(lambda: self.both.store.agent_orgs(agent_id))  # type: ignore[no-any-return]

    async def active_orgs(self) -> set[str]:
        return await self.gates.through(self.both.store.active_orgs)  # type: ignore[no-any-return]

    async def all_orgs(self) -> set[str]:
        return await self.gates.through(self.both.store.all_orgs)  # type: ignore[no-any-return]


class _Reads:
    """Reads of the real store: what they answer is compared after each step anyway."""

    def __init__(self, store: SteppedStore, real: Any) -> None:
        self._store = store
        self._real = real

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        read = getattr(self._real, name)
        return lambda *args: self._store.gates.through(lambda: read(*args))


class _OrgCalls:
    """Operations of an org, by name."""

    def __init__(self, store: SteppedStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return lambda org_id, *args, **options: self._store.call(org_id, name, *args, **options)


class _Sessions:
    """Operations on sessions, by name."""

    def __init__(self, store: SteppedStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return lambda *args: self._store.call(None, name, *args)

    async def open(self, *args: Any) -> Any:
        agent_id, instance_id, epoch, _facts, coordinator, _devices, now = args
        return await self._store.call(None, "open", agent_id, instance_id, epoch, coordinator, now)

    async def watch(self) -> Any:
        return await self._store.gates.through(self._store.both.store.sessions.watch)


class _Jobs(_OrgCalls):
    """Writes that callers ask for. A submission goes step by step: its coordinator may die between any two."""

    async def submit(self, org_id: str, specs: Sequence[JobSpec], own: Sequence[bool], now: int) -> Any:
        """The answer, or nothing for a conflict."""
        both = self._store.both
        real = copy(both.store.jobs)
        call = Call(org_id, "submit", (list(specs), list(own), now))
        orders = both.orders(now, len(specs))
        assert both.store.jobs._orders(now, len(specs)) == orders
        real._runner = _Submission(self._store, call, orders)  # type: ignore[assignment]
        real._orders = lambda _now, _count: orders  # type: ignore[method-assign]
        try:
            return await real.submit(org_id, specs, own, now)
        except SubmitConflictError:
            return None


class _Submission:
    """Stands in the place of the runner of scripts, for one submission."""

    def __init__(self, store: SteppedStore, call: Call, orders: range) -> None:
        self._store = store
        self._call = call
        self._orders = orders

    async def batch(self, steps: Sequence[Step]) -> list[Any]:
        """The steps, one by one."""
        return [await self._step(step) for step in steps]

    async def _step(self, step: Step) -> Any:
        if step.script is None:
            command, key, org_id = step.args
            assert command == "SADD"
            return await self._store.call(None, "mark", str(key).removeprefix(keys.FLEET), org_id)
        assert step.script == "submit"
        return await self._store.gates.through(lambda: self._submit(step))

    async def _submit(self, step: Step) -> Any:
        reply: list[Any] = []

        async def on_store() -> dict[int, Submitted]:
            reply[:] = await self._store.both.store.jobs._runner._step(step)
            return _known(reply)

        await self._store.both.also(self._call, on_store, self._orders)
        return reply
