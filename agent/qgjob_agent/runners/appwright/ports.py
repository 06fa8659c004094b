"""The ports that the sessions of a device have on this host, held against whoever else has sessions there.

They come in slots: some ports of each kind. Who has a slot listens on the last port of its first kind, and answers
nobody. The kernel lets one do that, of whatever agent, user or version, and gives the port back when the last process
that has it ends, however it ends: the agent, and every supervisor with whose tests it shares the slot.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.listening import LOOPBACK, listens, who_listens
from qgjob_agent.runners.appwright.appium import AppiumError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgjob_agent.core.values import DeviceFacts

MOST_SLOTS = 90
_PORTS_EACH = 10
_FIRSTS = {
    "android": {"appium:systemPort": 18_200, "appium:mjpegServerPort": 19_200, "appium:chromedriverPort": 20_200},
    "ios": {"appium:wdaLocalPort": 21_200, "appium:mjpegServerPort": 22_200},
}
_HELD = _FIRSTS["android"]["appium:systemPort"] + _PORTS_EACH - 1
_SESSIONS_EACH = _PORTS_EACH - 1


class NoPortsError(AppiumError):
    """A device has no ports for its sessions. The message says which ports are taken, by whom, and what to do."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Ports of a device, for as long as `held` is open here or where it was inherited."""

    number: int
    held: socket.socket

    @property
    def ports(self) -> dict[str, dict[str, list[int]]]:
        """What sessions may use; see ports_of."""
        return ports_of(self.number)

    def taken(self, platform: str) -> int | None:
        """The first of its ports for sessions that something listens on; None where all are free."""
        each = (port for first, last in self.ports[platform].values() for port in range(first, last + 1))
        return next((port for port in each if listens(port)), None)


class PortSlots:
    """The slots of an agent's devices: one each, from their first session until they are gone. `numbers`: of which."""

    def __init__(self, log: Any, numbers: Iterable[int] = range(MOST_SLOTS)) -> None:
        self._log = log
        self._numbers = list(numbers)
        self._slots: dict[str, Slot] = {}  # by device

    def of(self, device: DeviceFacts) -> Slot:
        """The slot of a device that has no session now, with ports that are free. Raises NoPortsError.

        A WebDriverAgent goes on between two sessions, on the port that its device has: there that is no other's.
        """
        platform = "ios" if device.platform == "ios" else "android"
        mine = self._slots.get(device.device_id)
        if mine is not None:
            port = None if platform == "ios" else mine.taken(platform)
            if port is None:
                return mine
            self._log.warning("appium_port_taken", device_id=device.device_id, port=port, by=who_listens(port))
            self.leave(device.device_id)
        slot = self._slots[device.device_id] = self._free(device, platform)
        return slot

    def leave(self, device_id: str) -> None:
        """A device is gone. What runs of its tests keeps the slot until it ends."""
        if (slot := self._slots.pop(device_id, None)) is not None:
            slot.held.close()

    def close(self) -> None:
        """All devices are gone from here."""
        for device_id in list(self._slots):
            self.leave(device_id)

    def _free(self, device: DeviceFacts, platform: str) -> Slot:
        held: list[int] = []
        taken: list[int] = []
        for number in self._numbers:
            slot = _hold(number)
            if slot is None:
                held.append(_HELD + _PORTS_EACH * number)
            elif (port := slot.taken(platform)) is not None:
                slot.held.close()
                taken.append(port)
            else:
                return slot
        raise NoPortsError(
            f"no ports are left for the sessions of {device.device_id}: of {len(self._numbers)} slots of this host "
            f"{len(held)} are held for other devices{_first(held)}, {len(taken)} have a port in use{_first(taken)}; "
            "end what has them, or have fewer devices on this host"
        )


def ports_of(number: int) -> dict[str, dict[str, list[int]]]:
    """The ports for sessions in a slot, by platform: the first and the last of each kind. No two slots share one."""
    begin = _PORTS_EACH * number
    return {
        platform: {name: [first + begin, first + begin + _SESSIONS_EACH - 1] for name, first in firsts.items()}
        for platform, firsts in _FIRSTS.items()
    }


def _hold(number: int) -> Slot | None:
    """A slot, if nobody has it. Raises NoPortsError where this host refuses."""
    port = _HELD + _PORTS_EACH * number
    held = socket.socket()
    try:
        held.bind((LOOPBACK, port))
        held.listen(0)
    except OSError as error:
        held.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise NoPortsError(f"port {port} can't be held for a device's sessions: {error.strerror}") from error
    return Slot(number, held)


def _first(ports: list[int]) -> str:
    return f" (port {ports[0]} by {who_listens(ports[0])})" if ports else ""
