"""Apple: xcrun and what it finds, where the settings have iOS devices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import Target
from qgjob_agent.doctor.asking import ask, located
from qgjob_agent.doctor.findings import Finding, fine, problem, unused, warning

if TYPE_CHECKING:
    from qgjob_agent.doctor.host import Host

_SECONDS = 15.0
_XCODE = "install Xcode, start it once, and `sudo xcode-select -s /Applications/Xcode.app`"


def wants(host: Host) -> bool:
    """Whether the settings have iOS devices of this host."""
    return any(each.platform == "ios" and each.target is not Target.BROWSERSTACK for each in host.config.devices)


async def xcrun(host: Host) -> list[Finding]:
    """Xcode's tools: simctl for simulators, devicectl for phones."""
    check = "apple.xcrun"
    if not wants(host):
        return [unused(check, "no iOS device is in the settings")]
    if host.platform != "darwin":
        return [problem(check, f"iOS devices need macOS, and this is {host.platform}", "run this agent on a Mac")]
    where = located("xcrun", host.environ)
    if where is None:
        return [problem(check, "there is no xcrun", _XCODE)]
    found = []
    for tool in ("simctl", "devicectl"):
        answer = await ask([where, "--find", tool], host.environ, _SECONDS)
        if answer.code == 0:
            found.append(fine(check, answer.first_line, tool))
        else:
            said = "does not answer in time" if answer.code is None else answer.first_line
            found.append(problem(check, f"xcrun does not find it: {said}", _XCODE, tool))
    return found


async def simulators(host: Host) -> list[Finding]:
    """Whether simctl has simulators that could be booted."""
    check = "apple.simulators"
    if not wants(host) or host.platform != "darwin" or (where := located("xcrun", host.environ)) is None:
        return [unused(check, "see apple.xcrun")]
    answer = await ask([where, "simctl", "list", "-j", "devices"], host.environ, _SECONDS)
    if answer.code != 0:
        said = "it does not answer in time" if answer.code is None else answer.first_line
        return [problem(check, f"simctl lists none: {said}", _XCODE)]
    try:
        available = _available(json.loads(answer.output))
    except (ValueError, KeyError, TypeError, AttributeError):
        return [problem(check, "simctl's list can't be read", "see `xcrun simctl list -j devices`")]
    if not available:
        return [warning(check, "none is available", "install a runtime: `xcodebuild -downloadPlatform iOS`")]
    return [fine(check, f"{available} can be booted")]


def _available(listed: dict[str, Any]) -> int:
    """How many iOS simulators of simctl's list can be used."""
    return sum(
        bool(each.get("isAvailable"))
        for runtime, devices in listed["devices"].items()
        if ".iOS-" in runtime
        for each in devices
    )
