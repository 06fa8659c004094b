"""The sessions that this coordinator holds: opened and ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.policy.health.rules import Backoff
from qgjob_coordinator.policy.snapshot import DeviceView
from qgjob_coordinator.service.agents.adoption import Adoption, replaced
from qgjob_coordinator.service.agents.attendance import Attendance
from qgjob_coordinator.service.agents.health.seen import FleetHealth
from qgjob_coordinator.service.agents.hello import RefusedError, check, refusal
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.log_intake import LogIntake
from qgjob_coordinator.service.agents.messages import (
    Hello,
    Refused,
    RefusedReason,
    Welcome,
)
from qgjob_coordinator.service.agents.occupancy import Occupants
from qgjob_coordinator.service.agents.reporting import Reporter
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import OpenWord
from qgjob_coordinator.telemetry import Telemetry

OVERTAKEN = "a newer session of this agent was opened"
"""Why a session ends whose agent has connected again."""

log = structlog.get_logger(__name__)


async def _settled_at_once() -> None:
    """There is no scheduler to wait for."""


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
        faults: OrgFaults,
    ) -> None:
        self.store = store
        self.hub = hub
        self.telemetry = telemetry
        self.times = times
        self._faults = faults
        self._adoption = Adoption(store, hub, telemetry, times, self._faults)
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
        live.session.came_back_below = opened.came_back_below
        try:
            welcome = await self._begun(live, hello, life, now)
            self._overtake(hello)
        except BaseException:
            await live.unadopted.close()  # the next Connect begins with them anew
            raise
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

    async def _begun(self, live: LiveSession, hello: Hello, life: int, now: int) -> Welcome:
        """What the agent shows is known and what it holds is settled; it is told so."""
        if not await self.store.fleet.inventory(hello.agent_id, hello.epoch, hello.devices, (), now, complete=True):
            raise replaced()
        for info in hello.devices:
            live.session.show(info)
        await live.records.load()
        welcome = await self._adoption.reconcile(live, hello, life)
        live.session.say(welcome)
        return welcome

    def _overtake(self, hello: Hello) -> None:
        """Ends an older session of the agent. A newer one is left alone: answers of the store may come in any order."""
        other = self._live.get(hello.agent_id)
        if other is None:
            return
        if other.session.epoch > hello.epoch:
            raise replaced()
        del self._live[hello.agent_id]
        other.session.end(Refused(RefusedReason.STALE_EPOCH, OVERTAKEN))

    def _made(self, hello: Hello) -> LiveSession:
        """A session with the parts that serve it. Nothing is read or written yet."""
        session = Session(hello.agent_id, hello.epoch, hello.credit, self.store, self.times)
        occupants = Occupants(session, self.store)
        logs = LogIntake(session.agent_id, self.store.logs, self.hub, faults=self._faults)
        reporter = Reporter(
            session,
            self.store,
            self.hub,
            self.telemetry,
            occupants,
            logs,
            lambda org, at: self.on_retry_due(org, at),  # noqa: PLW0108 - set after the sessions are made
            self._faults,
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
            Beside(
                "leases of older sessions",
                lambda org_id: self._adoption.adopt_later(live, org_id),
                part="adoption",
                faults=self._faults,
            ),
            self._faults,
        )
        return live

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
