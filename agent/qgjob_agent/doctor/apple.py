"""Apple: xcrun and what it finds, where the settings have iOS devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.values import Target
from qgjob_agent.devices.apple.says import is_simulator_udid, parse_simulators
from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.doctor.asking import ask, located
from qgjob_agent.doctor.findings import Finding, fine, problem, unused, warning

if TYPE_CHECKING:
    from qgjob_agent.devices.apple.says import Simulator
    from qgjob_agent.doctor.host import Host

_SECONDS = 15.0
_XCODE = "install Xcode, start it once, and `sudo xcode-select -s /Applications/Xcode.app`"


def wants(host: Host) -> bool:
    """Whether the settings have iOS devices of this host."""
    return host.config.apple.enabled or any(
        each.platform == "ios" and each.target is not Target.BROWSERSTACK for each in host.config.devices
    )


async def xcrun(host: Host) -> list[Finding]:
    """Xcode's tools: simctl for simulators, devicectl for phones."""
    check = "apple.xcrun"
    if not wants(host):
        return [unused(check, "no iOS device is in the settings")]
    if host.platform != "darwin":
        return [problem(check, f"iOS devices need macOS, and this is {host.platform}", "run this agent on a Mac")]
    where = _located(host)
    if where is None:
        return [problem(check, f"there is no program {host.config.apple.program}", _XCODE)]
    found = []
    wanted = ("simctl", "devicectl") if _has_phones(host) else ("simctl",)
    for tool in wanted:
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
    if not wants(host) or host.platform != "darwin" or (where := _located(host)) is None:
        return [unused(check, "see apple.xcrun")]
    answer = await ask([where, "simctl", "list", "-j", "devices"], host.environ, _SECONDS)
    if answer.code != 0:
        said = "it does not answer in time" if answer.code is None else answer.first_line
        return [problem(check, f"simctl lists none: {said}", _XCODE)]
    try:
        listed = {each.udid: each for each in parse_simulators(answer.output)}
    except DeviceSilentError:
        return [problem(check, "simctl's list can't be read", "see `xcrun simctl list -j devices`")]
    found = [_named(check, udid, listed.get(udid)) for udid in host.config.apple.udids if is_simulator_udid(udid)]
    available = sum(each.unavailable is None for each in listed.values())
    if not available:
        found.append(warning(check, "none is available", "install a runtime: `xcodebuild -downloadPlatform iOS`"))
    elif not found:
        found.append(fine(check, f"{available} can be booted"))
    return found


def _named(check: str, udid: str, simulator: Simulator | None) -> Finding:
    """Of a simulator that the settings name."""
    if simulator is None:
        return problem(
            check, "no simulator has this udid", "see `xcrun simctl list devices`, and mend apple.udids", udid
        )
    if simulator.unavailable is not None:
        return problem(check, f"it can't be used: {simulator.unavailable}", "install its runtime in Xcode", udid)
    return fine(check, f"{simulator.name}, iOS {simulator.os_version}, {simulator.state}", udid)


def _located(host: Host) -> str | None:
    return located(str(host.config.apple.program), host.environ)


def _has_phones(host: Host) -> bool:
    listed = any(each.platform == "ios" and each.target is Target.DEVICE for each in host.config.devices)
    return host.config.apple.physical or listed
