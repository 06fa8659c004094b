"""All checks side by side, each within a bound. What is wrong with a check is a finding like any other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qgjob_agent.config import AgentConfig, load_config, unread_settings
from qgjob_agent.doctor import android, android_devices, appium_adb, apple, appwright, browserstack, host, projects
from qgjob_agent.doctor.findings import Finding, fine, problem, warning
from qgjob_agent.doctor.host import Host
from qgjob_agent.errors import AgentError, ConfigErrors
from qgjob_agent.setting_words import ENVIRONMENT

CHECK_SECONDS = 20.0
"""A check that takes longer has hung."""

Check = Callable[[Host], Awaitable[list[Finding]]]

CHECKS: Mapping[str, Check] = {
    "host.state": host.state,
    "host.disk": host.disk,
    "host.command": host.command,
    "android.adb": android.adb,
    "android.devices": android_devices.devices,
    "android.home": android.sdk,
    "apple.xcrun": apple.xcrun,
    "apple.simulators": apple.simulators,
    "browserstack.plan": browserstack.plan,
    "appwright.node": appwright.node,
    "appwright.npm": appwright.npm,
    "appwright.suite": appwright.suite,
    "appwright.projects": projects.projects,
    "appwright.appium": appwright.appium,
    "appwright.drivers": appwright.drivers,
    "appwright.adb": appium_adb.sessions,
}
"""By the check that is told when it breaks."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What is known before anything is looked at: the settings, and what is to be said of them.

    `config` is None where they are wrong. `holder` is the daemon that runs with them.
    """

    config: AgentConfig | None
    findings: tuple[Finding, ...]
    holder: int | None = None


def settle(path: Path | None) -> Settled:
    """Reads an agent's settings, as `agent start` does."""
    try:
        config = load_config(path)
    except AgentError as error:
        wrong = error.errors if isinstance(error, ConfigErrors) else (error,)
        told = tuple(problem("host.settings", str(each), "mend it: the agent does not start so") for each in wrong)
        return Settled(None, told)
    found = [fine("host.settings", _summary(config))]
    found += [
        warning("host.settings", f"{each.name} (from {each.source}) is no setting", each.advice)
        for each in unread_settings()
    ]
    return Settled(config, tuple(found), host.holder(config.state_path))


def _summary(config: AgentConfig) -> str:
    """What agent it is, each setting with its source, and the variables that are settings."""
    number = len(config.device_facts)
    count = "looks for its devices" if config.finds_devices else f"has {number} device{'' if number == 1 else 's'}"
    agent, runner = (f"{getattr(config, name)} (from {config.source_of(name)})" for name in ("agent_id", "runner"))
    by_source: dict[str, list[str]] = {}
    for each in sorted(config.from_environment.values(), key=lambda each: each.source != ENVIRONMENT):
        by_source.setdefault(each.source, []).append(each.name)
    parts = [f"from {source} {_are(names)}" for source, names in by_source.items()]
    return "; ".join([f"agent {agent} {count}, runner {runner}", *parts])


def _are(names: Sequence[str]) -> str:
    return f"{'is' if len(names) == 1 else 'are'} {', '.join(names)}"


async def examine(config: AgentConfig, platform: str = sys.platform) -> list[Finding]:
    """What all checks find, in their order."""
    looked_at = Host(config, platform)
    found = await asyncio.gather(*(bounded(name, check, looked_at) for name, check in CHECKS.items()))
    return [finding for of_check in found for finding in of_check]


async def bounded(name: str, check: Check, looked_at: Host, seconds: float = CHECK_SECONDS) -> list[Finding]:
    """What a check finds; that it hung or broke, where it did."""
    try:
        async with asyncio.timeout(seconds):
            return await check(looked_at)
    except TimeoutError:
        return [warning(name, f"this check did not end within {seconds:g} s", "see what hangs: a program, or a disk")]
    except Exception as error:  # noqa: BLE001 - one that breaks keeps nobody from the others
        text = f"this check failed itself ({type(error).__name__}: {error})"
        return [warning(name, text, "look at what it names; if that is sound, report it")]
