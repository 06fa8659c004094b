"""A coordinator's store whose every call waits to be let through, and is then done on the model too.

The code above the store is the real one. What a machine decides is when each of its calls happens, what becomes of it
(see `Fate`), and at which of them the coordinator dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from enum import Enum
from typing import Any, cast

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.jobs import _known
from qgjob_coordinator.store.leases import _endings
from qgjob_coordinator.store.scripts import Step
from qgjob_coordinator.store.types.endings import Ending, ReportWord
from qgjob_coordinator.store.types.submissions import SubmitConflictError
from tests.integration.store.side_by_side import Call, SideBySide


class Fate(Enum):
    """What becomes of a call."""

    ONCE = "it happens"
    TWICE = "it happens again, since its reply was lost"
    LOST = "it happens, and its caller hears that the store is away"
    NEVER = "it does not happen, and its caller hears that the store is away"
    LATE = "its caller hears that the store is away, and it happens some time later"


class Gates:
    """Where the calls of one coordinator wait. `late` is where those are kept that come later."""

    def __init__(self, late: list[Callable[[], Awaitable[Any]]]) -> None:
        self._waiting: list[asyncio.Future[Fate]] = []
        self._late = late
        self._busy = 0
        self._free = asyncio.Event()
        self._shut = False
        self.failure: BaseException | None = None

    @property
    def waiting(self) -> int:
        """So many calls wait."""
        return len(self._waiting)

    def open(self, n: int, fate: Fate) -> None:
        """Lets one of those that wait through."""
        self._waiting.pop(n % len(self._waiting)).set_result(fate)

    def shut(self) -> None:
        """Lets nothing through any more: what waits ends, and so does what comes here from now on."""
        self._shut = True
        for gate in self._waiting[:]:
            gate.cancel()

    async def quiet(self) -> None:
        """Returns when all that goes on waits at a gate, or for a time."""
        turns = cast(Any, asyncio.get_running_loop())._ready
        await asyncio.sleep(0)
        while self._busy or turns:
            if self._busy:
                await self._free.wait()
            await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure

    async def through(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Waits, then does the call, or what else becomes of it; its last answer. Raises StoreUnavailableError."""
        if self._shut:
            raise asyncio.CancelledError
        gate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        self._waiting.append(gate)
        try:
            fate = await gate
        except asyncio.CancelledError:
            if gate in self._waiting:
                self._waiting.remove(gate)
            raise
        if fate is Fate.LATE:
            self._late.append(call)
        if fate in (Fate.LATE, Fate.NEVER):
            raise StoreUnavailableError("no answer came")
        return await self._do(call, fate)

    async def _do(self, call: Callable[[], Awaitable[Any]], fate: Fate) -> Any:
        self._busy += 1
        self._free.clear()
        try:
            if fate is Fate.TWICE:
                await call()
            answer = await call()
        except AssertionError as e:
            self.failure = e  # of a task that nobody waits for, too
            raise
        finally:
            self._busy -= 1
            if not self._busy:
                self._free.set()
        if fate is Fate.LOST:
            raise StoreUnavailableError("no answer came")
        return answer


class SteppedStore:
    """See the module. `epoch` is the store's life as this coordinator knows it."""

    def __init__(self, both: SideBySide) -> None:
        self.gates = Gates(both.late)
        self.both = both
        self.epoch, self.epoch_before = both.fleet.epoch, both.fleet.epoch_before
        self.sessions = _Sessions(self)
        self.leases = _Leases(self)
        self.jobs = _Jobs(self)
        self.snapshots = _Reads(self, both.store.snapshots)
        self.reads = _Reads(self, both.store.reads)
        self.fleet = _Fleet(self, both.store.fleet)
        self.logs = None  # no piece of a log ever comes

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


class _Fleet(_Reads):
    """Devices and holds. What devices do is for people to see: no lease rests on it, so the machine spends no step."""

    async def occupy(self, *_args: Any) -> bool:
        return True

    async def inventory(self, *args: Any, **options: Any) -> Any:
        return await self._store.call(None, "inventory", *args, **options)

    async def confirm_holds(self, *args: Any) -> None:
        await self._store.call(None, "confirm_holds", *args)


class _Leases(_OrgCalls):
    """Leases. A round of reports goes step by step, as a submission does."""

    async def holders(self, *args: Any) -> Any:
        """A read."""
        return await self._store.gates.through(lambda: self._store.both.store.leases.holders(*args))

    async def report(
        self, org_id: str, started: Sequence[tuple[str, str, int]], endings: Sequence[Ending], now: int
    ) -> Any:
        real = copy(self._store.both.store.leases)
        real._runner = _Reports(self._store, org_id, started, endings, now)  # type: ignore[assignment]
        return await real.report(org_id, started, endings, now)


class _Jobs(_OrgCalls):
    """Writes that callers ask for."""

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


class _StepByStep:
    """Stands in the place of the runner of scripts, for one batch: its coordinator may die between any two steps."""

    def __init__(self, store: SteppedStore) -> None:
        self._store = store

    async def batch(self, steps: Sequence[Step]) -> list[Any]:
        """The steps, one by one."""
        return [await self._step(step) for step in steps]

    async def _step(self, step: Step) -> Any:
        raise NotImplementedError

    async def _on_both(
        self, step: Step, call: Call, answer: Callable[[list[Any]], Any], orders: range | None = None
    ) -> Any:
        """The store's reply to a step, when it is let through; `answer` is what it says, as the model says it."""
        both = self._store.both
        reply: list[Any] = []

        async def on_store() -> Any:
            reply[:] = await both.store.jobs._runner._step(step)
            return answer(reply)

        await self._store.gates.through(lambda: both.also(call, on_store, orders))
        return reply


class _Submission(_StepByStep):
    """Adds the org, submits, adds the org."""

    def __init__(self, store: SteppedStore, call: Call, orders: range) -> None:
        super().__init__(store)
        self._call = call
        self._orders = orders

    async def _step(self, step: Step) -> Any:
        if step.script is None:
            command, key, org_id = step.args
            assert command == "SADD"
            return await self._store.call(None, "mark", str(key).removeprefix(keys.FLEET), org_id)
        assert step.script == "submit"
        return await self._on_both(step, self._call, _known, self._orders)


class _Reports(_StepByStep):
    """Starts, then ends."""

    def __init__(
        self,
        store: SteppedStore,
        org_id: str,
        started: Sequence[tuple[str, str, int]],
        endings: Sequence[Ending],
        now: int,
    ) -> None:
        super().__init__(store)
        self._start = Call(org_id, "start", (started, now))
        self._finish = Call(org_id, "finish", (endings, now))

    async def _step(self, step: Step) -> Any:
        if step.script == "start":
            return await self._on_both(step, self._start, lambda words: [ReportWord(w) for w in words])
        assert step.script == "finish"
        return await self._on_both(step, self._finish, _endings)
