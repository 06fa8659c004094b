"""The forwards of the stand-in of adb's server: their names alone, no port is listened on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fakes.adb_server.registry import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fakes.adb_server.device import FakeDevice

_FIRST_PORT = 20_000


def listed(devices: Iterable[FakeDevice]) -> str:
    """As `adb forward --list` has them."""
    return "".join(f"{each.serial} {local} {far}\n" for each in devices for local, far in each.forwards.items())


def forward(device: FakeDevice, what: str) -> str:
    """Makes one of `[norebind:]LOCAL;REMOTE`; gives its port."""
    local, _, remote = what.removeprefix("norebind:").partition(";")
    local = f"tcp:{_FIRST_PORT + len(device.forwards)}" if local == "tcp:0" else local
    device.forwards[local] = remote
    return local.removeprefix("tcp:")


def remove(device: FakeDevice, local: str) -> None:
    """Takes one away. Raises RefusedError."""
    if device.forwards.pop(local, None) is None:
        raise RefusedError(f"listener '{local}' not found")
