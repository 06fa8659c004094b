"""The sessions that this coordinator holds: opened and ended."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import Phase
from qgjob_coordinator.policy.health.rules import Backoff
from qgjob_coordinator.policy.snapshot import DeviceView
from qgjob_coordinator.service.attendance import Attendance
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.health_seen import FleetHealth
from qgjob_coordinator.service.hello import RefusedError, check, refusal
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.live import LiveSession
from qgjob_coordinator.service.log_intake import LogIntake
from qgjob_coordinator.service.messages import (
    Held,
    Hello,
    Refused,
    RefusedReason,
    Welcome,
)
from qgjob_coordinator.service.occupancy import Occupants
from qgjob_coordinator.service.reporting import Reporter
from qgjob_coordinator.service.session import Session, Times
from qgjob_coordinator.service.slots import Lease
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import OpenWord, ShownWord
from qgjob_coordinator.tasks import together
from qgjob_coordinator.telemetry import Telemetry

ORGS_AT_ONCE = 32
OVERTAKEN = "a newer session of this agent was opened"
"""Why a session ends whose agent has connected again."""

log = structlog.get_logger(__name__)


async def _settled_at_once() -> None:
    """There is no scheduler to wait for."""


def _replaced() -> StoreUnavailableError:
    return StoreUnavailableError("the session was replaced while it was opened; connect again")


class Sessions:
    """All sessions of this coordinator, by agent."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        times: Times,
        coordinator: str,
        *,
        log_transitions: bool,
        backoff: Backoff | None = None,
        fleet: FleetReader | None = None,
    ) -> None:
        self.store = store
        self.hub = hub
        self.telemetry = telemetry
        self.times = times
        self._coordinator = coordinator
        self._log_transitions = log_transitions
        self._fleet = FleetHealth(fleet or FleetReader(store))
        self._backoff = backoff or Backoff()
        self._live: dict[str, LiveSession] = {}
        self.attendance = Attendance()
        self.on_retry_due: Callable[[str, int], None] = lambda _org, _at: None
        self.settled: Callable[[], Awaitable[None]] = _settled_at_once

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        """Devices of all sessions that would take work now."""
        return [d for s in self._live.values() for d in s.session.wanting(refill_at, now)]

    def serving(self) -> list[DeviceView]:
        """Devices of all sessions that hold attempts."""
        return [d for s in self._live.values() for d in s.session.serving()]

    def any_wanting(self, now: int) -> bool:
        """Whether some device that holds nothing would take work now."""
        return any(s.session.any_wanting(now) for s in self._live.values())

    def get(self, agent_id: str) -> LiveSession | None:
        """The agent's session, if it is here."""
        return self._live.get(agent_id)

    def here(self) -> list[LiveSession]:
        """All of them."""
        return list(self._live.values())

    def clocks(self) -> dict[str, float]:
        """How many ms the clock of each agent with a session here is ahead of this machine's, where that is known."""
        known = {agent_id: s.session.clock_ahead_ms for agent_id, s in self._live.items()}
        return {agent_id: ahead for agent_id, ahead in known.items() if ahead is not None}

    def revoke(self, agent_id: str, token: str, reason: str) -> bool:
        """Tells the agent to kill an attempt, if its session is here."""
        live = self._live.get(agent_id)
        return live is not None and live.session.revoke(token, reason)

    async def open(self, hello: Hello) -> LiveSession:
        """Opens a session: epoch first, then every org of the agent. Raises RefusedError, StoreUnavailableError."""
        check(hello)
        life = self.store.epoch
        now = wall_ms()
        facts = {"version": hello.version, "host": hello.host}
        opened = await self.store.sessions.open(
            hello.agent_id,
            hello.instance_id,
            hello.epoch,
            facts,
            self._coordinator,
            [d.device_id for d in hello.devices],
            now,
        )
        if opened.word is not OpenWord.OPENED:
            raise RefusedError(refusal(hello, opened))
        self._overtake(hello)
        live = self._made(hello)
        session = live.session
        if not await self.store.fleet.inventory(hello.agent_id, hello.epoch, hello.devices, (), now, complete=True):
            raise _replaced()
        for info in hello.devices:
            session.show(info)
        await live.records.load()
        welcome = await self._reconcile(live, hello, life)
        session.say(welcome)
        self._overtake(hello)
        self._live[hello.agent_id] = live
        self.attendance.came(hello.agent_id, wall_ms())
        live.health.start()
        live.records.follow()  # one that came meanwhile, or that keeps back what the agent still has to begin
        log.info(
            "session_opened",
            agent_id=hello.agent_id,
            epoch=hello.epoch,
            host=hello.host,
            devices=len(hello.devices),
            adopted=len(welcome.adopted),
            released=len(welcome.released),
        )
        self.hub.work("", local=False)
        return live

    def _overtake(self, hello: Hello) -> None:
        """Ends an older session of the agent. A newer one is left alone: answers of the store may come in any order."""
        other = self._live.get(hello.agent_id)
        if other is None:
            return
        if other.session.epoch > hello.epoch:
            raise _replaced()
        del self._live[hello.agent_id]
        other.session.end(Refused(RefusedReason.STALE_EPOCH, OVERTAKEN))

    def _made(self, hello: Hello) -> LiveSession:
        """A session with the parts that serve it. Nothing is read or written yet."""
        session = Session(hello.agent_id, hello.epoch, hello.credit, self.store, self.times)
        occupants = Occupants(session, self.store)
        logs = LogIntake(session.agent_id, self.store.logs, self.hub)
        reporter = Reporter(
            session,
            self.store,
            self.hub,
            self.telemetry,
            occupants,
            logs,
            lambda org, at: self.on_retry_due(org, at),  # noqa: PLW0108 - set after the sessions are made
            log_transitions=self._log_transitions,
        )
        live = LiveSession(
            session,
            reporter,
            occupants,
            logs,
            self.store,
            self.hub,
            self.telemetry,
            self._when_settled,
            self._fleet,
            self._backoff,
            Beside("leases of older sessions", lambda org_id: self._adopt(live, org_id, ())),
        )
        return live

    async def _reconcile(self, live: LiveSession, hello: Hello, life: int) -> Welcome:
        """Adopts what the agent shows, releases what it doesn't; `life` is the store's epoch from before the opening.

        Its set of orgs is left with those where it holds something: after a new life of the store all orgs are in it.
        """
        session = live.session
        shown: dict[str, list[Held]] = defaultdict(list)
        for h in hello.held:
            shown[h.org_id].append(h)
        orgs = sorted(await self.store.agent_orgs(session.agent_id) | set(shown))
        if not await session.admit(list(shown)):
            raise _replaced()
        adopted: list[str] = []
        gone: list[str] = []
        revoked: list[str] = []
        for first in range(0, len(orgs), ORGS_AT_ONCE):
            some = orgs[first : first + ORGS_AT_ONCE]
            answers = await together([self._adopt_or_later(live, org_id, shown.get(org_id, [])) for org_id in some])
            for org_id, words in zip(some, answers, strict=True):
                for h, word in zip(shown.get(org_id, []), words, strict=True):
                    if word is ShownWord.GONE:
                        gone.append(h.token)
                    else:
                        adopted.append(h.token)
                    if word is ShownWord.REVOKED:
                        revoked.append(h.token)
        spare = [org_id for org_id in orgs if org_id not in shown and org_id not in live.unadopted.orgs]
        if spare:
            await self.store.sessions.spare(session.agent_id, session.epoch, life, spare)
        if self.store.epoch != life:
            raise StoreUnavailableError("the store has a new life; connect again")
        t = self.times
        return Welcome(
            self.store.epoch,
            t.heartbeat_ms,
            t.session_timeout_ms,
            t.lease_ms,
            t.kill_grace_ms,
            tuple(adopted),
            tuple(gone),
            tuple(revoked),
        )

    async def _adopt_or_later(self, live: LiveSession, org_id: str, rows: Sequence[Held]) -> Sequence[ShownWord]:
        """One org; if it can't be reached and nothing is shown of it, what older sessions have there is released later.

        The agent runs none of that, and the fence of the org keeps older sessions out from then on: what they claim
        before is released with it. Raises StoreUnavailableError where something is shown: nobody knows whose it is.
        """
        try:
            return await self._adopt(live, org_id, rows)
        except StoreUnavailableError as e:
            if rows:
                raise
            live.unadopted.add(org_id, e)
            return ()

    async def _adopt(self, live: LiveSession, org_id: str, rows: Sequence[Held]) -> Sequence[ShownWord]:
        """One org: what became of each attempt that is shown."""
        session = live.session
        released, words = await self.store.leases.adopt(
            org_id,
            session.agent_id,
            session.epoch,
            [(h.ulid, h.token) for h in rows],
            wall_ms(),
            random.random(),  # noqa: S311 - jitter
        )
        for h, word in zip(rows, words, strict=True):
            if word is ShownWord.GONE and h.phase is Phase.RUNNING:
                session.stray(h.token, h.device_id)
        await self._take_over(
            live, org_id, [h for h, word in zip(rows, words, strict=True) if word is not ShownWord.GONE]
        )
        if released:
            tell_settled(self.telemetry, org_id, ((row, "not_shown") for row in released))
            log.warning("leases_released", agent_id=session.agent_id, org_id=org_id, count=len(released))
        if released or rows:
            self.hub.work(org_id)
            self.hub.changed(org_id)
        return words

    async def _take_over(self, live: LiveSession, org_id: str, rows: Sequence[Held]) -> None:
        jobs = await self.store.reads.get(org_id, [h.ulid for h in rows])
        now = wall_ms()
        for h, job in zip(rows, jobs, strict=True):
            if job is None:
                continue
            gid = group_id(job.app_version_id, job.target)
            started = h.phase is not Phase.UNSTARTED
            lease = Lease(org_id, h.ulid, h.token, gid, h.device_id, h.attempt, started=started)
            lease.has_log = started  # it may have one in the store, from the session before
            live.session.take(lease, now)
            live.occupants.touch(h.device_id)

    async def close(self, live: LiveSession, why: str) -> None:
        """A stream ended."""
        session = live.session
        if self._live.get(session.agent_id) is live:
            del self._live[session.agent_id]
        session.end(Refused(RefusedReason.GOING_AWAY, why))
        await live.stop()
        log.info("session_ended", agent_id=session.agent_id, epoch=session.epoch, why=why)
        try:
            await self.store.sessions.observe(session.agent_id, session.epoch, -1, "detached")
        except StoreUnavailableError as e:
            log.debug("detach_not_written", agent_id=session.agent_id, error=e.message)

    async def _when_settled(self) -> None:
        await self.settled()  # set after the sessions are made

    def end_all(self, reason: RefusedReason, why: str) -> None:
        """Asks all agents to connect again; elsewhere, when this coordinator is GOING_AWAY."""
        for live in self.here():
            live.session.end(Refused(reason, why))
