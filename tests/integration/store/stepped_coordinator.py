"""A coordinator that goes from call to call, as a machine lets it: its real code on a store whose calls wait.

Everything that takes more than one call of the store is a task here: a submission, a claim, a Connect, what a stream
brings, a round of reports, holds that are followed, a reaper's look, a pruner, the sweep over all orgs. Any of them
stands still for as long as the machine likes, with what it knew, and `die` ends all of them between two calls.

Left out, since no lease rests on them and their pauses go by the real clock: what is judged of devices' health, what is
written of devices for people to see, and logs, of which no piece comes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.loops.claims import Claims
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.loops.overtaken import Overtaken
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.loops.unbooked import Unbooked
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.policy.proposals import Assignment
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.hello import RefusedError
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import Hello, Refused, RefusedReason
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.lab_agent import Answer, Beat, LabAgent, Up
from tests.integration.store.lab_clocks import Clocks
from tests.integration.store.side_by_side import SideBySide
from tests.integration.store.stepped_store import Fate, SteppedStore

STORE_PAUSE_SECONDS = 0.2
"""How long who reads a stream waits before it tries again what the store did not answer."""
TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)
ANNOUNCING = ("submit", "retry", "prune")
"""What leaves an org with work off the active set for a while, until its last call."""


@dataclass(eq=False)
class Stream:
    """Of an agent, as its coordinator has it: the session, what came and is not read, and who reads."""

    live: LiveSession
    up: deque[Up]
    reader: asyncio.Task[None] | None = None


class Strict(OrgFaults):
    """Nothing is damaged here: what an org is to be set aside for is a fault of ours."""

    def _met(self, part: str, org_id: str, e: Exception) -> OrgDamagedError:
        raise e


class Coordinator:
    """One process. `acknowledged` is what its callers were told to be accepted, by (org, ulid)."""

    def __init__(self, name: str, both: SideBySide, clocks: Clocks, acknowledged: set[tuple[str, str]]) -> None:
        self.name = name
        self.store = SteppedStore(both)
        self._clocks = clocks
        self._acknowledged = acknowledged
        self._work: list[tuple[str, asyncio.Task[None]]] = []
        self.streams: dict[Session, Stream] = {}  # that were opened and are not closed
        store, hub, telemetry = cast(Any, self.store), Hub(), Telemetry()
        faults = self._faults = Strict(telemetry)
        self.sessions = Sessions(store, hub, telemetry, TIMES, name, log_transitions=False, faults=faults)
        self._hub = hub
        self._scheduler = Scheduler(
            store, self.sessions, hub, cast(Any, None), telemetry, Limits(), None, faults=faults, log_transitions=False
        )
        silent, lost = TIMES.session_timeout_ms / 1000, TIMES.lease_ms / 1000 + 2
        self._reaper = Reaper(store, hub, telemetry, silent, lost, faults)
        self._timers = Timers(store, hub, cast(Any, None), telemetry, cast(Any, None), faults)
        self._claims = Claims(store, self.sessions, telemetry, Limits(), None, faults, log_transitions=False)
        self._overtaken = Overtaken(store)
        self._unbooked = Unbooked(store, self.sessions, faults)
        self.met = -1  # how often the store had gone back when it met it last
        self.in_doubt: list[str] = []  # what could not tell what became of it

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
        self._work.append((what, asyncio.create_task(self._alone(what, work))))
        await self.store.gates.quiet()
        self._raise()

    async def go_on(self, n: int = 0, fate: Fate = Fate.ONCE) -> None:
        """Lets one of its calls through, and what follows up to the next calls."""
        self.store.gates.open(n, fate)
        await self.store.gates.quiet()
        self._raise()

    async def finish(self) -> None:
        """Goes on until nothing waits."""
        while self.waits:
            await self.go_on()

    async def die(self) -> None:
        """At once, whatever it was doing; its callers hear nothing."""
        tasks = [task for _, task in self._work]
        for task in tasks:
            task.cancel()
        self.store.gates.shut()
        for stream in self.streams.values():
            await stream.live.records.stop()  # waits for an agent, and not at a gate
            stream.live.session.end(Refused(RefusedReason.GOING_AWAY, "it died"))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def goes_on_in_time(self) -> None:
        """What waited for its time goes on, up to its next calls."""
        await self.store.gates.quiet()
        self._raise()

    async def _alone(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreUnavailableError:
            self.in_doubt.append(what)

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

    async def claim(self, assignments: Sequence[Assignment]) -> None:
        """What a plan gave to devices."""
        await self._claims.commit(tuple(assignments))

    async def connect(self, agent: LabAgent, hello: Hello) -> None:
        """An agent's Hello."""
        up, life = agent.up, self.store.epoch
        try:
            live = await self.sessions.open(hello)
        except RefusedError as e:
            agent.epoch = max(agent.epoch, e.refused.stored_epoch)
            return
        assert life == self.store.epoch, "LIFE: a session is served that was opened in two lives of the store"
        self.streams[live.session] = Stream(live, up)
        if agent.up is up:  # else it has said Hello again, or its host died
            agent.session = live.session

    async def read(self, stream: Stream) -> None:
        """Takes in what came, one message after another, unless it is at it already."""
        if stream.reader is not None and not stream.reader.done():
            return
        stream.reader = asyncio.current_task()
        while stream.up:
            await self._hears(stream.live, stream.up)

    async def _hears(self, live: LiveSession, up: deque[Up]) -> None:
        message = up.popleft()
        if isinstance(message, Beat):
            with suppress(StoreUnavailableError):  # not confirmed
                await live.heartbeat(message.seq, message.held)
        elif isinstance(message, Answer):
            await self._hears_answer(live, message)
        else:
            reports = [message]
            while up and not isinstance(up[0], Beat | Answer):
                reports.append(cast(Any, up.popleft()))
            await live.reports(reports)

    async def _hears_answer(self, live: LiveSession, message: Answer) -> None:
        while True:
            try:
                await live.recalls.answered(message.recall_id, message.released)
            except StoreUnavailableError:
                await asyncio.sleep(STORE_PAUSE_SECONDS)
            else:
                return

    async def detach(self, stream: Stream) -> None:
        """The stream broke, or its session was ended."""
        self.streams.pop(stream.live.session, None)
        if stream.reader is not None:
            stream.reader.cancel()
            await asyncio.gather(stream.reader, return_exceptions=True)
        await self.sessions.close(stream.live, "it broke")

    async def reap(self) -> None:
        try:
            await self._reaper.look(self._clocks.monotonic)
        except StoreUnavailableError:
            self._reaper._seen.clear()  # as its loop does

    async def prune(self, org_ids: Sequence[str]) -> None:
        """Of the orgs, those that it finds without work."""
        idle = [o for o in org_ids if not (await self.store.snapshots.org(o, 0)).waits]
        await self._scheduler._prune(idle)

    async def repair(self) -> None:
        orgs = EachOrg(self._faults)
        await self._timers._repair(orgs)
        await self._overtaken.look(orgs)
        orgs.tell()

    async def compare_books(self) -> None:
        """As often as it likes to, for as long as it lives."""
        await self._unbooked.run()

    async def check(self, run_id: str) -> None:
        """Meets the store; in a new life of it, its agents are to connect again."""
        new = await self.store.check(run_id)
        self.met = self.store.both.went_back
        if new:
            self.sessions.end_all(RefusedReason.STALE_EPOCH, "the store has a new life; connect again")
