"""Snapshot, plan, commit: woken by submissions, by freed devices, and by a timer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.loops.claims import Claims
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.recall import late, recalls
from qgjob_coordinator.policy.proposals import Plan, Recall
from qgjob_coordinator.policy.snapshot import HEADS, DeviceView, GroupView, Limits, Snapshot
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.alternatives import asks
from qgjob_coordinator.service.views.org_looks import OrgLooks
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.snapshots import OrgSnapshot
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry

TIMER_SECONDS = 1.0
"""How long work that no wake-up announced may wait for a round."""
STORE_PAUSE_SECONDS = 0.2
FRUITLESS_MOST = 3
"""Rounds in a row in which an org may be refused everything before the next wake-up is waited for."""
SPARE = 2
"""Heads read of each queue, over what an even spread of the wanted jobs would take."""

log = structlog.get_logger(__name__)


class Scheduler:
    """Plans for the devices whose sessions this coordinator holds."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        hub: Hub,
        fleet: FleetReader,
        telemetry: Telemetry,
        limits: Limits,
        quota: int | None,
        weights: Mapping[str, float] | None = None,
        *,
        faults: OrgFaults,
        log_transitions: bool,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._fleet = fleet
        self._telemetry = telemetry
        self._limits = limits
        self._quota = quota
        self._weights = weights or {}
        self._sight = Sight("round_failed", log)
        self._faults = faults
        self._claims = Claims(store, sessions, telemetry, limits, quota, self._faults, log_transitions=log_transitions)
        self._groups_seen = 0
        self._wake = asyncio.Event()
        # Orgs that may have ready work: heard of since a round left them without any.
        self._look: set[str] = set()
        self._heard_since: set[str] = set()
        # Groups of the other orgs, as they were when a round left these without ready work: what runs, or waits for its
        # time. A refresh looks at all of them again.
        self._unready: dict[str, tuple[GroupView, ...]] = {}
        self._refreshed = self._recalled = float("-inf")
        self._fruitless: Counter[str] = Counter()
        self._round_done = asyncio.Event()
        self._round_done.set()
        self._seen: dict[str, OrgSnapshot] = {}
        self._shown: dict[str, OrgSnapshot] = {}  # what the last round was planned from
        self._looks = OrgLooks(store.snapshots, "scheduler", self._faults)
        # Orgs that did not answer a round, or have damaged data, and the groups of them that were seen last: their
        # builds are in use.
        self._away = Beside(
            "rounds",
            lambda org_id: store.snapshots.org(org_id, limits.batch),
            self._wake.set,
            part="scheduler",
            faults=self._faults,
        )
        self._away_groups: dict[str, tuple[GroupView, ...]] = {}
        hub.on_work(self._heard)
        hub.heads_wanted = self._heads_wanted
        hub.settled = self.settled

    def _heard(self, org_id: str, seen: OrgSnapshot | None = None) -> None:
        if org_id and org_id not in self._away.orgs:
            if seen is not None and org_id not in self._look:
                self._seen[org_id] = seen
            else:
                # Heard of twice before a round: either may be the newer one, so the round looks for itself.
                self._seen.pop(org_id, None)
            self._look.add(org_id)
            self._heard_since.add(org_id)
        self._wake.set()

    def _heads_wanted(self) -> int | None:
        """A submission may bring the snapshot of its org along while nothing else is to be planned."""
        idle = self._round_done.is_set() and not self._look
        return self._limits.batch if idle and self._sessions.any_wanting(wall_ms()) else None

    async def settled(self) -> None:
        """Waits until the round that is under way, if any, has made its claims."""
        await self._round_done.wait()

    async def run(self) -> None:
        """Plans for ever."""
        try:
            while True:
                await self._wait()
                if await self._whole_round():
                    self._wake.set()
        finally:
            await self._away.close()
            await self._claims.close()

    async def _whole_round(self) -> bool:
        self._round_done.clear()
        try:
            return await self.round()
        except StoreUnavailableError as e:
            self._sight.lost(e)
            await asyncio.sleep(STORE_PAUSE_SECONDS)
            return False
        finally:
            self._round_done.set()

    async def _wait(self) -> None:
        if not self._wake.is_set():
            try:
                async with asyncio.timeout(TIMER_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._refreshed = float("-inf")
        self._wake.clear()

    async def _recall(self) -> None:
        """Once a second: takes back what devices hold ahead and should have begun, where something better waits."""
        if time.monotonic() - self._recalled < TIMER_SECONDS:
            return
        self._recalled = time.monotonic()
        now = wall_ms()
        behind = tuple(d for d in self._sessions.serving() if late(d, now))
        if not behind:
            return
        orgs = {d.holds_for[0] for d in behind if d.holds_for is not None} - self._away.orgs
        seen, failed = await self._looks.ask(sorted(orgs), self._limits.batch)
        for org_id, error in failed.items():
            self._set_aside(org_id, error, self._unready.pop(org_id, ()))
        idle = tuple(self._sessions.wanting(0, now))
        told = {o.org_id for o in seen}
        behind = tuple(d for d in behind if d.holds_for is not None and d.holds_for[0] in told)
        if not behind:
            return

        def found(orgs: Sequence[OrgSnapshot]) -> tuple[Recall, ...]:
            return recalls(Snapshot(idle, _groups(orgs), self._limits, now=now, busy=behind))

        try:
            asked = self._faults.computed("plans", seen, found, last=False)
        except OrgDamagedError as e:
            self._leave_out(e)
            return
        for recall in asked:
            live = self._sessions.get(recall.agent_id)
            if live is not None:
                live.recalls.ask(recall.device_id)

    async def round(self) -> bool:
        """One round. True: there may be more to assign at once."""
        await self._recall()
        devices = self._sessions.wanting(self._limits.batch // 2, wall_ms())
        for org_id, seen in self._away.answered():
            del self._away_groups[org_id]
            self._heard(org_id, seen if devices else None)
        if not devices:
            if self._sight.blind:  # nothing is to be asked, but whether the store is back
                await self._store.active_orgs()
                self._sight.seen()
            return False
        self._heard_since.clear()
        refreshed = await self._refresh()
        if not self._look:
            if refreshed:
                self._sight.seen()
            return False
        orgs = await self._snapshots(devices)
        waiting = {o.org_id: sum(g.waiting for g in o.groups) for o in orgs}
        granted = await self._assign(devices, orgs) if any(waiting.values()) else {}
        self._leave([o for o in orgs if waiting[o.org_id] <= granted.get(o.org_id, 0)])
        if refreshed:
            await self._prune([o.org_id for o in orgs if not o.waits])
            self._sight.seen()
        return self._worth_another(waiting, granted)

    def _leave(self, served: list[OrgSnapshot]) -> None:
        """Orgs without ready work are not looked at until they are heard of; that their groups go on is remembered."""
        for org in served:
            if org.org_id not in self._heard_since:
                self._look.discard(org.org_id)
                self._unready[org.org_id] = _without_queues(org)

    def _worth_another(self, waiting: dict[str, int], granted: dict[str, int]) -> bool:
        """Whether some org has work left that was not refused everything a few times in a row."""
        hopeful = False
        for org_id, n in waiting.items():
            self._fruitless[org_id] = 0 if granted.get(org_id) or not n else self._fruitless[org_id] + 1
            if not self._fruitless[org_id]:
                del self._fruitless[org_id]
            hopeful = hopeful or (n > granted.get(org_id, 0) and self._fruitless[org_id] < FRUITLESS_MOST)
        return hopeful

    async def _assign(self, devices: list[DeviceView], orgs: list[OrgSnapshot]) -> dict[str, int]:
        """Plans and commits; jobs granted by org."""
        try:
            proposal = await self._proposal(devices, orgs)
        except OrgDamagedError as e:
            self._leave_out(e)
            self._wake.set()  # for the others
            return {}
        if not proposal.assignments:
            return {}
        granted, damaged = await self._claims.commit(proposal.assignments)
        for error in damaged:
            self._set_aside(error.org_id, error, ())
        return granted

    async def _proposal(self, devices: list[DeviceView], orgs: list[OrgSnapshot]) -> Plan:
        """The plan. Raises OrgDamagedError for an org that can't be planned for."""
        others = tuple(chain(*self._unready.values(), *self._away_groups.values()))
        room = {} if self._quota is None else {o.org_id: max(0, self._quota - o.held) for o in orgs}
        limited = self._quota is not None or self._limits.group_max_devices is not None
        asked = self._faults.computed(
            "plans", orgs, lambda some: asks(_groups(some, others), limited=limited), last=False
        )
        candidates = await self._fleet.able() if asked else {}
        begun = time.perf_counter()
        now, busy = wall_ms(), self._busy(devices)

        def planned(some: Sequence[OrgSnapshot]) -> Plan:
            return plan(
                Snapshot(
                    tuple(devices),
                    _groups(some, others),
                    self._limits,
                    room,
                    candidates,
                    now=now,
                    busy=busy,
                    weights=self._weights,
                    install_seconds=self._store.estimates.install_seconds,
                )
            )

        proposal = self._faults.computed("plans", orgs, planned)
        self._timed((time.perf_counter() - begun) * 1000)
        return proposal

    def _busy(self, free: list[DeviceView]) -> tuple[DeviceView, ...]:
        """Devices that hold attempts and take none now."""
        known = {d.device_id for d in free}
        return tuple(d for d in self._sessions.serving() if d.device_id not in known)

    def _timed(self, ms: float) -> None:
        self._telemetry.plans += 1
        self._telemetry.plan_ms.observe(ms)
        self._telemetry.recent_plan_ms.append(ms)

    async def _refresh(self) -> bool:
        """Looks at all active orgs once a second, whatever was heard. True: it did now."""
        now = time.monotonic()
        if now - self._refreshed < TIMER_SECONDS:
            return False
        active, _ = await asyncio.gather(self._store.active_orgs(), self._store.estimates.read())
        self._look |= active - self._away.orgs
        for org_id in self._unready.keys() - active:
            del self._unready[org_id]
        self._refreshed = now
        return True

    async def _snapshots(self, devices: list[DeviceView]) -> list[OrgSnapshot]:
        wanted = sum(self._limits.batch - d.held for d in devices)
        heads = min(HEADS, max(self._limits.batch, SPARE * wanted // max(1, self._groups_seen)))
        seen, self._seen = self._seen, {}
        before = {org_id: self._unready.pop(org_id, ()) for org_id in self._look}
        orgs = [seen[o] for o in sorted(self._look) if o in seen]
        unseen = [o for o in sorted(self._look) if o not in seen]
        answered, failed = await self._looks.ask(unseen, heads)
        orgs += answered
        for org_id, error in failed.items():
            if isinstance(error, OrgDamagedError):
                self._set_aside(org_id, error, before[org_id])
        away = {org_id: error for org_id, error in failed.items() if isinstance(error, StoreUnavailableError)}
        if away and len(away) == len(failed) and not orgs:
            raise next(iter(away.values()))
        for org_id, error in away.items():
            self._set_aside(org_id, error, before[org_id])
        self._groups_seen = sum(len(o.groups) for o in orgs)
        self._shown = {o.org_id: o for o in orgs}
        return orgs

    def _set_aside(
        self, org_id: str, error: StoreUnavailableError | OrgDamagedError, groups: tuple[GroupView, ...]
    ) -> None:
        """No round waits for the org again until it answered; `groups` is what the last ones had of it, if anything."""
        self._look.discard(org_id)
        shown = self._shown.get(org_id)
        self._away_groups[org_id] = groups or (_without_queues(shown) if shown else ())
        self._away.add(org_id, error)

    def _leave_out(self, error: OrgDamagedError) -> None:
        """No plan can be made with the org, nor with what is remembered of it."""
        self._set_aside(error.org_id, error, ())
        self._away_groups[error.org_id] = ()
        self._unready.pop(error.org_id, None)

    async def _prune(self, idle: list[str]) -> None:
        """Takes orgs without work off the active set, looks again, and adds back those that have some now."""
        if not idle:
            return
        await self._store.mark_idle(idle)
        seen, failed = await self._looks.ask(idle, 0)
        # One that can't be looked at again may have work by now.
        for org_id in [*(again.org_id for again in seen if again.waits), *failed]:
            await self._store.mark_active(org_id)
            self._heard(org_id)


def _without_queues(org: OrgSnapshot) -> tuple[GroupView, ...]:
    """That its groups go on, and nothing of theirs to assign."""
    return tuple([group._replace(queues=()) for group in org.groups])


def _groups(orgs: Sequence[OrgSnapshot], others: tuple[GroupView, ...] = ()) -> tuple[GroupView, ...]:
    return (*chain(*[o.groups for o in orgs]), *others)
