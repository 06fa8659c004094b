"""A coordinator that goes from call to call, as a machine lets it: its real code on a store whose calls wait.

Everything that takes more than one call of the store is a task here: a submission, a claim, a Connect, a heartbeat, a
reaper's look, a pruner, the sweep over all orgs. Any of them stands still for as long as the machine likes, with what
it knew, and `die` ends all of them between two calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import Charge, Outcome, Phase
from qgjob_coordinator.model.failures import charge_of
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.policy.proposals import Assignment
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.live import LiveSession
from qgjob_coordinator.service.messages import PROTOCOL_VERSION, Hello, Refused, RefusedReason
from qgjob_coordinator.service.session import Session, Times
from qgjob_coordinator.service.sessions import Sessions
from qgjob_coordinator.store.types import DeviceClaim, OpenWord, Release, ReleaseCharge
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.jobs import ending
from tests.fakes.lab_agent import Attempt, LabAgent
from tests.integration.store.side_by_side import SideBySide
from tests.integration.store.stepped_store import SteppedStore

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)
CREDIT = 1000
ANNOUNCING = ("submit", "retry", "prune")
"""What leaves an org with work off the active set for a while, until its last call."""


class Clocks:
    """The clocks of all coordinators: `wall` in ms, `monotonic` in s."""

    def __init__(self, wall: int) -> None:
        self.wall = wall
        self.monotonic = 1000.0

    def install(self, patch: Any) -> None:
        """Has the coordinators' code look at these clocks, and throw no dice."""
        home = "qgjob_coordinator"
        homes = (
            "loops.scheduler",
            "loops.claims",
            "loops.reaper",
            "service.sessions",
            "service.session",
            "service.live",
        )
        for module in homes:
            patch.setattr(f"{home}.{module}.wall_ms", lambda: self.wall)
        patch.setattr(f"{home}.loops.reaper.time", SimpleNamespace(monotonic=lambda: self.monotonic))
        for module in ("loops.reaper", "service.sessions"):
            patch.setattr(f"{home}.{module}.random", SimpleNamespace(random=lambda: 0.25))


class Coordinator:
    """One process. `acknowledged` is what its callers were told to be accepted, by (org, ulid)."""

    def __init__(self, name: str, both: SideBySide, clocks: Clocks, acknowledged: set[tuple[str, str]]) -> None:
        self.name = name
        self.store = SteppedStore(both)
        self._clocks = clocks
        self._acknowledged = acknowledged
        self._work: list[tuple[str, asyncio.Task[None]]] = []
        store, hub, telemetry = cast(Any, self.store), Hub(), Telemetry()
        self.sessions = Sessions(store, hub, telemetry, TIMES, name, log_transitions=False)
        self._hub = hub
        self._scheduler = Scheduler(
            store, self.sessions, hub, cast(Any, None), telemetry, Limits(), None, log_transitions=False
        )
        self._reaper = Reaper(store, hub, telemetry, TIMES.session_timeout_ms / 1000, TIMES.lease_ms / 1000 + 2)
        self._timers = Timers(store, hub, cast(Any, None), telemetry, cast(Any, None))

    # Its life.

    @property
    def waits(self) -> bool:
        """Some call of its own waits to be let through."""
        return self.store.gates.waiting > 0

    def doing(self) -> list[str]:
        """What it has begun and not ended."""
        self._work = [(what, task) for what, task in self._work if not task.done()]
        return [what for what, _ in self._work]

    async def begin(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Begins something, up to its first call."""
        self._work.append((what, asyncio.create_task(self._alone(work))))
        await self.store.gates.quiet()
        self._raise()

    async def go_on(self, n: int = 0, *, twice: bool = False) -> None:
        """Lets one of its calls through, and what follows up to the next calls."""
        self.store.gates.open(n, twice=twice)
        await self.store.gates.quiet()
        self._raise()

    async def finish(self) -> None:
        """Goes on until nothing waits."""
        while self.waits:
            await self.go_on()

    async def die(self) -> None:
        """At once, whatever it was doing; its callers hear nothing."""
        tasks = [task for _, task in self._work]
        if self._reaper._sweeping is not None:
            tasks.append(self._reaper._sweeping)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for live in self.sessions._live.values():
            live.session.end(Refused(RefusedReason.GOING_AWAY, "it died"))

    async def _alone(self, work: Coroutine[Any, Any, None]) -> None:
        with suppress(StoreUnavailableError):
            await work

    def _raise(self) -> None:
        for _, task in self._work:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    # What it does. Each of these is given to `begin`.

    async def submit(self, org_id: str, specs: Sequence[JobSpec]) -> None:
        before = self.store.both.went_back
        known = await self.store.jobs.submit(org_id, specs, [True] * len(specs), self._clocks.wall)
        if known is not None and before == self.store.both.went_back:
            ulids = {i: spec.ulid for i, spec in enumerate(specs)} | {i: s.ulid for i, s in known.items()}
            self._acknowledged |= {(org_id, ulid) for ulid in ulids.values()}

    async def retry(self, org_id: str, ulid: str, round_: int) -> None:
        """As the service does it."""
        await self.store.jobs.retry(org_id, [(ulid, round_, None)], self._clocks.wall)
        await self.store.mark_active(org_id)

    async def claim(self, live: LiveSession, org_id: str, claim: DeviceClaim) -> None:
        """What a plan gave to one device."""
        ulids = tuple(ulid for ulid, _ in claim.jobs)
        row = Assignment(
            claim.device_id,
            claim.agent_id,
            org_id,
            claim.gid,
            ulids,
            claim.serving_seen,
            seconds=(1.0,) * len(ulids),
            scores=(0,) * len(ulids),
        )
        await self._scheduler._claims.claim(org_id, [(live, claim, row)])

    async def connect(self, agent: LabAgent, epoch: int) -> None:
        """An agent's Hello; the order is that of Sessions.open."""
        hello = Hello(
            PROTOCOL_VERSION, agent.agent_id, f"{agent.agent_id}.1", epoch, "v", "h", (), agent.shown(), CREDIT
        )
        life = self.store.epoch
        opened = await self.store.sessions.open(
            hello.agent_id, hello.instance_id, epoch, {}, self.name, (), self._clocks.wall
        )
        if opened.word is not OpenWord.OPENED:
            agent.epoch = max(agent.epoch, opened.stored_epoch)
            return
        before = self.sessions._live.pop(agent.agent_id, None)
        if before is not None:
            before.session.end(Refused(RefusedReason.STALE_EPOCH, "a newer session of this agent was opened"))
        session = Session(agent.agent_id, epoch, CREDIT, cast(Any, self.store), TIMES)
        live = self._live(session)
        session.say(await self.sessions._reconcile(live, hello, life))
        self.sessions._live[agent.agent_id] = live
        if agent.epoch == epoch:
            agent.session = session

    async def heartbeat(self, live: LiveSession, agent: LabAgent, seq: int) -> None:
        await LiveSession.heartbeat(live, seq, agent.shown())

    async def detach(self, live: LiveSession) -> None:
        """Its stream broke."""
        await self.sessions.close(live, "it broke")

    async def report(self, live: LiveSession, agent: LabAgent, a: Attempt, way: tuple[Outcome | None, bool]) -> None:
        """Of one attempt, as it stands: it runs, or it ended; acknowledged when it is written."""
        outcome, running = way
        now, leases = self._clocks.wall, self.store.leases
        if running:
            await leases.start(a.org_id, [(a.ulid, a.token, now)], now)
            return
        if outcome is None:
            charge = ReleaseCharge.LOST if a.began else ReleaseCharge.NOBODY
            await leases.release(a.org_id, [Release(a.ulid, a.token, now, charge, "killed", 0.25)], now)
        else:
            charged: Charge | None = None if outcome is Outcome.PASSED else charge_of(outcome)
            await leases.finish(a.org_id, [ending(a.ulid, a.token, outcome, now, charge=charged)], now)
        live.session.drop(a.token, now)
        if agent.session is live.session:
            agent.acknowledged(a.token)

    async def reap(self) -> None:
        await self._reaper.look(self._clocks.monotonic)

    async def prune(self, org_ids: Sequence[str]) -> None:
        """Of the orgs, those that it finds without work."""
        idle = [o for o in org_ids if not (await self.store.snapshots.org(o, 0)).waits]
        await self._scheduler._prune(idle)

    async def repair(self) -> None:
        orgs = EachOrg()
        await self._timers._repair(orgs)
        orgs.tell()

    async def check(self, run_id: str) -> None:
        """Meets the store; in a new life of it, its agents are to connect again."""
        if await self.store.check(run_id):
            self.sessions.end_all(RefusedReason.STALE_EPOCH, "the store has a new life; connect again")

    def _live(self, session: Session) -> LiveSession:
        """What a session needs of all that stands around one."""

        async def nothing() -> None:
            return None

        return cast(
            LiveSession,
            SimpleNamespace(
                session=session,
                occupants=SimpleNamespace(touch=lambda _device: None),
                records=SimpleNamespace(heard=lambda _holds: None),
                stop=nothing,
                _store=self.store,
                _hub=self._hub,
                _check_unseen=lambda _shown: None,
            ),
        )


def phase_of(a: Attempt) -> tuple[Outcome | None, bool]:
    """What is to be reported of an attempt now."""
    return a.outcome, a.phase is Phase.RUNNING
