"""What is wrong with settings that are each as they may be: what several say together, and what is not on this host."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from qgjob_agent.core.values import Target
from qgjob_agent.device_rules import MAX_DEVICES, first_problem
from qgjob_agent.host.places import Place, look
from qgjob_agent.host.startable import Named, problems
from qgjob_agent.hub_address import Address
from qgjob_agent.runners.appwright.appium_settings import check_words
from qgjob_agent.runners.appwright.projects import kinds_of
from qgjob_agent.runners.command_template import TemplateError, check_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qgjob_agent.config import AgentConfig
    from qgjob_agent.config_reading import Sources
    from qgjob_agent.config_tables import AppwrightConfig
    from qgjob_agent.errors import ConfigError

_MAX_ID = 128
_KINDS = {
    "android": "Android devices",
    "ios": "iPhones and iPads",
    "simulator": "simulators",
    "browserstack": "sessions of the plan",
}


def wrong_together(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """What no single setting can know."""
    low, high = config.simulated.test_seconds
    if low > high:
        problem = "has the longest first; give the shortest and the longest, as in 1,3"
        yield sources.wrong("simulated.test_seconds", [low, high], problem)
    if config.runner == "command":
        try:
            check_template(config.command.argv)
        except TemplateError as error:
            yield sources.wrong("command.argv", list(config.command.argv), f"is no command: {error}")
    if config.runner == "appwright":
        yield from _wrong_appwright(config.appwright, sources, needs_appium=not config.browserstack.enabled)
        yield from _wrong_projects(config, sources)
    if config.browserstack.enabled:
        yield from _wrong_browserstack(config, sources)
    for index, address in enumerate(config.adb.connect):
        if config.adb.serials and address not in config.adb.serials:
            problem = f"has {address!r}, which adb.serials does not name, so that it is left to others; add it there"
            yield sources.wrong(f"adb.connect[{index}]", address, problem)
    for index, device in enumerate(config.devices):
        found = first_problem(device.udid, device.os_version, device.model, device.labels)
        if found is not None:
            name, value, why = found
            yield sources.wrong(f"devices[{index}].{name}", value, why)
    yield from _wrong_ids(config, sources)


def _wrong_appwright(config: AppwrightConfig, sources: Sources, *, needs_appium: bool) -> Iterator[ConfigError]:
    from_suite = config.appium_url is None and any("{suite_dir}" in word for word in config.appium)
    if config.suite_dir is None and needs_appium and from_suite:
        problem = "is not set; name the folder of the test project, or an appwright.appium without {suite_dir}"
        yield sources.wrong("appwright.suite_dir", None, f"{problem}: then jobs bring their suites")
    if config.appium_url is not None:
        try:
            Address.of_url(config.appium_url)
        except ValueError as error:
            problem = f"{error}; give one, as in http://127.0.0.1:4723"
            yield sources.wrong("appwright.appium_url", config.appium_url, problem)
        return
    try:
        check_words(config.appium)
    except ValueError as error:
        yield sources.wrong("appwright.appium", list(config.appium), f"is no command: {error}")


def _wrong_projects(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """A kind of device for which no project is named: one error, where no project is named at all."""
    appwright, projects = config.appwright, config.projects
    if not projects.default and not projects.by_kind:
        problem = f"is empty; name the project in {appwright.config} that this agent's devices run"
        problem += ", or one for each kind of device in [appwright.projects]"
        yield sources.wrong("appwright.project", appwright.project, problem)
        return
    lacking = (kinds_of(*each) for each in device_kinds(config) if not projects.of(*each))
    for kinds in dict.fromkeys(lacking):
        others = "".join(f", and neither is appwright.projects.{kind}" for kind in kinds[1:])
        problem = f"is not set{others}, nor appwright.project for all others"
        problem += f"; name the project in {appwright.config} that {_KINDS[kinds[0]]} run"
        yield sources.wrong(f"appwright.projects.{kinds[0]}", None, problem)


def device_kinds(config: AgentConfig) -> list[tuple[str | None, Target]]:
    """Platform and target of each kind of device that an agent has, or looks for."""
    found: list[tuple[str | None, Target]] = []
    if config.adb.enabled:
        found.append(("android", Target.DEVICE))
    if config.apple.enabled:
        found.append(("ios", Target.EMULATOR))
    if config.apple.enabled and config.apple.physical:
        found.append(("ios", Target.DEVICE))
    if config.browserstack.enabled:
        platforms = [each.platform or config.browserstack.platform for each in config.devices]
        found += [(each, Target.BROWSERSTACK) for each in (config.browserstack.platform, *platforms)]
    found += [(each.platform, each.target) for each in config.device_facts]
    return list(dict.fromkeys(found))


def _wrong_browserstack(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    what = config.browserstack
    for name, value in (("username", what.username), ("access_key", what.access_key)):
        if value is None or not value.get_secret_value().strip():
            problem = "is not set; take it from the account's settings at BrowserStack"
            yield sources.wrong(f"browserstack.{name}", None, problem)
    for name, text in (("model", what.model), ("os_version", what.os_version)):
        if not text:
            problem = "is not set; name a device as BrowserStack lists it, such as Google Pixel 8 with 14.0"
            yield sources.wrong(f"browserstack.{name}", text, problem)
    found = first_problem("browserstack-1", what.os_version, what.model, {})
    if found is not None:
        yield sources.wrong(f"browserstack.{found[0]}", found[1], found[2])
    for name, found_here in (("adb", config.adb.enabled), ("apple", config.apple.enabled)):
        if found_here:
            problem = f"is on, and so is {name}.enabled; start another agent for BrowserStack, with a file of its own"
            yield sources.wrong("browserstack.enabled", True, problem)
    if config.runner != "appwright":
        problem = f'is on, and runner is {config.runner}; sessions of a shared plan want runner = "appwright"'
        yield sources.wrong("browserstack.enabled", True, problem)
    for index, device in enumerate(config.devices):
        if re.fullmatch(r"browserstack-[1-9][0-9]*", device.udid) is None:
            problem = "is no session of the plan; they are browserstack-1, browserstack-2 and so on"
            yield sources.wrong(f"devices[{index}].udid", device.udid, problem)
        elif device.target is not Target.BROWSERSTACK:
            yield sources.wrong(f"devices[{index}].target", device.target.value, "must be browserstack here")


def _wrong_ids(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """Ids that the coordinator would refuse, those included that are made of something else."""
    for index, device in enumerate(config.devices):
        size = len(device.facts(config.agent_id).device_id)
        if size > _MAX_ID:
            problem = f"would make a device_id of {size} characters, and {_MAX_ID} are allowed; set device_id"
            yield sources.wrong(f"devices[{index}].udid", device.udid, problem)
    count = config.simulated.generate.count
    size = len(f"{config.generated_prefix}{count}")
    if count and size > _MAX_ID:
        problem = f"would make device ids of {size} characters, and {_MAX_ID} are allowed; set a shorter one"
        yield sources.wrong("simulated.generate.prefix", config.generated_prefix, problem)
    ids = [facts.device_id for facts in config.device_facts or config.named_devices]
    if not ids and not config.finds_devices:
        ways = "add [[devices]] tables, or enabled = true in [adb], [apple] or [browserstack], to the file of --config"
        problem = f"is empty; {ways}, or use agent_id agent-1 or agent-2 for simulated ones"
        yield sources.wrong("devices", [], problem)
    if len(ids) > MAX_DEVICES:
        problem = f"are more than the {MAX_DEVICES} that one agent may have; start another agent for the rest"
        yield sources.wrong("devices", f"{len(ids)} devices", problem)
    twice = sorted({device_id for device_id in ids if ids.count(device_id) > 1})
    if twice:
        yield sources.wrong("devices", twice, "would be ids of two devices each; give each a device_id of its own")
    udids = [each.udid for each in config.devices] if config.finds_devices else []
    named_twice = sorted({udid for udid in udids if udids.count(udid) > 1})
    if named_twice:
        yield sources.wrong("devices", named_twice, "are udids of two tables each; leave one of the tables out")


def wrong_state_dir(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """Where there can be no state directory, so that `--check` tells it too."""
    path = config.state_path
    nearest = next(each for each in (path, *path.parents) if look(each) in (Place.FOLDER, Place.FILE))
    under = "" if nearest == path else f"under {nearest}, "
    if look(nearest) is Place.FILE:
        why = f"is {under}a file; choose another folder"
    elif not os.access(nearest, os.X_OK):
        may_not = "may not be entered; choose another folder, or open it to this user"
        why = f"is {under}which {may_not}" if under else may_not
    elif not os.access(nearest, os.W_OK):
        why = f"can't be written ({nearest} is another user's); choose another folder"
    else:
        return
    yield sources.wrong("state_dir", str(path), why)


def wrong_on_this_host(config: AgentConfig, sources: Sources, cwd: Path, told: set[str]) -> Iterator[ConfigError]:
    """What the runner's settings name and is not here; `told` are settings that are known to be wrong."""
    appwright = config.appwright
    if config.runner == "command" and "command.argv" not in told:
        named = Named("command.argv", "command.cwd")
        found = problems(config.command.argv, config.command.cwd or cwd, config.test_environ, named)
    elif config.runner == "appwright":
        named = Named("appwright.node", "appwright.suite_dir")
        found = problems((appwright.node,), appwright.suite_dir or cwd, config.test_environ, named)
    else:
        return
    for name, value, why in found:
        yield sources.wrong(name, value, why)
