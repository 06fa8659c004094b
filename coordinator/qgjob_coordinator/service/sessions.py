"""The sessions that this coordinator holds: opened, heard, ended."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceHealth, Phase
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import DeviceView
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.messages import (
    PROTOCOL_VERSION,
    HeartbeatAck,
    Held,
    Hello,
    Installed,
    Recall,
    Refused,
    RefusedReason,
    Report,
    Welcome,
)
from qgjob_coordinator.service.occupancy import Occupants
from qgjob_coordinator.service.reporting import Reporter
from qgjob_coordinator.service.session import Session, Times
from qgjob_coordinator.service.slots import Lease
from qgjob_coordinator.store.codec import group_id
from qgjob_coordinator.store.fleet import AgentRow
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import OpenWord, Release, ReleaseCharge, ShownWord
from qgjob_coordinator.telemetry import Telemetry

UNSEEN_BEATS = 2
"""Heartbeats that may miss an attempt that was sent before them; one more, and the session is to reconcile."""

RECALL_SECONDS = 2.0

log = structlog.get_logger(__name__)


class RefusedError(Exception):
    """The agent's Hello is not accepted."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


class LiveSession:
    """A session with what it needs to hear and to be heard."""

    def __init__(self, session: Session, reporter: Reporter, occupants: Occupants, owner: Sessions) -> None:
        self.session = session
        self._reporter = reporter
        self.occupants = occupants
        self._owner = owner
        self._recalls: dict[int, asyncio.Future[None]] = {}
        self._recall_id = 0

    async def heartbeat(self, seq: int, held: Sequence[Held]) -> None:
        """Renews the session and answers with what the agent is to kill. Raises StoreUnavailableError."""
        session = self.session
        if not await self._owner.store.sessions.renew(session.agent_id, session.epoch, wall_ms()):
            session.end(Refused(RefusedReason.STALE_EPOCH, "a newer session took over, or this one was given up", 0))
            return
        session.beat()
        revoked: list[str] = []
        for org_id in await self._owner.store.agent_orgs(session.agent_id):
            revoked += await self._owner.store.reads.revoked(org_id, session.agent_id)
        shown = {h.token for h in held}
        unknown = [h for h in held if h.token not in session.leases and h.phase is not Phase.SPOOLED]
        released = tuple(h.token for h in unknown if h.token not in session.strays or h.phase is Phase.RUNNING)
        for h in unknown:
            if h.phase is Phase.RUNNING:
                session.stray(h.token, h.device_id)
        for token in [t for t in session.strays if t not in shown]:
            session.drop(token)
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
        """Devices appeared, changed or went."""
        session = self.session
        for info in changed:
            validation.check_id("device_id", info.device_id)
        await self._owner.store.fleet.inventory(
            session.agent_id, session.epoch, changed, gone, wall_ms(), complete=False
        )
        for info in changed:
            session.show(info)
        for device_id in gone:
            session.slots.pop(device_id, None)
        log.info("inventory", agent_id=session.agent_id, changed=[d.device_id for d in changed], gone=list(gone))
        self._owner.hub.work("", local=False)

    def installed(self, m: Installed) -> None:
        """An installation was done or failed."""
        slot = self.session.slots.get(m.device_id)
        self._owner.telemetry.installs[m.outcome.value] += 1
        if m.ok and slot is not None:
            slot.changed()
            slot.installed = (m.org_id, m.app_version_id)
            self.occupants.installed(m.device_id, slot.installed, 1)
        log.info(
            "installed" if m.ok else "install_failed",
            agent_id=self.session.agent_id,
            device_id=m.device_id,
            org_id=m.org_id,
            app_version_id=m.app_version_id,
            install_ms=m.install_ms,
        )

    def reports(self, reports: Sequence[Report]) -> None:
        """Reports came in."""
        self._reporter.put(reports)

    async def apply_holds(self, settled: Callable[[], Awaitable[None]]) -> None:
        """Plans by what operators said, and takes back what held devices have not begun."""
        await self._owner.load_holds(self.session)
        await settled()
        now = wall_ms()
        session = self.session
        all_held = session.hold is not None and not session.hold.over(now)
        tokens = [
            lease.token
            for slot in session.slots.values()
            if all_held or not slot.takes_work(now)
            for lease in slot.leases.values()
            if not lease.started
        ]
        if tokens:
            await self._recall(tokens)

    async def _recall(self, tokens: Sequence[str]) -> None:
        """Asks for unstarted attempts and waits for the answer, which alone releases them."""
        self._recall_id += 1
        number = self._recall_id
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._recalls[number] = answered
        self.session.say(Recall(number, tuple(tokens)))
        try:
            async with asyncio.timeout(RECALL_SECONDS):
                await answered
        except TimeoutError:
            log.warning("recall_not_answered", agent_id=self.session.agent_id, count=len(tokens))
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
            await self._owner.store.leases.release(org_id, rows, now)
            for row in rows:
                self.session.drop(row.token)
            self._owner.hub.work(org_id)
            self._owner.hub.changed(org_id)
        answered = self._recalls.get(recall_id)
        if answered is not None and not answered.done():
            answered.set_result(None)

    async def logs(self, pieces: Sequence[tuple[str, str, str, int, bytes]]) -> None:
        """(org, ulid, token, offset, data) pieces of logs. Raises StoreUnavailableError."""
        by_org: dict[str, list[tuple[str, str, int, bytes]]] = defaultdict(list)
        for org_id, ulid, token, offset, data in pieces:
            by_org[org_id].append((ulid, token, offset, data))
            lease = self.session.leases.get(token)
            if lease is not None:
                lease.has_log = True
        for org_id, rows in by_org.items():
            await self._owner.store.logs.append(org_id, rows)
            self._owner.hub.changed(org_id)

    def probed(self, device_id: str, health: DeviceHealth, reason: str | None) -> None:
        """A device was probed."""
        slot = self.session.slots.get(device_id)
        log.info("probed", agent_id=self.session.agent_id, device_id=device_id, health=health.value, reason=reason)
        if slot is not None:
            self._owner.hub.work("", local=False)

    async def close(self, why: str) -> None:
        """The stream ended: the session takes no new work; its leases live on until they are given up or adopted."""
        await self._owner.close(self, why)

    async def stop(self) -> None:
        """Ends its tasks."""
        await self._reporter.close()
        await self.occupants.close()


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
    ) -> None:
        self.store = store
        self.hub = hub
        self.telemetry = telemetry
        self.times = times
        self._coordinator = coordinator
        self._log_transitions = log_transitions
        self._live: dict[str, LiveSession] = {}
        self.on_retry_due: Callable[[str, int], None] = lambda _org, _at: None

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        """Devices of all sessions that would take work now."""
        return [d for s in self._live.values() for d in s.session.wanting(refill_at, now)]

    def any_wanting(self, now: int) -> bool:
        """Whether some device that holds nothing would take work now."""
        return any(s.session.any_wanting(now) for s in self._live.values())

    def get(self, agent_id: str) -> LiveSession | None:
        """The agent's session, if it is here."""
        return self._live.get(agent_id)

    def revoke(self, agent_id: str, token: str, reason: str) -> bool:
        """Tells the agent to kill an attempt, if its session is here."""
        live = self._live.get(agent_id)
        return live is not None and live.session.revoke(token, reason)

    async def open(self, hello: Hello) -> LiveSession:
        """Opens a session: epoch first, then every org of the agent. Raises RefusedError, StoreUnavailableError."""
        _check(hello)
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
            raise RefusedError(_refusal(hello, opened.word, opened.stored_epoch, opened.other))
        before = self._live.pop(hello.agent_id, None)
        if before is not None:
            before.session.end(Refused(RefusedReason.STALE_EPOCH, "a newer session of this agent was opened"))
        session = Session(hello.agent_id, hello.epoch, hello.credit, self.store, self.times)
        occupants = Occupants(session, self.store)
        reporter = Reporter(
            session,
            self.store,
            self.hub,
            self.telemetry,
            occupants,
            lambda org, at: self.on_retry_due(org, at),  # noqa: PLW0108 - set after the sessions are made
            log_transitions=self._log_transitions,
        )
        live = LiveSession(session, reporter, occupants, self)
        await self.store.fleet.inventory(hello.agent_id, hello.epoch, hello.devices, (), now, complete=True)
        for info in hello.devices:
            session.show(info)
        await self.load_holds(session)
        welcome = await self._reconcile(live, hello)
        session.say(welcome)
        self._live[hello.agent_id] = live
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

    async def load_holds(self, session: Session) -> None:
        """Reads what operators said of the agent and its devices."""
        rows: list[AgentRow] = await self.store.fleet.read([session.agent_id])
        if not rows:
            return
        session.hold = rows[0].hold
        for row in rows[0].devices:
            slot = session.slots.get(row.info.device_id)
            if slot is not None:
                slot.changed()
                slot.hold = row.hold
                slot.operator_labels = dict(row.labels)
                slot.labels = {**slot.info.labels, **row.labels}

    async def _reconcile(self, live: LiveSession, hello: Hello) -> Welcome:
        """Adopts what the agent shows, releases what it doesn't."""
        session = live.session
        shown: dict[str, list[Held]] = defaultdict(list)
        for h in hello.held:
            shown[h.org_id].append(h)
        orgs = sorted(await self.store.agent_orgs(session.agent_id) | set(shown))
        if not await session.admit(orgs):
            raise StoreUnavailableError("the session was replaced while it was opened; connect again")
        adopted: list[str] = []
        gone: list[str] = []
        revoked: list[str] = []
        for org_id in orgs:
            rows = shown.get(org_id, [])
            released, words = await self.store.leases.adopt(
                org_id,
                session.agent_id,
                session.epoch,
                [(h.ulid, h.token) for h in rows],
                wall_ms(),
                random.random(),  # noqa: S311 - jitter
            )
            for h, word in zip(rows, words, strict=True):
                if word is ShownWord.GONE:
                    gone.append(h.token)
                    if h.phase is Phase.RUNNING:
                        session.stray(h.token, h.device_id)
                else:
                    adopted.append(h.token)
                    if word is ShownWord.REVOKED:
                        revoked.append(h.token)
            await self._take_over(live, org_id, [h for h in rows if h.token in set(adopted)])
            if released:
                self.telemetry.leases_lost += released
                log.warning("leases_released", agent_id=session.agent_id, org_id=org_id, count=released)
            self.hub.work(org_id)
            self.hub.changed(org_id)
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

    async def _take_over(self, live: LiveSession, org_id: str, rows: Sequence[Held]) -> None:
        jobs = await self.store.reads.get(org_id, [h.ulid for h in rows])
        for h, job in zip(rows, jobs, strict=True):
            if job is None:
                continue
            gid = group_id(job.app_version_id, job.target)
            started = h.phase is not Phase.UNSTARTED
            live.session.take(Lease(org_id, h.ulid, h.token, gid, h.device_id, h.attempt, started=started))
            live.occupants.touch(h.device_id)

    async def close(self, live: LiveSession, why: str) -> None:
        """A stream ended."""
        session = live.session
        if self._live.get(session.agent_id) is live:
            del self._live[session.agent_id]
        session.end(Refused(RefusedReason.INVALID, why))
        await live.stop()
        log.info("session_ended", agent_id=session.agent_id, epoch=session.epoch, why=why)
        try:
            await self.store.sessions.observe(session.agent_id, session.epoch, -1, "detached")
        except StoreUnavailableError as e:
            log.debug("detach_not_written", agent_id=session.agent_id, error=e.message)

    def end_all(self, why: str) -> None:
        """Asks all agents to connect elsewhere."""
        for live in list(self._live.values()):
            live.session.end(Refused(RefusedReason.INVALID, why))


def _check(hello: Hello) -> None:
    """Raises RefusedError for a Hello that can't be served."""
    # Unset, it is 0: no agent ever spoke that.
    if not max(1, PROTOCOL_VERSION - 1) <= hello.protocol_version <= PROTOCOL_VERSION:
        older = hello.protocol_version < PROTOCOL_VERSION
        what = "upgrade the agent" if older else "upgrade the coordinator"
        raise RefusedError(
            Refused(
                RefusedReason.VERSION,
                f"the agent speaks protocol version {hello.protocol_version}, this coordinator {PROTOCOL_VERSION} "
                f"and the one before; {what}",
            )
        )
    ids = [("agent_id", hello.agent_id), *(("device_id", d.device_id) for d in hello.devices)]
    for name, value in ids:
        if not validation.is_id(value):
            raise RefusedError(
                Refused(RefusedReason.INVALID, f"{name} {validation.shown(value)} is not an id; {validation.ID_RULE}")
            )
    seen = [d.device_id for d in hello.devices]
    if len(set(seen)) != len(seen):
        raise RefusedError(Refused(RefusedReason.INVALID, "two devices of this agent have the same device_id"))
    if hello.epoch < 1 or hello.credit < 1 or not hello.instance_id:
        raise RefusedError(Refused(RefusedReason.INVALID, "epoch, credit and instance_id must be set"))


def _refusal(hello: Hello, word: OpenWord, stored: int, other: str) -> Refused:
    if word is OpenWord.STALE:
        text = f"epoch {hello.epoch} is not above {stored}, the highest that this agent_id had"
        return Refused(RefusedReason.STALE_EPOCH, text, stored)
    if word is OpenWord.IN_USE:
        text = f"another instance with agent_id {hello.agent_id} is alive; give this host an agent_id of its own"
        return Refused(RefusedReason.AGENT_ID_IN_USE, text, stored)
    device, _, owner = other.partition(" ")
    text = f"device_id {device} belongs to agent {owner}, which is not given up yet; name the device differently"
    return Refused(RefusedReason.DEVICE_ID_IN_USE, text, stored)
