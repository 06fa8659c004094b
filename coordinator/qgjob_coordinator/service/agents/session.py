"""One session of an agent, on the coordinator's side: its books and its outbox.

What stands here is rebuilt from the agent's Hello, so a coordinator may die at any instant. The truth is in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from qgjob_coordinator.model.fleet import DeviceInfo, Hold, in_force
from qgjob_coordinator.policy.snapshot import Asked, DeviceView
from qgjob_coordinator.service.agents.messages import (
    Assign,
    Batch,
    Down,
    Refused,
    RefusedReason,
    Revoke,
)
from qgjob_coordinator.service.agents.slots import Lease, Slot
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.claims import DeviceClaim, Grant
from qgjob_coordinator.store.types.contents import NamedBuild

CLOCK_BEATS = 12
"""So many heartbeats say how an agent's clock stands: one may be late, but not all of a minute."""
OUTBOX_MOST = 10_000
"""Messages that may wait for an agent that does not read; then its session ends and it is to come back."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """The numbers that a session lives by, in ms."""

    heartbeat_ms: int
    session_timeout_ms: int
    lease_ms: int
    kill_grace_ms: int
    attempt_timeout_ms: int
    silence_timeout_ms: int


Planned = tuple[float, int, Asked | None]
"""What a plan knew of a job: the seconds that it is expected to take, its score, and what it asks of its device."""


class Session:
    """One life of an agent's stream, by (agent_id, instance_id, epoch)."""

    def __init__(self, agent_id: str, epoch: int, credit: int, store: Store, times: Times) -> None:
        self.agent_id = agent_id
        self.epoch = epoch
        self.credit = credit
        self.times = times
        self.came_back_below = 0
        """See Opened."""
        self.holds: Sequence[Hold] = ()
        self.slots: dict[str, Slot] = {}
        self.leases: dict[str, Lease] = {}
        self.untold: dict[str, Lease] = {}  # what is over, and the store can't be told: its data are damaged
        self.strays: dict[str, str] = {}  # token the store does not grant -> device that runs it
        self.outbox: deque[Down] = deque()
        self.outbox_ready = asyncio.Event()
        self.refused: Refused | None = None
        self._store = store
        self._admitted: set[str] = set()
        self._last_beat = time.monotonic()
        self._clock: deque[int] = deque(maxlen=CLOCK_BEATS)

    # What the scheduler asks.

    def beat(self) -> None:
        """The agent was heard and its session renewed."""
        self._last_beat = time.monotonic()

    def heard_clock(self, sent_at: int) -> None:
        """A message was made at that time (ms) by the agent's clock."""
        self._clock.append(sent_at - wall_ms())

    @property
    def clock_ahead_ms(self) -> int | None:
        """The agent's clock less this machine's, by the heartbeat that was quickest here of the last ones."""
        return max(self._clock, default=None)

    def silent_ms(self) -> float:
        """How long ago the session was renewed."""
        return (time.monotonic() - self._last_beat) * 1000

    def live(self) -> bool:
        """Whether it may get new work: not ended, and renewed within the session timeout."""
        return self.refused is None and self.silent_ms() < self.times.session_timeout_ms

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        """Devices that would take work now: they hold at most `refill_at` attempts and nothing keeps them back."""
        if not self.live() or in_force(self.holds, now):
            return []
        room = self.credit - len(self.leases)
        if room <= 0:
            return []
        return [
            slot.view(self.agent_id)
            for slot in self.slots.values()
            if slot.wants(refill_at, now) and slot.takes_work(now)
        ][:room]

    def serving(self) -> list[DeviceView]:
        """Devices that hold attempts."""
        return [slot.view(self.agent_id) for slot in self.slots.values() if slot.leases]

    def any_wanting(self, now: int) -> bool:
        """Whether some device that holds nothing would take work now."""
        if not self.live() or in_force(self.holds, now) or len(self.leases) >= self.credit:
            return False
        return any(not slot.leases and slot.takes_work(now) for slot in self.slots.values())

    def views(self) -> list[DeviceView]:
        """All its devices."""
        return [slot.view(self.agent_id) for slot in self.slots.values()]

    @property
    def orgs(self) -> frozenset[str]:
        """The orgs in which it may have leases."""
        return frozenset(self._admitted)

    async def admit(self, org_ids: Sequence[str]) -> bool:
        """Makes sure that the reaper finds this session's leases in the orgs. False: the session is over.

        Once is enough: orgs leave the agent's set only after the session was closed and swept.
        """
        new = [o for o in org_ids if o not in self._admitted]
        if new and not await self._store.sessions.admit(self.agent_id, self.epoch, new):
            return False
        self._admitted.update(new)
        return True

    def assign(
        self,
        org_id: str,
        claim: DeviceClaim,
        grants: Sequence[Grant],
        jobs: Mapping[str, Planned],
        install: float,
        build: NamedBuild | None = None,
    ) -> None:
        """Leases were granted: takes them into the books and tells the agent.

        `jobs` is what the plan knew of them, by ULID; `install` what is to be installed before, in seconds; `build` is
        what the device is to install, where one was pushed.
        """
        now = wall_ms()
        for g in grants:
            lease = Lease(org_id, g.ulid, g.token, claim.gid, claim.device_id, g.attempt, *jobs[g.ulid])
            self.take(lease, now, install)
            install = 0.0
        batch = Batch(org_id, claim.device_id, tuple(grants), None if build is None else build.build)
        self.say(Assign((batch,), self.times.attempt_timeout_ms, self.times.silence_timeout_ms))

    # Books.

    def take(self, lease: Lease, now: int, install: float = 0.0) -> None:
        """An attempt is held by this agent since `now` (ms), behind an installation of so many seconds."""
        self.leases[lease.token] = lease
        slot = self.slots.get(lease.device_id)
        if slot is not None:
            slot.gain(lease, now, install)

    def began(self, token: str, now: int) -> Lease | None:
        """An attempt runs since `now` (ms)."""
        lease = self.leases.get(token)
        if lease is not None and not lease.started:
            lease.started = True
            slot = self.slots.get(lease.device_id)
            if slot is not None:
                slot.begin(token, now)
        return lease

    def booked(self, token: str) -> Lease | None:
        """The attempt that the agent was given, also when it is over and the store can't be told."""
        return self.leases.get(token) or self.untold.get(token)

    def drop(self, token: str, now: int) -> Lease | None:
        """An attempt is over, or its token was a stray's: the device is freed of it, `now` (ms)."""
        lease = self.free(token, now) or self.untold.get(token)
        self.untold.pop(token, None)
        device = self.strays.pop(token, None) if self.strays else None
        if device is not None and device in self.slots:
            self.slots[device].strays.discard(token)
        return lease

    def free(self, token: str, now: int) -> Lease | None:
        """An attempt is over, and its device free of it, `now` (ms); the store can't be told yet."""
        lease = self.leases.pop(token, None)
        if lease is not None:
            self.untold[token] = lease
            slot = self.slots.get(lease.device_id)
            if slot is not None:
                slot.lose(token, now)
        return lease

    def stray(self, token: str, device_id: str) -> None:
        """The agent runs what the store does not grant: the device is not free until its end is reported."""
        self.strays[token] = device_id
        if device_id in self.slots:
            self.slots[device_id].strays.add(token)

    def show(self, info: DeviceInfo) -> Slot:
        """A device appeared or changed."""
        slot = self.slots.get(info.device_id)
        if slot is None:
            slot = self.slots[info.device_id] = Slot(info)
            for lease in self.leases.values():
                if lease.device_id == info.device_id:
                    slot.gain(lease, wall_ms())
            slot.strays.update(token for token, device_id in self.strays.items() if device_id == info.device_id)
        slot.info = info
        slot.labels = {**info.labels, **slot.operator_labels}
        what = (info.org_id, info.app_version_id) if info.org_id and info.app_version_id else None
        slot.install(what, wall_ms(), 0)
        return slot

    # Outbox.

    def say(self, message: Down) -> None:
        """Queues a message; an agent that does not read loses its session instead of our memory."""
        if len(self.outbox) >= OUTBOX_MOST:
            self.end(Refused(RefusedReason.STALE_EPOCH, f"{OUTBOX_MOST} messages wait for this agent; connect again"))
            return
        self.outbox.append(message)
        self.outbox_ready.set()

    def end(self, why: Refused) -> None:
        """Ends the session; the agent is told why."""
        if self.refused is None:
            self.refused = why
            self.outbox_ready.set()

    def revoke(self, token: str, reason: str) -> bool:
        """Tells the agent to kill an attempt. False when it does not hold it."""
        if token not in self.leases:
            return False
        self.say(Revoke(token, reason, self.times.kill_grace_ms))
        return True
