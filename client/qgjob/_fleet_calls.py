"""What a client can ask about devices and agents, and tell them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

from qgjob import _wire_fleet, _wire_requests
from qgjob._diagnosis import Diagnosis
from qgjob._failover import Failover
from qgjob._fleet import Agent, AgentPage, Device, DevicePage

DEFAULT_PAGE_SIZE = 100


class FleetCalls:
    """The calls of FleetService."""

    _source: Failover

    async def devices_page(
        self,
        *,
        agent_id: str | None = None,
        target: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> DevicePage:
        """One page of the devices."""
        request = _wire_requests.list_devices(agent_id, target, page_size, page_token)
        return _wire_fleet.read_device_page(await self._source.call("ListDevices", request))

    async def devices(self, *, agent_id: str | None = None, target: str | None = None) -> AsyncGenerator[Device]:
        """All devices, of one agent or one target if given."""
        token: str | None = None
        while True:
            page = await self.devices_page(agent_id=agent_id, target=target, page_token=token)
            for device in page.devices:
                yield device
            token = page.next_page_token
            if token is None:
                return

    async def agents_page(self, *, page_size: int = DEFAULT_PAGE_SIZE, page_token: str | None = None) -> AgentPage:
        """One page of the agents."""
        request = _wire_requests.list_agents(page_size, page_token)
        return _wire_fleet.read_agent_page(await self._source.call("ListAgents", request))

    async def agents(self) -> AsyncGenerator[Agent]:
        """All agents."""
        token: str | None = None
        while True:
            page = await self.agents_page(page_token=token)
            for agent in page.agents:
                yield agent
            token = page.next_page_token
            if token is None:
                return

    async def drain(
        self,
        *,
        agent_id: str | None = None,
        device_id: str | None = None,
        reason: str | None = None,
        until: datetime | None = None,
    ) -> tuple[Device, ...]:
        """Let a device, or all of an agent, finish what runs and take nothing new; holds when this returns."""
        answer = await self._source.call("Drain", _wire_requests.drain(agent_id, device_id, reason, until))
        return tuple(map(_wire_fleet.read_device, answer.devices))

    async def resume(self, *, agent_id: str | None = None, device_id: str | None = None) -> tuple[Device, ...]:
        """End a drain, a maintenance or a quarantine. Sent once, as `reserve`."""
        answer = await self._source.call("Resume", _wire_requests.resume(agent_id, device_id), repeatable=False)
        return tuple(map(_wire_fleet.read_device, answer.devices))

    async def forget_agent(self, agent_id: str) -> tuple[Device, ...]:
        """Forget an agent that is gone for good; its devices as they were. Sent once: repeated, it would be missing.

        Raises ConflictError while it may come back or its leases are to be released.
        """
        request = _wire_requests.forget_agent(agent_id)
        answer = await self._source.call("ForgetAgent", request, repeatable=False)
        return tuple(map(_wire_fleet.read_device, answer.devices))

    async def set_device_health(
        self, device_id: str, health: str, *, reason: str | None = None, until: datetime | None = None
    ) -> Device:
        """An operator's word on a device: `good`, `bad` (quarantine) or `maintenance`."""
        return await self._device("SetDeviceHealth", _wire_requests.set_device_health(device_id, health, reason, until))

    async def reserve(
        self, device_id: str, *, until: datetime, reason: str | None = None, extend: bool = False
    ) -> Device:
        """Keep a device for a person. Sent once: repeated, it could be refused because of itself.

        `extend` gives the reservation that is in force another end, later or earlier, and keeps its reason if none is
        given. Raises ConflictError while a reservation is in force, or with `extend` while none is.
        """
        request = _wire_requests.reserve_device(device_id, until, reason, extend=extend)
        return await self._device("ReserveDevice", request, repeatable=False)

    async def release(self, device_id: str) -> Device:
        """Give a reserved device back. Sent once, as `reserve`."""
        request = _wire_requests.release_device(device_id)
        return await self._device("ReleaseDevice", request, repeatable=False)

    async def set_labels(self, device_id: str, labels: Mapping[str, str]) -> Device:
        """Replace the labels that were set by this call before; those of the agent's configuration stay."""
        request = _wire_requests.set_device_labels(device_id, labels)
        return await self._device("SetDeviceLabels", request)

    async def _device(self, method: str, request: Any, *, repeatable: bool = True) -> Device:
        answer = await self._source.call(method, request, repeatable=repeatable)
        return _wire_fleet.read_device(answer.device)

    async def diagnose(self) -> Diagnosis:
        """What a coordinator finds when it looks at its store, itself, the agents, the devices and the queue."""
        return _wire_fleet.read_diagnosis(await self._source.call("Diagnose", _wire_requests.diagnose()))
