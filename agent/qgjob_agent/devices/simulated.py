"""Devices that exist by configuration. Installing takes real time; what is installed is remembered by the core."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, DeviceFacts, Health, Outcome
from qgjob_agent.devices.faults import SimulatedFaults

if TYPE_CHECKING:
    from qgjob_agent.devices.base import DeviceSink


@dataclass(slots=True)
class _Installation:
    device_id: str
    app_version_id: str
    timer: asyncio.TimerHandle


class SimulatedDevices:
    """A fixed list of devices. `lose` and `restore` inject the loss of one."""

    def __init__(
        self,
        sink: DeviceSink,
        devices: list[DeviceFacts],
        install_seconds: float,
        faults: SimulatedFaults | None = None,
    ) -> None:
        self._sink = sink
        self._devices = {device.device_id: device for device in devices}
        self._lost: set[str] = set()
        self._install_seconds = install_seconds
        self._faults = faults or SimulatedFaults()
        self._installing: dict[str, _Installation] = {}

    at_hand = None
    cloud = None

    async def start(self) -> None:
        """They are there by configuration."""

    def devices(self) -> list[DeviceFacts]:
        """All devices that are there."""
        return [device for device in self._devices.values() if device.device_id not in self._lost]

    def install(self, assignment: Assignment) -> None:
        """Takes the configured time; with none it is done at once, without a timer."""
        if self._install_seconds <= 0:
            self._end_as_it_should(assignment.token, assignment.device_id, assignment.app_version_id)
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._install_seconds, self._installed, assignment.token)
        self._installing[assignment.token] = _Installation(assignment.device_id, assignment.app_version_id, timer)

    def _installed(self, token: str) -> None:
        installation = self._installing.pop(token)
        if installation.device_id in self._lost:
            self._end(token, installation.device_id, Outcome.DEVICE_ERROR, "the device went away")
        else:
            self._end_as_it_should(token, installation.device_id, installation.app_version_id)

    def _end_as_it_should(self, token: str, device_id: str, app_version_id: str) -> None:
        fault = self._faults.of_install(device_id, app_version_id)
        self._end(token, device_id, Outcome.PASSED if fault is None else Outcome.DEVICE_ERROR, fault)

    def _end(self, token: str, device_id: str, outcome: Outcome, error: str | None) -> None:
        install_ms = round(max(self._install_seconds, 0) * 1000)
        self._sink.device(InstallEnded(device_id, token, outcome, install_ms, error))

    def cancel_install(self, token: str) -> None:
        """Stops an installation at once."""
        installation = self._installing.pop(token, None)
        if installation is None:
            return
        installation.timer.cancel()
        ended = InstallEnded(installation.device_id, token, Outcome.DEVICE_ERROR, 0, cancelled=True)
        self._sink.device(ended)

    def probe(self, device_id: str) -> None:
        """A simulated device is well while it is there and no fault shows."""
        there = device_id in self._devices and device_id not in self._lost
        reason = self._faults.of_probe(device_id) if there else "the device is not connected"
        self._sink.device(DeviceProbed(device_id, Health.GOOD if reason is None else Health.BAD, reason))

    def lose(self, device_id: str) -> None:
        """Injects the loss of a device."""
        self._lost.add(device_id)
        self._sink.device(DeviceLost(device_id))

    def restore(self, device_id: str) -> None:
        """Brings a lost device back, with nothing installed."""
        self._lost.discard(device_id)
        self._sink.device(DeviceSeen(self._devices[device_id]))

    async def close(self) -> None:
        """Stops all installations."""
        for installation in self._installing.values():
            installation.timer.cancel()
        self._installing.clear()
