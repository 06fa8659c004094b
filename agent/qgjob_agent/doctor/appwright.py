"""AppWright: node and npm, what the suite has installed, Appium and its drivers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from qgjob_agent.doctor import apple
from qgjob_agent.doctor.asking import Answer, ask, beside, located
from qgjob_agent.doctor.findings import Finding, fine, note, problem, unused, warning
from qgjob_agent.hub_address import Address
from qgjob_agent.runners.appwright.hub import answers
from qgjob_agent.runners.appwright.versions import SuiteError, look_at

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from qgjob_agent.config import AgentConfig
    from qgjob_agent.doctor.host import Host

_SECONDS = 10.0
_APPIUM_SECONDS = 18.0
"""Appium loads all of itself before it says its version."""
_OLDEST_NODE = 18
_ANDROID, _IOS = "uiautomator2", "xcuitest"
_UDID = "QGJOB_UDID"
_OF_APPIUM_2 = {_ANDROID: "3.10.0", _IOS: "7.35.1"}
"""Of each driver one that Appium 2 takes, which AppWright has: the newest ones refuse it."""


def _unused(host: Host, *checks: str) -> list[Finding]:
    return [unused(each, f'runner is "{host.config.runner}"') for each in checks]


async def node(host: Host) -> list[Finding]:
    """The node that starts Playwright."""
    check, config = "appwright.node", host.config.appwright
    if host.config.runner != "appwright":
        return _unused(host, check)
    where = located(config.node, host.config.test_environ, config.suite_dir)
    if where is None:
        path = host.config.test_environ.get("PATH", "")
        return [
            problem(check, f"there is no program {config.node} (PATH: {path})", "install node, or set appwright.node")
        ]
    answer = await ask([where, "--version"], host.config.test_environ, _SECONDS)
    match = re.match(r"v(\d+)\.", answer.output.strip())
    if answer.code != 0 or match is None:
        return [problem(check, f"{where} does not tell its version: {_said(answer)}", "install node again")]
    if int(match[1]) < _OLDEST_NODE:
        text = f"{where} is {answer.first_line}, and Playwright needs {_OLDEST_NODE} or newer"
        return [problem(check, text, "install a newer one")]
    return [fine(check, f"{where}, {answer.first_line}")]


async def npm(host: Host) -> list[Finding]:
    """The npm that installs a suite's packages."""
    check = "appwright.npm"
    if host.config.runner != "appwright":
        return _unused(host, check)
    program = host.config.suites.npm
    where = located(program, host.config.test_environ)
    if where is None:
        what = f"there is no {program}, which installs the packages of suites"
        return [warning(check, what, "install it beside node, or set suites.npm")]
    answer = await ask([where, "--version"], host.config.test_environ, _SECONDS)
    if answer.code != 0:
        return [warning(check, f"{where} does not tell its version: {_said(answer)}", "install it again")]
    return [fine(check, f"{where}, {answer.first_line}")]


async def suite(host: Host) -> list[Finding]:
    """Which AppWright and Playwright the suite has, and whether the fast mode fits them."""
    check, config = "appwright.suite", host.config.appwright
    if host.config.runner != "appwright" or config.suite_dir is None:
        return _unused(host, check)
    folder, in_cloud = config.suite_dir, host.config.browserstack.enabled
    plain, many = config.mode == "plain", _many(host.config)
    return [await beside(lambda: _suite(folder, config.config, plain=plain, in_cloud=in_cloud, many=many))]


def _many(config: AgentConfig) -> frozenset[str]:
    """The drivers of which the settings may have several devices."""
    kinds = ((_ANDROID, config.adb.enabled, config.adb.serials), (_IOS, config.apple.enabled, config.apple.udids))
    return frozenset(driver for driver, enabled, named in kinds if enabled and len(named) != 1)


def _suite(folder: Path, config: str, *, plain: bool, in_cloud: bool, many: Collection[str]) -> Finding:
    check = "appwright.suite"
    if not folder.is_dir():
        return problem(check, f"appwright.suite_dir is {folder}, which is no folder", "name the test project's folder")
    if not (folder / config).is_file():
        return problem(check, f"{folder} has no {config}", "name the config in appwright.config")
    try:
        versions = look_at(folder, plain=plain)
    except SuiteError as error:
        what, _, advice = str(error).partition("; ")
        return problem(check, what, advice or "run `npm ci` in it")
    text = f"AppWright {versions.appwright or 'is not installed'}, Playwright {versions.playwright} in {folder}"
    if versions.why_alone is not None:
        alone = f"{text}: files that come later wait for a process of their own, since {versions.why_alone}"
        return warning(check, alone, "see docs/appwright.md for the versions to pin")
    if versions.why_plain is None:
        return fine(check, text)
    if in_cloud:
        why = f"{text}: {versions.why_plain}, and sessions of a plan want versions that were tried"
        return problem(check, why, "see docs/appwright.md for the versions to pin")
    plain_text = f"{text}: plain mode, which installs the app for each test, since {versions.why_plain}"
    troubles, ways = [plain_text], list[str]()
    if _IOS in many:
        troubles.append("and simulators share port 8100 in it, so that a session on one ends that of another")
        ways.append("name one device in apple.udids, or see docs/appwright.md for the versions to pin")
    if _ANDROID in many and not _names_udid(folder / config):
        troubles.append(
            f"and {config} does not name {_UDID}: an Android project without a udid has its sessions on the first "
            "device that is found, whichever the test is for"
        )
        ways.append(
            f"give the project's device `udid: process.env.{_UDID}` and the provider local-device, or see "
            "docs/appwright.md for the versions to pin"
        )
    if ways:
        return warning(check, "; ".join(troubles), "; ".join(ways))
    if plain:
        return note(check, plain_text)
    return warning(check, plain_text, "see docs/appwright.md for the versions to pin")


def _names_udid(config: Path) -> bool:
    """Whether the variable that names the device stands there. What the config imports may have it too."""
    try:
        return _UDID.encode() in config.read_bytes()
    except OSError:
        return False


async def appium(host: Host) -> list[Finding]:
    """The Appium that is to be started, or the one that somebody else keeps."""
    check, config = "appwright.appium", host.config.appwright
    if host.config.runner != "appwright":
        return _unused(host, check)
    if host.config.browserstack.enabled:
        return [unused(check, "the sessions of this agent's devices are BrowserStack's")]
    if config.appium_url is not None:
        if await answers(Address.of_url(config.appium_url)):
            return [fine(check, f"answers at {config.appium_url}")]
        return [problem(check, f"{config.appium_url} does not answer", "start it there, or mend appwright.appium_url")]
    words = _words(host)
    where = located(words[0], host.config.test_environ, config.suite_dir)
    if where is None:
        advice = "run `npm ci` in the suite, with appium among its packages, or mend appwright.appium"
        return [problem(check, f"there is no program {words[0]}", advice)]
    answer = await ask([where, *words[1:], "--version"], host.config.test_environ, _APPIUM_SECONDS, config.suite_dir)
    if answer.code != 0:
        return [problem(check, f"{where} does not tell its version: {_said(answer)}", "mend appwright.appium")]
    return [fine(check, f"{where}, version {answer.first_line}")]


async def drivers(host: Host) -> list[Finding]:
    """Whether Appium has the drivers of the platforms that the settings have devices of."""
    check, config = "appwright.drivers", host.config.appwright
    if host.config.runner != "appwright":
        return _unused(host, check)
    if host.config.browserstack.enabled:
        return [unused(check, "the sessions of this agent's devices are BrowserStack's")]
    if config.appium_url is not None:
        return [unused(check, "Appium is somebody else's (appwright.appium_url)")]
    wanted = {_ANDROID} if host.config.adb.enabled else set()
    wanted |= {_IOS} if apple.wants(host) else set()
    words = _words(host)
    where = located(words[0], host.config.test_environ, config.suite_dir)
    if where is None:
        return [unused(check, "there is no Appium yet")]
    argv = [where, *words[1:], "driver", "list", "--installed", "--json"]
    answer = await ask(argv, host.config.test_environ, _APPIUM_SECONDS, config.suite_dir)
    try:
        found = json.loads(answer.output) if answer.code == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return [warning(check, f"Appium does not list them: {_said(answer)}", f"see `{' '.join(argv)}`")]
    return judge_drivers(found, wanted, " ".join(words))


def judge_drivers(installed: dict[str, Any], wanted: Collection[str], command: str) -> list[Finding]:
    """Of what `appium driver list --installed --json` says, by driver; `command` is how Appium is called."""
    check = "appwright.drivers"
    found = [
        fine(check, f"{(about if isinstance(about, dict) else {}).get('version') or 'installed'}", name)
        for name, about in installed.items()
    ]
    lacking = sorted(set(wanted) - set(installed))
    found += [problem(check, "is not installed", _how_to_install(name, command), name) for name in lacking]
    return found or [note(check, "none is installed, and no device here needs one")]


def _how_to_install(driver: str, command: str) -> str:
    version = _OF_APPIUM_2[driver]
    return (
        f"have appium-{driver}-driver {version} and appium among the suite's own packages and run `npm ci`, or, for an "
        f"Appium that is not the suite's own, `{command} driver install {driver}@{version}` as the agent's user "
        "(newer ones want Appium 3; see docs/appwright.md)"
    )


def _words(host: Host) -> list[str]:
    """How Appium is called, without the options of its server."""
    config = host.config.appwright
    words = [word.format_map({"port": 0, "suite_dir": config.suite_dir}) for word in config.appium]
    first_option = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    called = words[: max(first_option, 1)]
    return called[:-1] if len(called) > 1 and called[-1] == "server" else called


def _said(answer: Answer) -> str:
    return "no answer in time" if answer.code is None else answer.first_line or f"exit code {answer.code}"
