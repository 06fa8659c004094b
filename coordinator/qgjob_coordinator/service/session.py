"""One session of an agent, on the coordinator's side.

Messages of the stream come in as calls; what is to be said goes to `outbox`. Every effect is in the store before it is
acknowledged. What is held in memory here is rebuilt from the agent's Hello, so that a coordinator may die at any instant.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceHealth, ErrorClass, Outcome, Phase, Target
from qgjob_coordinator.model.failures import charge_of, error_class_of
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.policy.snapshot import DeviceView
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.messages import (
    Assign,
    AssignmentOut,
    DeadReport,
    DeathCause,
    Down,
    FinishedReport,
    Held,
    Hello,
    Installed,
    ProgressReport,
    Recall,
    Refused,
    RefusedReason,
    Report,
    ReportAck,
    Revoke,
    StartedReport,
    Verdict,
    HeartbeatAck,
)
from qgjob_coordinator.service.slots import Lease, Slot
from qgjob_coordinator.service.tally import Tally
from qgjob_coordinator.store.fleet import AgentRow, Occupancy
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import DeviceClaim, Ended, Ending, Grant, Release, ReleaseCharge, ReportWord

OUTBOX_MOST = 10_000
"""Messages that may wait for a slow agent; then its session ends and it comes back."""
OCCUPANCY_PAUSE_SECONDS = 0.1
LOST_BEATS = 2
MAX_REPORTS = 500
STORE_RETRY_SECONDS = 0.2

log = structlog.get_logger(__name__)


def wall_ms() -> int:
    """Now, in ms since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Times:
    """The numbers that a session lives by."""

    heartbeat_ms: int
    session_timeout_ms: int
    lease_ms: int
    kill_grace_ms: int
    attempt_timeout_ms: int
    silence_timeout_ms: int


class Session:
    """One life of an agent's stream, by (agent_id, instance_id, epoch)."""

    def __init__(self, hello: Hello, store: Store, hub: Hub, times: Times, tally: Tally, *, log_transitions: bool) -> None:
        self.agent_id = hello.agent_id
        self.epoch = hello.epoch
        self.credit = hello.credit
        self.draining: Hold | None = None
        self.outbox: deque[Down] = deque()
        self.outbox_ready = asyncio.Event()
        self.ended: Refused | None = None
        self.slots: dict[str, Slot] = {}
        self._store = store
        self._hub = hub
        self._times = times
        self._tally = tally
        self._log = log.bind(agent_id=self.agent_id, epoch=self.epoch)
        self._log_transitions = log_transitions
        self._leases: dict[str, Lease] = {}
        self._stray: dict[str, str] = {}
        self._admitted: set[str] = set()
        self._reports: list[Report] = []
        self._reporting: asyncio.Task[None] | None = None
        self._touched: dict[str, Occupancy] = {}
        self._occupying: asyncio.Task[None] | None = None
        self._last_beat = time.monotonic()
        self._closed = False

    # -- what the scheduler asks ---------------------------------------------------------------------------------

    def live(self) -> bool:
        """Whether it may get new work: not ended, and heard of within the session timeout."""
        return not self._closed and (time.monotonic() - self._last_beat) * 1000 < self._times.session_timeout_ms

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        """Devices that would take work now: those that hold at most `refill_at` attempts and that nothing keeps back."""
        if not self.live() or (self.draining is not None and not self.draining.over(now)):
            return []
        room = self.credit - len(self._leases)
        if room <= 0:
            return []
        return [
            slot.view(self.agent_id)
            for slot in self.slots.values()
            if len(slot.leases) <= refill_at and slot.takes_work(now)
        ][:room]

    def views(self) -> list[DeviceView]:
        """All its devices."""
        return [slot.view(self.agent_id) for slot in self.slots.values()]

    @property
    def held_count(self) -> int:
        """Attempts that the agent holds."""
        return len(self._leases)

    async def admit(self, org_id: str) -> bool:
        """Makes sure that the reaper would find this session's leases in the org. False: the session is over."""
        if org_id in self._admitted:
            return True
        if not await self._store.sessions.admit(self.agent_id, self.epoch, [org_id]):
            return False
        self._admitted.add(org_id)
        return True

    def assign(self, org_id: str, claim: DeviceClaim, grants: Sequence[Grant]) -> None:
        """Leases were granted: takes them into the books and tells the agent."""
        slot = self.slots.get(claim.device_id)
        out = []
        for g in grants:
            lease = Lease(org_id, g.ulid, g.token, claim.gid, claim.device_id, g.attempt)
            self._leases[g.token] = lease
            if slot is not None:
                slot.leases[g.token] = lease
            out.append(self._assignment(org_id, claim.device_id, g))
            if self._log_transitions:
                self._log.info(
                    "job_scheduled", job_id=f"{org_id}~{g.ulid}", attempt=g.attempt, device_id=claim.device_id
                )
        self.say(Assign(tuple(out)))
        self._touch(claim.device_id)

    def _assignment(self, org_id: str, device_id: str, g: Grant) -> AssignmentOut:
        spec: dict[str, Any] = g.spec
        return AssignmentOut(
            job_id=f"{org_id}~{g.ulid}",
            token=g.token,
            attempt=g.attempt,
            round=g.round,
            device_id=device_id,
            org_id=org_id,
            app_version_id=spec["a"],
            test_path=spec["p"],
            target=Target(spec["g"]),
            timeout_ms=spec.get("t", self._times.attempt_timeout_ms),
            silence_timeout_ms=self._times.silence_timeout_ms,
            env=spec.get("e", {}),
        )

    def say(self, message: Down) -> None:
        """Queues a message; an agent that does not read loses its session instead of our memory."""
        if len(self.outbox) >= OUTBOX_MOST:
            self.end(Refused(RefusedReason.INVALID, "too many messages wait for this agent; it is to connect again"))
            return
        self.outbox.append(message)
        self.outbox_ready.set()

    def end(self, why: Refused) -> None:
        """Ends the session; the agent is told why."""
        if self.ended is None:
            self.ended = why
            self._closed = True
            self.outbox_ready.set()

    def revoke(self, token: str, reason: str) -> bool:
        """Tells the agent to kill an attempt. False when it does not hold it."""
        if token not in self._leases:
            return False
        self.say(Revoke(token, reason, self._times.kill_grace_ms))
        return True

    # -- connect -------------------------------------------------------------------------------------------------

    async def reconcile(self, hello: Hello) -> tuple[list[str], list[str], list[str]]:
        """Adopts what the agent shows and releases what it doesn't; tokens adopted, not its own, and to be killed."""
        orgs = await self._store.agent_orgs(self.agent_id)
        shown: dict[str, list[Held]] = defaultdict(list)
        for h in hello.held:
            shown[h.org_id].append(h)
        adopted: list[str] = []
        gone: list[str] = []
        revoked: list[str] = []
        if not await self._store.sessions.admit(self.agent_id, self.epoch, sorted(orgs | set(shown))):
            raise StoreUnavailableError("the session was replaced while it was opened")
        self._admitted |= orgs | set(shown)
        for org_id in sorted(orgs | set(shown)):
            rows = shown.get(org_id, [])
            released, words = await self._store.leases.adopt(
                org_id, self.agent_id, self.epoch, [(h.ulid, h.token) for h in rows], wall_ms(), random.random()
            )
            for h, word in zip(rows, words, strict=True):
                if word.value == "GONE":
                    gone.append(h.token)
                    if h.phase is Phase.RUNNING:
                        self._stray[h.token] = h.device_id
                        if h.device_id in self.slots:
                            self.slots[h.device_id].strays.add(h.token)
                    continue
                adopted.append(h.token)
                if word.value == "REVOKED":
                    revoked.append(h.token)
                await self._take_over(h)
            if released:
                self._tally.leases_lost += released
                self._log.warning("leases_released", org_id=org_id, count=released)
                self._hub.work(org_id)
                self._hub.changed(org_id)
        return adopted, gone, revoked

    async def _take_over(self, h: Held) -> None:
        job = (await self._store.reads.get(h.org_id, [h.ulid]))[0]
        if job is None:
            return
        from qgjob_coordinator.store.codec import group_id  # noqa: PLC0415

        lease = Lease(
            h.org_id,
            h.ulid,
            h.token,
            group_id(job.app_version_id, job.target),
            h.device_id,
            h.attempt,
            started=h.phase is not Phase.UNSTARTED,
        )
        self._leases[h.token] = lease
        slot = self.slots.get(h.device_id)
        if slot is not None:
            slot.leases[h.token] = lease
            self._touch(h.device_id)
