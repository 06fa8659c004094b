"""Reads what simctl and devicectl say in JSON. Pure: what is not understood is left out, and never made up."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from qgjob_agent.devices.packages import PackageSays
from qgjob_agent.devices.refusals import DeviceSilentError

BOOTED, SHUTDOWN = "Booted", "Shutdown"
READY, UNPAIRED, NO_DEVELOPER_MODE = "ready", "unpaired", "no developer mode"
_RUNTIME = re.compile(r"SimRuntime\.iOS-(\d+(?:-\d+)*)$")
_PHONE = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{16}|[0-9a-f]{40}")
_SIMULATOR = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TYPE = "com.apple.CoreSimulator.SimDeviceType."


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator as simctl lists it. `unavailable` is why it can't be used; None where it can."""

    udid: str
    name: str
    state: str
    os_version: str
    model: str
    data_path: str
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Phone:
    """An iPhone or iPad as devicectl lists it. `state` is READY, or what keeps it from being used."""

    udid: str
    name: str
    state: str
    os_version: str
    model: str


def is_simulator_udid(udid: str) -> bool:
    """Whether a udid has the form of a simulator's, which devices' have not."""
    return _SIMULATOR.fullmatch(udid) is not None


def is_apple_udid(udid: str) -> bool:
    """Whether a udid has the form of a simulator's, an iPhone's or an iPad's, and so of no Android device's serial."""
    return is_simulator_udid(udid) or _PHONE.fullmatch(udid) is not None


def parse_simulators(text: str) -> list[Simulator]:
    """What `simctl list devices --json` prints: those of iOS. Errors: DeviceSilentError where it is no such list."""
    try:
        runtimes = json.loads(text)["devices"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceSilentError("`xcrun simctl list` printed no list of devices") from error
    found = []
    for runtime, devices in runtimes:
        version = _RUNTIME.search(runtime)
        if version is not None and isinstance(devices, list):
            found += [_simulator(each, version[1].replace("-", ".")) for each in devices if _text(each, "udid")]
    return found


def _simulator(said: Any, version: str) -> Simulator:
    name = _text(said, "name")
    model = _plain(_text(said, "deviceTypeIdentifier").removeprefix(_TYPE))
    if model == _plain(name):
        model = name  # which has what an identifier may not have
    why = None
    if said.get("isAvailable") is False:
        why = _text(said, "availabilityError") or "its runtime is not there"
    return Simulator(
        _text(said, "udid"), name, _text(said, "state"), version, model or name, _text(said, "dataPath"), why
    )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^A-Za-z0-9]", " ", text).split())


def parse_phones(said: Any) -> list[Phone]:
    """What `devicectl list devices` says: iPhones and iPads that can be reached. Simulators, which later ones list
    too, are left out. Errors: DeviceSilentError where it is no such list.
    """
    devices = _at(said, "result", "devices")
    if not isinstance(devices, list):
        raise DeviceSilentError("`xcrun devicectl list devices` gave no list of devices")
    found = []
    for each in devices:
        hardware, own, link = (_at(each, f"{part}Properties") for part in ("hardware", "device", "connection"))
        physical = _text(hardware, "reality") in ("physical", "")
        if not (physical and _text(hardware, "platform") in ("iOS", "iPadOS") and _text(hardware, "udid")):
            continue
        if _text(link, "tunnelState") == "unavailable":
            continue  # it is known, and not there
        model = _text(hardware, "marketingName") or _text(hardware, "productType")
        found.append(
            Phone(_text(hardware, "udid"), _text(own, "name"), _state(own, link), _text(own, "osVersionNumber"), model)
        )
    return found


def _state(own: Any, link: Any) -> str:
    if _text(link, "pairingState") not in ("paired", ""):
        return UNPAIRED
    return NO_DEVELOPER_MODE if _text(own, "developerModeStatus") == "disabled" else READY


def parse_app(said: Any, package: str) -> PackageSays | None:
    """What `devicectl device info apps` says of an app; None where it is not installed."""
    apps = _at(said, "result", "apps")
    if not isinstance(apps, list):
        raise DeviceSilentError("`xcrun devicectl device info apps` gave no list of apps")
    for each in apps:
        if _text(each, "bundleIdentifier") == package:
            return PackageSays(_text(each, "bundleVersion"), "", _text(each, "url"))
    return None


def devicectl_problem(said: Any) -> str:
    """What devicectl says of its failure, with what lies below it, on one line; empty where it says nothing."""
    words: list[str] = []
    error = _at(said, "error")
    while isinstance(error, dict) and len(words) < 5:
        info = _at(error, "userInfo")
        text = _string(_at(info, "NSLocalizedDescription")) or _string(_at(info, "NSLocalizedFailureReason"))
        mark = f"{_text(error, 'domain')} {error.get('code', '')}".strip()
        more = _string(_at(info, "FunctionName")) or _string(_at(info, "LegacyErrorString"))
        words.append(" ".join(part for part in (text, more, f"({mark})" if mark else "") if part))
        below = _at(info, "NSUnderlyingError")
        error = _at(below, "error") if isinstance(below, dict) and "error" in below else below
    return " ".join(": ".join(words).split())[:500]


def _at(said: Any, *path: str) -> Any:
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return said


def _text(said: Any, name: str) -> str:
    value = _at(said, name)
    return value if isinstance(value, str) else ""


def _string(value: Any) -> str:
    """Texts of an error stand in an object that says of which kind they are."""
    return _text(value, "string") if isinstance(value, dict) else value if isinstance(value, str) else ""
