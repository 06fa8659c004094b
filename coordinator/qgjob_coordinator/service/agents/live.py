"""A session and what it hears: heartbeats, inventories, reports, logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceHealth, Phase
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.health.rules import Backoff
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.agents.health.seen import FleetHealth
from qgjob_coordinator.service.agents.health.watch import HealthWatch
from qgjob_coordinator.service.agents.log_intake import LogIntake
from qgjob_coordinator.service.agents.log_lane import Piece
from qgjob_coordinator.service.agents.messages import (
    HeartbeatAck,
    Held,
    Installed,
    Refused,
    RefusedReason,
    Report,
)
from qgjob_coordinator.service.agents.occupancy import Occupants
from qgjob_coordinator.service.agents.recalls import Recalls
from qgjob_coordinator.service.agents.records import Records
from qgjob_coordinator.service.agents.reporting import Reporter
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.agents.showing import check_count, check_devices
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import ShownWord
from qgjob_coordinator.tasks import together
from qgjob_coordinator.telemetry import Telemetry

REVOKED_SECONDS = 1.0
"""So long a heartbeat waits for what an org has revoked: the stream waits with it, and the agent for its lease."""
UNSEEN_BEATS = 2
"""Heartbeats that may miss an attempt that was sent before them; at one more, the agent is asked whether it has it."""
NOT_SHOWN = "an assigned attempt is not shown; connect again"
"""Why a session ends whose agent lost an attempt."""

log = structlog.get_logger(__name__)


class LiveSession:
    """A session with what it needs to hear and to be heard."""

    def __init__(
        self,
        session: Session,
        reporter: Reporter,
        occupants: Occupants,
        logs: LogIntake,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        settled: Callable[[], Awaitable[None]],
        fleet: FleetHealth,
        backoff: Backoff,
        unadopted: Beside[Sequence[ShownWord]],
        faults: OrgFaults,
    ) -> None:
        self.session = session
        self.unadopted = unadopted
        """Orgs in which what older sessions of the agent left is still to be released."""
        self.unsettled: dict[str, Sequence[Held]] = {}
        """What the agent showed of those of them whose data are damaged."""
        self.occupants = occupants
        self.recalls = Recalls(session, occupants, store, hub, telemetry, faults)
        self.health = HealthWatch(session, store, fleet, hub, telemetry, backoff, self._follow, faults)
        self.records = Records(session, self.recalls, store, hub, settled, self.health.know)
        reporter.health = self.health
        self._reporter = reporter
        self._logs = logs
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._faults = faults

    async def heartbeat(self, seq: int, held: Sequence[Held], sent_at: int = 0) -> None:
        """Renews the session and answers with what the agent is to kill. Raises StoreUnavailableError.

        `sent_at` is the agent's clock (ms), 0 where it does not tell.
        """
        session = self.session
        if sent_at:
            session.heard_clock(sent_at)
        self.unadopted.answered()
        holds = await self._store.sessions.renew(session.agent_id, session.epoch, wall_ms())
        if holds is None:
            session.end(Refused(RefusedReason.STALE_EPOCH, "a newer session took over, or this one was given up", 0))
            return
        session.beat()
        self.records.heard(holds)
        # Only what the agent holds can be revoked for it: a few orgs, however many it served before.
        orgs = {h.org_id for h in held}
        tokens = await together([self._revoked(o) for o in sorted(orgs)])
        revoked = [t for per_org in tokens for t in per_org]
        shown = {h.token for h in held}
        unknown = [h for h in held if h.token not in session.leases and h.phase is not Phase.SPOOLED]
        released = tuple(h.token for h in unknown if h.token not in session.strays or h.phase is Phase.RUNNING)
        for h in unknown:
            if h.phase is Phase.RUNNING:
                session.stray(h.token, h.device_id)
        dead_strays = [t for t in session.strays if t not in shown]
        for token in dead_strays:
            session.drop(token, wall_ms())
        if dead_strays:
            self._hub.work("", local=False)
        session.say(HeartbeatAck(seq, tuple(t for t in revoked if t in shown), released))
        self._check_unseen(shown)

    async def _revoked(self, org_id: str) -> list[str]:
        """Tokens that were revoked in the org. Where it can't be reached, or is damaged, none is told until later.

        Nothing is lost by it but time, while no answer at all would cost the agent what it runs for all other orgs.
        """
        agent_id = self.session.agent_id
        try:
            async with asyncio.timeout(REVOKED_SECONDS):
                return await self._faults.guard("revoked", org_id, self._store.reads.revoked(org_id, agent_id))
        except (TimeoutError, StoreUnavailableError) as e:
            log.warning("revoked_not_read", agent_id=agent_id, org_id=org_id, error=str(e) or "no answer came in time")
            return []
        except OrgDamagedError:
            return []  # told

    def _check_unseen(self, shown: set[str]) -> None:
        """An attempt that the agent should hold and does not show: only a new session settles it.

        Heartbeats may have been held up since before it was assigned, however many come now. So the agent is sent a
        question, behind the assignment: both ways keep their order, and what follows the answer was made with it known.
        """
        asked = 0
        for lease in self.session.leases.values():
            if lease.token in shown:
                lease.unseen_beats = lease.asked = 0
                continue
            lease.unseen_beats += 1
            if lease.unseen_beats <= UNSEEN_BEATS:
                continue
            if not lease.asked:
                asked = lease.asked = asked or self.recalls.ask_nothing()
            elif self.recalls.answer_came(lease.asked):
                log.error("attempt_not_shown", agent_id=self.session.agent_id, job_id=f"{lease.org_id}~{lease.ulid}")
                self.session.end(Refused(RefusedReason.STALE_EPOCH, NOT_SHOWN))
                return

    async def inventory(self, changed: Sequence[DeviceInfo], gone: Sequence[str]) -> None:
        """Devices appeared, changed or went. Raises InvalidError naming the first that may not be shown."""
        session = self.session
        check_devices("changed", changed)
        for i, device_id in enumerate(gone):
            validation.check_id(f"gone[{i}]", device_id)
        check_count("changed", len((session.slots.keys() | {d.device_id for d in changed}) - set(gone)))
        await self._store.fleet.inventory(session.agent_id, session.epoch, changed, gone, wall_ms(), complete=False)
        new = any(d.device_id not in session.slots for d in changed)
        known = await self.records.read_for_new() if new else None
        for info in changed:
            session.show(info)
        for device_id in gone:
            session.slots.pop(device_id, None)
        if known is not None:
            self.records.know(*known)
        log.info("inventory", agent_id=session.agent_id, changed=[d.device_id for d in changed], gone=list(gone))
        self._hub.work("", local=False)

    def installed(self, m: Installed) -> None:
        """An installation was done or failed."""
        slot = self.session.slots.get(m.device_id)
        self._telemetry.installs[m.outcome.value] += 1
        self.health.installed(m)
        if m.ok and slot is not None:
            what = (m.org_id, m.app_version_id)
            slot.install(what, wall_ms(), 1)
            self.occupants.installed(m.device_id, what, m.install_ms)
        log.info(
            "installed" if m.ok else "install_failed",
            agent_id=self.session.agent_id,
            device_id=m.device_id,
            org_id=m.org_id,
            app_version_id=m.app_version_id,
            install_ms=m.install_ms,
        )

    async def reports(self, reports: Sequence[Report]) -> None:
        """Reports came in. Returns when more may come: heartbeats wait as well, so an agent can't run ahead of us."""
        self._reporter.put(reports)
        await self._reporter.room()

    def log(self, piece: Piece) -> None:
        """A piece of a log came in."""
        lease = self.session.leases.get(piece.token)
        if lease is not None:
            lease.has_log = True
        self._logs.put(piece)

    def probed(self, device_id: str, health: DeviceHealth, reason: str | None) -> None:
        """A device was probed."""
        self.health.probed(device_id, health, reason)

    def _follow(self) -> None:
        self.records.follow()

    async def stop(self) -> None:
        """Ends its tasks."""
        await asyncio.gather(self._reporter.close(), self._logs.close())
        await self.health.close()
        await self.records.stop()
        await self.recalls.close()
        await self.unadopted.close()
        await self.occupants.close()
