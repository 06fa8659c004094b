"""The devices that the stand-in of adb's server knows: which one is meant, and how they are listed. No I/O."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.adb_server.device import FakeDevice

_UNAUTHORIZED = (
    "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\nOtherwise check for a confirmation dialog on your device."
)
_KINDS = {"any": "device/emulator", "usb": "device", "local": "emulator"}
"""What a kind of connection is called. What adb calls local is all that is not at a cable."""


class RefusedError(Exception):
    """The server's answer is FAIL, with these words."""


class Registry:
    """Devices by serial. Change them here, or call `changed`, where the lists are to show it."""

    def __init__(self, devices: dict[str, FakeDevice]) -> None:
        self.devices = devices
        self.news = asyncio.Event()  # a new one for each change
        self._ids: dict[str, int] = {}
        self._greeted = {serial for serial, device in devices.items() if device.state == "device"}
        self._new: set[str] = set()  # those that are found at this moment
        self._followers: dict[asyncio.Queue[str], bool] = {}  # whether each wants long lists

    # ---- what changes ----

    def add(self, device: FakeDevice) -> None:
        """A device is found. The lists have it as offline, until it has greeted."""
        self.devices[device.serial] = device
        self._ids.pop(device.serial, None)
        self._greeted.discard(device.serial)
        self._new.add(device.serial)
        self.changed()
        self._new.clear()
        self.changed()

    def changed(self) -> None:
        """Tells who follows the list of devices, and who waits for one."""
        ready = {serial for serial, device in self.devices.items() if device.state == "device"} - self._new
        self._greeted = (self._greeted & self.devices.keys()) | ready
        self.news.set()
        self.news = asyncio.Event()
        for queue, long in self._followers.items():
            queue.put_nowait(self.list(long=long))

    # ---- lists ----

    def list(self, *, long: bool) -> str:
        """As `adb devices` has it, or `adb devices -l`."""
        lines = []
        for device in self.devices.values():
            state = "offline" if device.serial in self._new else device.state
            if not long:
                lines.append(f"{device.serial}\t{state}\n")
                continue
            words = f"{device.serial:<22} {state}"
            if device.serial in self._greeted:
                model = device.model.replace(" ", "_")
                words += f" product:{model.lower()} model:{model} device:{model.lower()}"
            lines.append(f"{words} transport_id:{self.id_of(device.serial)}\n")
        return "".join(lines)

    def follow(self, *, long: bool) -> asyncio.Queue[str]:
        """The list now, and at each change. Give it back to `leave`."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        queue.put_nowait(self.list(long=long))
        self._followers[queue] = long
        return queue

    def leave(self, queue: asyncio.Queue[str]) -> None:
        """Nobody reads that any more."""
        del self._followers[queue]

    # ---- which device ----

    def id_of(self, serial: str) -> int:
        """Its transport id: another one each time that it is found."""
        if serial not in self._ids:
            self._ids[serial] = max(self._ids.values(), default=0) + 1
        return self._ids[serial]

    def split_serial(self, text: str) -> tuple[str, str]:
        """A serial, and what follows. It may have a colon in it, as 192.168.1.5:5555 has."""
        for serial in sorted(self.devices, key=len, reverse=True):
            if text.startswith(f"{serial}:"):
                return serial, text[len(serial) + 1 :]
        serial, _, rest = text.partition(":")
        return serial, rest

    def transport(self, service: str) -> FakeDevice:
        """The one that a `host:transport…` or a `host:tport:…` means. Raises RefusedError."""
        for word in ("host:tport:serial:", "host:transport:"):
            if service.startswith(word):
                return self.named(service.removeprefix(word))
        if service.startswith("host:transport-id:"):
            return self.numbered(service.removeprefix("host:transport-id:"))
        return self.only(re.split("[:-]", service)[-1])

    def only(self, kind: str = "any") -> FakeDevice:
        """The only one of a kind: any, usb or local. Raises RefusedError."""
        name = _KINDS.get(kind)
        if name is None:
            raise RefusedError("unknown host service")
        found = list(self._of_kind(kind))
        if len(found) == 1:
            return _ready(found[0])
        if found:
            raise RefusedError(f"more than one {name}")
        raise RefusedError(f"no {'s/'.join(name.split('/'))}s found")

    def _of_kind(self, kind: str) -> Iterator[FakeDevice]:
        for device in self.devices.values():
            local = device.emulator or ":" in device.serial
            if kind == "any" or (kind == "local") == local:
                yield device

    def named(self, serial: str) -> FakeDevice:
        """The one with a serial. Raises RefusedError."""
        if serial not in self.devices:
            raise RefusedError(f"device '{serial}' not found")
        return _ready(self.devices[serial])

    def numbered(self, number: str) -> FakeDevice:
        """The one with a transport id. Raises RefusedError."""
        for device in self.devices.values():
            if str(self.id_of(device.serial)) == number:
                return _ready(device)
        raise RefusedError(f"no device with transport id '{number}'")


def _ready(device: FakeDevice) -> FakeDevice:
    if device.state == "unauthorized":
        raise RefusedError(_UNAUTHORIZED)
    if device.state != "device":
        raise RefusedError(f"device {device.state}")
    return device
