"""What a device is, and whether it is well, made of what it says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.core.values import DeviceFacts, Health, Target
from qgjob_agent.devices.facts import MB, id_of, shown_labels, shown_model, shown_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgjob_agent.devices.adb.says import Battery

READY = "device"
"""The state in which the adb server lists a device that can be asked."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is the matter with a device, as in `is offline for adb`, and what to do; None: nothing that is known."""

    what: str
    advice: str | None = None

    @property
    def words(self) -> str:
        """Both in one."""
        return self.what if self.advice is None else f"{self.what}: {self.advice}"


_RESTART = "restart it"
_ALLOW = "unlock it and accept the question for USB debugging"
_STATES = {
    "offline": Trouble(
        "is offline for adb", "wait until it has started, or plug it in again, or `adb reconnect offline`"
    ),
    "unauthorized": Trouble("has not allowed this host", _ALLOW),
    "authorizing": Trouble("is being asked to allow this host", _ALLOW),
    "connecting": Trouble("is being connected"),
    "bootloader": Trouble("is in its bootloader", "`fastboot reboot`"),
    "recovery": Trouble("is in recovery mode", _RESTART),
    "rescue": Trouble("is in rescue mode", _RESTART),
    "sideload": Trouble("is in sideload mode", _RESTART),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What a look at a device found. `free_bytes` is None where it does not say; `removable`: ours could make room."""

    state: str
    booted: bool = True
    packages_answer: bool = True
    battery: Battery | None = None
    free_bytes: int | None = None
    removable: bool = False
    silent: str | None = None  # why it did not answer


def is_emulator(serial: str, properties: Mapping[str, str]) -> bool:
    """Whether a device is an emulator, by its serial and what it says; an emulator may be reached as HOST:PORT too."""
    return serial.startswith("emulator-") or any(
        properties.get(name) == "1" for name in ("ro.kernel.qemu", "ro.boot.qemu")
    )


def facts_of(
    serial: str,
    agent_id: str,
    properties: Mapping[str, str],
    named: DeviceFacts | None = None,
    health: tuple[Health, str | None] = (Health.GOOD, None),
    more_labels: Mapping[str, str] | None = None,
) -> DeviceFacts:
    """The facts of a device. What is set of it goes before what it says, and what can't be shown is left out."""
    target = Target.EMULATOR if is_emulator(serial, properties) else Target.DEVICE
    labels = shown_labels({**_labels(properties), **(more_labels or {})})
    return DeviceFacts(
        device_id=id_of(agent_id, serial, named),
        udid=serial,
        target=target if named is None else named.target,
        platform="android",
        os_version=(named and named.os_version) or shown_version(properties.get("ro.build.version.release", "")),
        model=(named and named.model) or shown_model(properties.get("ro.product.model", "")),
        labels=labels if named is None else labels | named.labels,
        health=health[0],
        reason=health[1],
    )


def _labels(properties: Mapping[str, str]) -> dict[str, str | None]:
    avd = properties.get("ro.boot.qemu.avd_name") or properties.get("ro.kernel.qemu.avd_name")
    return {
        "abi": properties.get("ro.product.cpu.abi"),
        "sdk": properties.get("ro.build.version.sdk"),
        "manufacturer": properties.get("ro.product.manufacturer"),
        "avd": avd,
    }


def health_labels(condition: Condition) -> dict[str, str]:
    """Battery and free storage as labels. Rounded, so that they are no news at every look."""
    labels = {}
    if condition.battery is not None and condition.battery.percent is not None:
        labels["battery"] = str(condition.battery.percent // 10 * 10)
    if condition.free_bytes is not None:
        labels["free_gb"] = str(condition.free_bytes // (1000 * MB))
    return labels


def state_trouble(state: str) -> Trouble:
    """What is the matter with a device in a state that is not `device`."""
    if state.startswith("no permissions"):
        return Trouble("may not be opened by this user", "add a udev rule for it, or the user to the group plugdev")
    return _STATES.get(state, Trouble(f"is in the state {state!r} for adb, and takes no work in it"))


def health_of(condition: Condition, min_battery_percent: int, min_free_mb: int) -> tuple[Health, str | None]:
    """Whether a device can be trusted with work; if not, what is the matter and what to do."""
    trouble = trouble_of(condition, min_battery_percent, min_free_mb)
    return (Health.GOOD, None) if trouble is None else (Health.BAD, f"the device {trouble.words}")


def _left(battery: Battery) -> int:
    return 100 if battery.percent is None else battery.percent


def trouble_of(condition: Condition, min_battery_percent: int, min_free_mb: int) -> Trouble | None:
    """Why a device gets no work; None where it does. MB are 1,000,000 bytes."""
    if condition.state != READY:
        return state_trouble(condition.state)
    if condition.silent is not None:
        return Trouble(f"does not answer: {condition.silent}")
    if not condition.booted:
        return Trouble("has not started up yet")
    if not condition.packages_answer:
        return Trouble("has a package manager that does not answer", _RESTART)
    battery, free = condition.battery, condition.free_bytes
    if battery is not None and battery.overheated:
        return Trouble("is too hot", "let it cool down")
    if battery is not None and not battery.powered and _left(battery) < min_battery_percent:
        return Trouble(f"has {battery.percent}% of its battery left and is not charged", "plug it into power")
    if free is not None and free < min_free_mb * MB and not condition.removable:
        what = f"has {free // MB} MB free and needs {min_free_mb}"
        return Trouble(what, "remove from it what is not needed")
    return None
