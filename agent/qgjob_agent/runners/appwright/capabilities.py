"""What Appium is asked for a session beside what AppWright asks: that which is a device's own on this host. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.core.values import DeviceFacts
    from qgjob_agent.devices.adb.server import AdbServer


def capabilities_of(device: DeviceFacts, derived_data: Path | None, adb: AdbServer) -> dict[str, Any]:
    """Of all sessions of a device. `adb` is the server that has the Android ones.

    XCUITest builds WebDriverAgent for each device; two builds in one folder at a time would break each other.
    """
    if device.platform == "android":
        return adb.capabilities()
    if device.platform != "ios" or derived_data is None:
        return {}
    return {"appium:derivedDataPath": str(derived_data / device.device_id)}
