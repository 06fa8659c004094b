"""Devices and agents as people see them: as the store knows them, held as operators said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, HoldKind, HoldSlot, Target
from qgjob_coordinator.model.fleet import Agent, Device, DeviceInfo, Hold, in_force, over_last
from qgjob_coordinator.policy.feasible import same_target, view
from qgjob_coordinator.policy.health.record import Quarantine, Record
from qgjob_coordinator.policy.snapshot import DeviceView
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.shared import Shared
from qgjob_coordinator.store.fleet import AgentRow, DeviceRow
from qgjob_coordinator.store.store import Store

CACHE_SECONDS = 0.5

_UNHEALTHY = {DeviceHealth.MAINTENANCE: HoldKind.MAINTENANCE, DeviceHealth.BAD: HoldKind.BAD}

_ABLE = (DeviceState.IDLE, DeviceState.BUSY)
_FIT = (DeviceHealth.GOOD, DeviceHealth.UNKNOWN)


class _Reading:
    """The fleet as it was read once, and what is made of that when somebody asks."""

    def __init__(self, rows: list[AgentRow]) -> None:
        self.rows = rows

    @cached_property
    def devices(self) -> list[Device]:
        return _by_id(self.rows)

    @cached_property
    def able(self) -> Mapping[Target, tuple[DeviceView, ...]]:
        able = [view(d) for d in self.devices if d.state in _ABLE and d.health in _FIT]
        return {target: same_target(target, able) for target in Target}

    @cached_property
    def idle(self) -> tuple[DeviceView, ...]:
        fit = (d for d in self.devices if d.state is DeviceState.IDLE and d.health in _FIT)
        return tuple([view(d)._replace(installed=_build_of(d)) for d in fit])


class FleetReader:
    """The fleet as it stands; read anew after CACHE_SECONDS, once for all who ask meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readings = Shared(self._read, "fleet")

    async def _read(self) -> _Reading:
        return _Reading(await self._store.fleet.read())

    async def rows(self, *, max_age_seconds: float = CACHE_SECONDS) -> list[AgentRow]:
        """Agents with devices, by id, as they were at most so long ago. Raises StoreUnavailableError."""
        return (await self._readings.get(max_age_seconds)).rows

    async def devices(self, *, max_age_seconds: float = CACHE_SECONDS) -> list[Device]:
        """All devices, by id; shared by all callers, who don't change them."""
        return (await self._readings.get(max_age_seconds)).devices

    async def able(self) -> Mapping[Target, tuple[DeviceView, ...]]:
        """The devices that may take work, now or when they are done, by target."""
        return (await self._readings.get(CACHE_SECONDS)).able

    async def idle(self) -> tuple[DeviceView, ...]:
        """The devices that have nothing to do and may take work, with what is installed on them."""
        return (await self._readings.get(CACHE_SECONDS)).idle

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


def _build_of(d: Device) -> tuple[str, str] | None:
    return None if d.org_id is None or d.app_version_id is None else (d.org_id, d.app_version_id)


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
        free_at=row.free_at if online else None,
        org_id=row.info.org_id,
        app_version_id=row.info.app_version_id,
        installs=row.installs,
        last_seen_at=agent.seen_at if online else row.seen_at,
        build_slot=row.info.build_slot,
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
