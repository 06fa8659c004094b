"""The ports that the sessions of a device have on this host, held against whoever else has sessions there.

They come in slots: some ports of each kind. What something else listens on is left out, and the rest of its slot serves
all the same. Who has a slot listens on the last port of its first kind, and answers nobody. The kernel lets one do
that, of whatever agent, user or version, and gives the port back when the last process that has it ends, however it
ends: the agent, and every supervisor with whose tests it shares the slot.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from qgjob_agent.host.listening import LOOPBACK, listens, who_listens
from qgjob_agent.runners.appwright.appium import AppiumError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from qgjob_agent.core.values import DeviceFacts

MOST_SLOTS = 90
_PORTS_EACH = 10
_FIRSTS = {
    "android": {"appium:systemPort": 18_200, "appium:mjpegServerPort": 19_200, "appium:chromedriverPort": 20_200},
    "ios": {"appium:wdaLocalPort": 21_200, "appium:mjpegServerPort": 22_200},
}
_HELD = _FIRSTS["android"]["appium:systemPort"] + _PORTS_EACH - 1
_SESSIONS_EACH = _PORTS_EACH - 1
_FEWEST = {"android": 2, "ios": 1}
"""Of a kind. Android's sessions take turns, since what had a port may need a moment to give it back."""


class NoPortsError(AppiumError):
    """A device has no ports for its sessions. The message says which ports are taken, by whom, and what to do."""

    host_unfit = False  # others may have theirs


Ranges: TypeAlias = dict[str, list[int]]
"""The first and the last port of each kind."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Ports of a device, for as long as `held` is open here or where it was inherited.

    `ports` are those that sessions may use; see ports_of.
    """

    number: int
    held: socket.socket
    ports: dict[str, Ranges]

    def taken(self, platform: str) -> list[int]:
        """Those of its ports for sessions that something listens on, in order."""
        ranges = ports_of(self.number)[platform].values()
        return [port for first, last in ranges for port in range(first, last + 1) if listens(port)]

    def without(self, taken: Collection[int], platform: str) -> Slot | None:
        """The same with others for these ports; None where too few are left of a kind."""
        ranges = free_of(ports_of(self.number)[platform], taken, _FEWEST[platform])
        return None if ranges is None else replace(self, ports=ports_of(self.number) | {platform: ranges})


class PortSlots:
    """The slots of an agent's devices: one each, from their first session until they are gone. `numbers`: of which."""

    def __init__(self, log: Any, numbers: Iterable[int] = range(MOST_SLOTS)) -> None:
        self._log = log
        self._numbers = list(numbers)
        self._slots: dict[str, Slot] = {}  # by device
        self._told: dict[str, set[int]] = {}  # by device, ports in use that were told

    def of(self, device: DeviceFacts) -> Slot:
        """The slot of a device that has no session now, with ports that are free. Raises NoPortsError.

        A WebDriverAgent goes on between two sessions, on the port that its device has: there that is no other's.
        """
        platform = "ios" if device.platform == "ios" else "android"
        mine = self._slots.get(device.device_id)
        if mine is not None and platform == "ios":
            return mine
        if mine is not None:
            taken = mine.taken(platform)
            slot = mine.without(taken, platform)
            self._tell(device, taken)
            if slot is not None:
                self._slots[device.device_id] = slot
                return slot
            self.leave(device.device_id)
        slot = self._slots[device.device_id] = self._free(device, platform)
        return slot

    def _tell(self, device: DeviceFacts, taken: list[int]) -> None:
        """Says which ports are in use, each when it is found to be."""
        told = self._told.get(device.device_id, set())
        if news := [port for port in taken if port not in told]:
            by = who_listens(news[0])
            self._log.warning("appium_port_taken", device_id=device.device_id, port=news[0], by=by, ports=news)
        self._told[device.device_id] = set(taken)

    def leave(self, device_id: str) -> None:
        """A device is gone. What runs of its tests keeps the slot until it ends."""
        self._told.pop(device_id, None)
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
                continue
            in_use = slot.taken(platform)
            found = slot.without(in_use, platform)
            if found is None:
                slot.held.close()
                taken.append(in_use[0])
                continue
            self._tell(device, in_use)
            return found
        raise NoPortsError(
            f"no ports are left for the sessions of {device.device_id}: of {len(self._numbers)} slots of this host "
            f"{len(held)} are held for other devices{_first(held)}, "
            f"{len(taken)} have too many ports in use{_first(taken)}; "
            "end what has them, or have fewer devices on this host"
        )


def ports_of(number: int) -> dict[str, dict[str, list[int]]]:
    """The ports for sessions in a slot, by platform: the first and the last of each kind. No two slots share one."""
    begin = _PORTS_EACH * number
    return {
        platform: {name: [first + begin, first + begin + _SESSIONS_EACH - 1] for name, first in firsts.items()}
        for platform, firsts in _FIRSTS.items()
    }


def free_of(ranges: Ranges, taken: Collection[int], fewest: int) -> Ranges | None:
    """Of each kind the longest row of ports that are not taken, of several the first; None where one is too short."""
    found: Ranges = {}
    for name, (first, last) in ranges.items():
        bounds = [first - 1, *(port for port in range(first, last + 1) if port in taken), last + 1]
        rows = [[before + 1, after - 1] for before, after in pairwise(bounds)]
        found[name] = max(rows, key=lambda row: row[1] - row[0])
        if found[name][1] - found[name][0] + 1 < fewest:
            return None
    return found


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
    return Slot(number, held, ports_of(number))


def _first(ports: list[int]) -> str:
    return f" (port {ports[0]} by {who_listens(ports[0])})" if ports else ""
