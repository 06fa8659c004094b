"""Devices and agents as people see them: as the store knows them, held as operators said."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, HoldKind, HoldSlot, Target
from qgjob_coordinator.model.fleet import Agent, Device, DeviceInfo, Hold, in_force, over_last
from qgjob_coordinator.policy.feasible import same_target, view
from qgjob_coordinator.policy.health.record import Quarantine, Record
from qgjob_coordinator.policy.snapshot import DeviceView
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.store.fleet import AgentRow, DeviceRow
from qgjob_coordinator.store.store import Store

CACHE_SECONDS = 0.5

_UNHEALTHY = {DeviceHealth.MAINTENANCE: HoldKind.MAINTENANCE, DeviceHealth.BAD: HoldKind.BAD}

_ABLE = (DeviceState.IDLE, DeviceState.BUSY)
_FIT = (DeviceHealth.GOOD, DeviceHealth.UNKNOWN)


class FleetReader:
    """The fleet as it stands; read anew after CACHE_SECONDS."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[AgentRow] = []
        self._devices: list[Device] | None = None
        self._able: dict[Target, tuple[DeviceView, ...]] | None = None
        self._read_at = float("-inf")

    async def rows(self, *, max_age_seconds: float = CACHE_SECONDS) -> list[AgentRow]:
        """Agents with devices, by id, as they were at most so long ago. Raises StoreUnavailableError."""
        if time.monotonic() - self._read_at >= max_age_seconds:
            self._rows = await self._store.fleet.read()
            self._devices = self._able = None
            self._read_at = time.monotonic()
        return self._rows

    async def devices(self, *, max_age_seconds: float = CACHE_SECONDS) -> list[Device]:
        """All devices, by id; shared by all callers, who don't change them."""
        rows = await self.rows(max_age_seconds=max_age_seconds)
        if self._devices is None:
            self._devices = _by_id(rows)
        return self._devices

    async def able(self) -> Mapping[Target, tuple[DeviceView, ...]]:
        """The devices that may take work, now or when they are done, by target."""
        devices = await self.devices()
        if self._able is None:
            able = [view(d) for d in devices if d.state in _ABLE and d.health in _FIT]
            self._able = {target: same_target(target, able) for target in Target}
        return self._able

    async def devices_of(self, agent_id: str) -> list[Device]:
        """The devices of one agent, by id, as they stand. Raises StoreUnavailableError."""
        return _by_id(await self._store.fleet.read([agent_id]))

    async def agents(self) -> list[Agent]:
        """All agents, by id."""
        now = wall_ms()
        return [agent_of(a, now) for a in await self.rows(max_age_seconds=0)]


def _by_id(rows: Sequence[AgentRow]) -> list[Device]:
    now = wall_ms()
    return sorted((device_of(a, d, now) for a in rows for d in a.devices), key=lambda d: d.device_id)


def agent_of(row: AgentRow, now: int) -> Agent:
    """An agent as people see it."""
    state = AgentState.OFFLINE
    if row.state == "open":
        state = AgentState.DRAINING if in_force(row.holds, now) else AgentState.ONLINE
    return Agent(
        row.agent_id,
        state,
        row.facts.get("version", ""),
        row.facts.get("host", ""),
        len(row.devices),
        row.connected_at,
        row.seen_at,
    )


def device_of(agent: AgentRow, row: DeviceRow, now: int) -> Device:
    """A device as people see it.

    An operator's word on its health goes before the quarantine that its failures led to, that before its agent's word.
    It is known to be good when it has done something well.
    """
    holds = in_force((*row.holds, *agent.holds), now)
    record = row.kept.record
    automatic = hold_of(record.quarantine)
    operators = [h for h in holds if h.slot is HoldSlot.HEALTH]
    words = [*operators, automatic] if automatic is not None else operators or _shown(row.info)
    kept = [h for h in holds if h.slot is not HoldSlot.HEALTH]
    told, keeps = over_last((*words, *kept)), over_last(kept)
    if agent.state != "open" or not row.present:
        state = DeviceState.OFFLINE
    elif keeps is not None:
        state = DeviceState(keeps.kind)
    else:
        state = DeviceState.BUSY if row.job_id else DeviceState.IDLE
    online = state is not DeviceState.OFFLINE
    return Device(
        device_id=row.info.device_id,
        agent_id=agent.agent_id,
        udid=row.info.udid,
        target=row.info.target,
        platform=row.info.platform,
        os_version=row.info.os_version,
        model=row.info.model,
        state=state,
        health=DeviceHealth(words[0].kind) if words else _proven(record),
        labels={**row.info.labels, **row.labels},
        reason=told.reason if told is not None else row.info.reason,
        until=told.until if told is not None else None,
        held=told.kind if told is not None else None,
        current_job_id=row.job_id if online else None,
        org_id=row.info.org_id,
        app_version_id=row.info.app_version_id,
        installs=row.installs,
        last_seen_at=agent.seen_at if online else row.seen_at,
    )


def hold_of(quarantine: Quarantine | None) -> Hold | None:
    """The quarantine that failures led to as what keeps a device from work, with the time of its probe."""
    return None if quarantine is None else Hold(HoldKind.BAD, quarantine.reason, quarantine.until)


def _proven(record: Record) -> DeviceHealth:
    return DeviceHealth.GOOD if record.proven else DeviceHealth.UNKNOWN


def _shown(info: DeviceInfo) -> list[Hold]:
    """What an agent says of a device that keeps it from work; when that ends is not known."""
    kind = _UNHEALTHY.get(info.health)
    return [] if kind is None else [Hold(kind, info.reason)]


def as_seen_by(principal: Principal, d: Device) -> Device:
    """A device without what belongs to orgs that the caller does not see."""
    if d.org_id is not None and not principal.sees(d.org_id):
        d = replace(d, org_id=None, app_version_id=None)
    if d.current_job_id is not None and not principal.sees(d.current_job_id.partition("~")[0]):
        d = replace(d, current_job_id=None)
    return d
