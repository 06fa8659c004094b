"""What operators may do with devices and agents: hold them, let them go, label them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from qgjob_coordinator.errors import AgentSilentError, ConflictError, InvalidError, NotFoundError
from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, Target
from qgjob_coordinator.model.fleet import Agent, Device, Hold
from qgjob_coordinator.service import pages, validation
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import CACHE_SECONDS, DRAINING, RESERVED, FleetReader, as_seen_by
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.sessions import Sessions
from qgjob_coordinator.store.store import Store

CONFIRM_POLL_SECONDS = 0.02
MAX_HOLD_MS = 366 * 86_400 * 1000


class FleetService:
    """The fleet for its callers. A hold is in force when the call returns."""

    def __init__(
        self,
        store: Store,
        reader: FleetReader,
        sessions: Sessions,
        hub: Hub,
    ) -> None:
        self._store = store
        self._reader = reader
        self._sessions = sessions
        self._hub = hub

    async def agents(self, principal: Principal) -> list[Agent]:
        """All agents."""
        del principal  # every caller may see the fleet
        return await self._reader.agents()

    async def devices(
        self, principal: Principal, agent_id: object, target: Target | None, page_size: object, page_token: object
    ) -> tuple[list[Device], str]:
        """One page of all devices or of an agent's, by id, and the token of the next ("" on the last).

        What is installed by, or runs for, an org that the caller does not see is left out. The first page is as the
        store has it; the next ones may be CACHE_SECONDS old, since a fleet is read as a whole. Raises InvalidError.
        """
        agent = None if agent_id is None else validation.check_id("agent_id", agent_id)
        if agent is not None:
            found = await self._reader.devices_of(agent)
        else:
            found = await self._reader.devices(max_age_seconds=CACHE_SECONDS if page_token else 0)
        wanted = found if target is None else [d for d in found if d.target is target]
        scope = pages.scope("devices", agent or "", target or "")
        page, token = pages.cut(wanted, [d.device_id for d in wanted], page_size, page_token, scope)
        return [as_seen_by(principal, d) for d in page], token

    async def drain(
        self,
        principal: Principal,
        *,
        agent_id: str | None,
        device_id: str | None,
        reason: str | None,
        until: int | None,
    ) -> list[Device]:
        """Nothing new for a device or all of an agent's; what runs goes on."""
        hold = Hold(DRAINING, self._reason(reason), self._until(until))
        return await self._hold(principal, agent_id, device_id, hold)

    async def resume(self, principal: Principal, *, agent_id: str | None, device_id: str | None) -> list[Device]:
        """Ends a drain, a maintenance or a quarantine."""
        if device_id is not None:
            device = await self._find(device_id)
            if device.state is DeviceState.RESERVED:
                raise ConflictError(f"device {device_id} is reserved; use release", field="device_id")
        return await self._hold(principal, agent_id, device_id, None)

    async def set_health(
        self, principal: Principal, device_id: str, health: DeviceHealth | None, reason: str | None, until: int | None
    ) -> Device:
        """An operator's word: good ends what keeps it back; bad and maintenance need a reason."""
        if health is None or health is DeviceHealth.UNKNOWN:
            raise InvalidError("health", "use good, bad or maintenance")
        hold = None
        if health is not DeviceHealth.GOOD:
            if not reason:
                raise InvalidError("reason", f"is required to set a device to {health.value}")
            hold = Hold(health.value, self._reason(reason), self._until(until))
        return (await self._hold(principal, None, device_id, hold))[0]

    async def reserve(self, principal: Principal, device_id: str, until: int | None, reason: str | None) -> Device:
        """Keeps a device for a person until a time."""
        if until is None:
            raise InvalidError("until", "is required: a reservation ends by itself")
        device = await self._find(device_id)
        if device.state is DeviceState.RESERVED:
            raise ConflictError(
                f"device {device_id} is reserved already: {device.reason or 'no reason given'}", field="device_id"
            )
        hold = Hold(RESERVED, self._reason(reason), self._until(until))
        return (await self._hold(principal, None, device_id, hold))[0]

    async def release(self, principal: Principal, device_id: str) -> Device:
        """Ends a reservation."""
        device = await self._find(device_id)
        if device.state is not DeviceState.RESERVED:
            raise ConflictError(f"device {device_id} is not reserved; it is {device.state.value}", field="device_id")
        return (await self._hold(principal, None, device_id, None))[0]

    async def set_labels(self, principal: Principal, device_id: str, labels: Mapping[str, object]) -> Device:
        """Replaces the labels that operators set. Raises InvalidError for one that requirements could not ask for."""
        principal.require_operator()
        checked = validation.check_device_labels("labels", labels)
        await self._find(device_id)
        if not await self._store.fleet.set_labels(device_id, checked):
            raise NotFoundError(f"device {device_id} not found", field="device_id")
        await self._in_force((await self._find(device_id)).agent_id)
        return await self._find(device_id)

    async def _hold(
        self, principal: Principal, agent_id: str | None, device_id: str | None, hold: Hold | None
    ) -> list[Device]:
        principal.require_operator()
        if (agent_id is None) == (device_id is None):
            raise InvalidError("device_id", "give exactly one of device_id and agent_id")
        field, id_ = ("agent_id", agent_id) if agent_id is not None else ("device_id", device_id)
        checked = validation.check_id(field, id_)
        done = await self._store.fleet.set_hold("dv" if agent_id is None else "ag", checked, hold)
        if done is None:
            raise NotFoundError(f"{field.removesuffix('_id')} {checked} not found", field=field)
        await self._in_force(done[1])
        devices = await self._reader.devices(max_age_seconds=0)
        return [d for d in devices if d.device_id == device_id or d.agent_id == agent_id]

    async def _in_force(self, agent_id: str) -> None:
        """Returns when the coordinator that holds the agent's session plans by the new hold."""
        live = self._sessions.get(agent_id)
        if live is not None:
            await live.records.apply()
            return
        wanted = await self._store.fleet.hold_number()
        self._hub.hint(f"holds {agent_id}")
        deadline = time.monotonic() + self._sessions.times.session_timeout_ms / 1000
        while time.monotonic() < deadline:
            rows = await self._store.fleet.read([agent_id])
            if not rows or rows[0].state != "open" or rows[0].holds_seen >= wanted:
                return
            await asyncio.sleep(CONFIRM_POLL_SECONDS)
        raise AgentSilentError(
            f"agent {agent_id}, or the coordinator that holds its session, did not confirm in time; "
            "the change is stored, repeat the call to know when it is in force"
        )

    async def _find(self, device_id: str) -> Device:
        checked = validation.check_id("device_id", device_id)
        for d in await self._reader.devices(max_age_seconds=0):
            if d.device_id == checked:
                return d
        raise NotFoundError(f"device {checked} not found", field="device_id")

    @staticmethod
    def _reason(reason: str | None) -> str | None:
        return validation.check_text("reason", reason) if reason else None

    @staticmethod
    def _until(until: int | None) -> int | None:
        now = wall_ms()
        if until is not None and not now < until <= now + MAX_HOLD_MS:
            raise InvalidError("until", "must be in the future, and within a year")
        return until
