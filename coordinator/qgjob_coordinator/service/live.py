"""A session and what it hears: heartbeats, inventories, reports, logs, answers to recalls."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from qgjob_coordinator.errors import AgentSilentError, StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceHealth, Phase
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.log_intake import LogIntake, Piece
from qgjob_coordinator.service.messages import (
    HeartbeatAck,
    Held,
    Installed,
    Recall,
    Refused,
    RefusedReason,
    Report,
)
from qgjob_coordinator.service.occupancy import Occupants
from qgjob_coordinator.service.reporting import Reporter
from qgjob_coordinator.service.session import Session
from qgjob_coordinator.service.showing import check_count, check_devices
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import Release, ReleaseCharge
from qgjob_coordinator.telemetry import Telemetry

UNSEEN_BEATS = 2
"""Heartbeats that may miss an attempt that was sent before them; one more, and the session is to reconcile."""

RECALL_SECONDS = 2.0

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
    ) -> None:
        self.session = session
        self.occupants = occupants
        self._reporter = reporter
        self._logs = logs
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._settled = settled
        self._recalls: dict[int, asyncio.Future[None]] = {}
        self._recall_id = 0
        self._holds_seen = -1
        self._applying: asyncio.Task[None] | None = None

    async def heartbeat(self, seq: int, held: Sequence[Held]) -> None:
        """Renews the session and answers with what the agent is to kill. Raises StoreUnavailableError."""
        session = self.session
        holds = await self._store.sessions.renew(session.agent_id, session.epoch, wall_ms())
        if holds is None:
            session.end(Refused(RefusedReason.STALE_EPOCH, "a newer session took over, or this one was given up", 0))
            return
        session.beat()
        if holds != self._holds_seen:
            self.follow_holds()
        # Only what the agent holds can be revoked for it: a few orgs, however many it served before.
        orgs = {h.org_id for h in held}
        tokens = await asyncio.gather(*(self._store.reads.revoked(o, session.agent_id) for o in sorted(orgs)))
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

    def _check_unseen(self, shown: set[str]) -> None:
        """An attempt that the agent should hold and does not show: only a new session settles it."""
        for lease in self.session.leases.values():
            if lease.token in shown:
                lease.unseen_beats = 0
                continue
            lease.unseen_beats += 1
            if lease.unseen_beats > UNSEEN_BEATS:
                log.error("attempt_not_shown", agent_id=self.session.agent_id, job_id=f"{lease.org_id}~{lease.ulid}")
                self.session.end(Refused(RefusedReason.STALE_EPOCH, "an assigned attempt is not shown; connect again"))
                return

    async def inventory(self, changed: Sequence[DeviceInfo], gone: Sequence[str]) -> None:
        """Devices appeared, changed or went. Raises InvalidError naming the first that may not be shown."""
        session = self.session
        check_devices("changed", changed)
        for i, device_id in enumerate(gone):
            validation.check_id(f"gone[{i}]", device_id)
        check_count("changed", len((session.slots.keys() | {d.device_id for d in changed}) - set(gone)))
        await self._store.fleet.inventory(session.agent_id, session.epoch, changed, gone, wall_ms(), complete=False)
        for info in changed:
            session.show(info)
        for device_id in gone:
            session.slots.pop(device_id, None)
        log.info("inventory", agent_id=session.agent_id, changed=[d.device_id for d in changed], gone=list(gone))
        self._hub.work("", local=False)

    def installed(self, m: Installed) -> None:
        """An installation was done or failed."""
        slot = self.session.slots.get(m.device_id)
        self._telemetry.installs[m.outcome.value] += 1
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

    async def load_holds(self) -> None:
        """Reads what operators said of the agent and its devices. The number is read first: it can't claim too much."""
        session = self.session
        number = await self._store.fleet.hold_number()
        rows = await self._store.fleet.read([session.agent_id])
        if not rows or number < self._holds_seen:
            return
        self._holds_seen = number
        session.hold = rows[0].hold
        for row in rows[0].devices:
            slot = session.slots.get(row.info.device_id)
            if slot is not None:
                slot.changed()
                slot.hold = row.hold
                slot.operator_labels = dict(row.labels)
                slot.labels = {**slot.info.labels, **row.labels}

    async def apply_holds(self) -> None:
        """Plans by what operators said, takes back what held devices have not begun, and confirms it in the store.

        Raises AgentSilentError when the agent did not give back, or say that it has begun, what it was asked for.
        """
        await self.load_holds()
        number = self._holds_seen
        await self._settled()
        tokens = self._unbegun_on_held_devices(wall_ms())
        if tokens:
            await self._recall(tokens)
        await self._store.fleet.confirm_holds(self.session.agent_id, self.session.epoch, number)
        self._hub.work("", local=False)

    def follow_holds(self) -> None:
        """Applies holds beside the stream: the answer to a recall comes through it."""
        if self._applying is None or self._applying.done():
            self._applying = asyncio.create_task(self._follow_holds())

    async def _follow_holds(self) -> None:
        try:
            await self.apply_holds()
        except (AgentSilentError, StoreUnavailableError) as e:
            log.warning("holds_not_confirmed", agent_id=self.session.agent_id, error=e.message)

    def _unbegun_on_held_devices(self, now: int) -> list[str]:
        session = self.session
        all_held = session.hold is not None and not session.hold.over(now)
        return [
            lease.token
            for slot in session.slots.values()
            if all_held or not slot.takes_work(now)
            for lease in slot.leases.values()
            if not lease.started
        ]

    def recall(self, device_id: str) -> None:
        """Asks for what the device has not begun, each attempt once; the answer releases it, whenever it comes."""
        slot = self.session.slots.get(device_id)
        leases = [x for x in list(slot.leases.values())[1:] if not (x.started or x.recalled)] if slot else []
        if leases:
            for lease in leases:
                lease.recalled = True
            self._recall_id += 1
            self.session.say(Recall(self._recall_id, tuple(x.token for x in leases)))

    async def _recall(self, tokens: Sequence[str]) -> None:
        """Asks for unstarted attempts and waits for the answer, which alone releases them. Raises AgentSilentError."""
        self._recall_id += 1
        number = self._recall_id
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._recalls[number] = answered
        self.session.say(Recall(number, tuple(tokens)))
        try:
            async with asyncio.timeout(RECALL_SECONDS):
                await answered
        except TimeoutError:
            raise AgentSilentError(
                f"agent {self.session.agent_id} did not confirm within {RECALL_SECONDS:g} s that it begins no more; "
                "the hold is stored and holds for all later work, repeat the call to know when it is in force"
            ) from None
        finally:
            self._recalls.pop(number, None)

    async def recalled(self, recall_id: int, released: Sequence[str]) -> None:
        """The agent gave attempts back that it had not begun. Raises StoreUnavailableError."""
        by_org: dict[str, list[Release]] = defaultdict(list)
        now = wall_ms()
        for token in released:
            lease = self.session.leases.get(token)
            if lease is not None:
                row = Release(lease.ulid, token, now, ReleaseCharge.NOBODY, "given back", 0.0)
                by_org[lease.org_id].append(row)
        for org_id, rows in by_org.items():
            _, settled = await self._store.leases.release(org_id, rows, now)
            tell_settled(self._telemetry, org_id, ((row, "recalled") for row in settled if row))
            for row in rows:
                self.session.drop(row.token, wall_ms())
            self._hub.work(org_id)
            self._hub.changed(org_id)
        answered = self._recalls.get(recall_id)
        if answered is not None and not answered.done():
            answered.set_result(None)

    def log(self, piece: Piece) -> None:
        """A piece of a log came in."""
        lease = self.session.leases.get(piece.token)
        if lease is not None:
            lease.has_log = True
        self._logs.put(piece)

    def probed(self, device_id: str, health: DeviceHealth, reason: str | None) -> None:
        """A device was probed."""
        slot = self.session.slots.get(device_id)
        log.info("probed", agent_id=self.session.agent_id, device_id=device_id, health=health.value, reason=reason)
        if slot is not None:
            self._hub.work("", local=False)

    async def stop(self) -> None:
        """Ends its tasks."""
        if self._applying is not None:
            self._applying.cancel()
            await asyncio.gather(self._applying, return_exceptions=True)
        await asyncio.gather(self._reporter.close(), self._logs.close())
        await self.occupants.close()
