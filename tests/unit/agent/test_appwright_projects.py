"""The project of AppWright's config that a device runs: one for all, or one for each kind of device."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent.config import AgentConfig, load_config
from qgjob_agent.core.values import Target
from qgjob_agent.errors import ConfigError, ConfigErrors

BASE = {"AGENT_ID": "mini-1", "RUNNER": "appwright", "APPWRIGHT_SUITE_DIR": "/"}
MINI = BASE | {"ADB_ENABLED": "true", "APPLE_ENABLED": "true"}
PLAN = BASE | {
    "BROWSERSTACK_ENABLED": "true",
    "BROWSERSTACK_USERNAME": "ada",
    "BROWSERSTACK_ACCESS_KEY": "key",
    "BROWSERSTACK_MODEL": "Google Pixel 8",
    "BROWSERSTACK_OS_VERSION": "14.0",
}
PHONE, EMULATOR = ("android", Target.DEVICE), ("android", Target.EMULATOR)
IPHONE, SIMULATOR = ("ios", Target.DEVICE), ("ios", Target.EMULATOR)
SESSION, IOS_SESSION = ("android", Target.BROWSERSTACK), ("ios", Target.BROWSERSTACK)


def load(tmp_path: Path, environ: dict[str, str], appwright: str = "", more: str = "") -> AgentConfig:
    file = tmp_path / "agent.toml"
    file.write_text(f"[appwright]\n{appwright}\n{more}")
    return load_config(file, environ, tmp_path)


def test_one_project_is_that_of_all_devices(tmp_path: Path) -> None:
    projects = load(tmp_path, MINI, 'project = "all"').projects
    assert {projects.of(*each) for each in (PHONE, EMULATOR, IPHONE, SIMULATOR, SESSION)} == {"all"}


@pytest.mark.parametrize(
    ("device", "project"),
    [
        (PHONE, "phones"),
        (EMULATOR, "phones"),
        ((None, Target.DEVICE), "phones"),  # the build of such a device is Android's too
        (SIMULATOR, "sims"),
        (IPHONE, "iphones"),
        (SESSION, "cloud"),
        (IOS_SESSION, "cloud"),
    ],
)
def test_each_kind_of_device_has_the_project_that_is_named_for_it(
    tmp_path: Path, device: tuple[str | None, Target], project: str
) -> None:
    tables = '[appwright.projects]\nandroid = "phones"\nios = "iphones"\nsimulator = "sims"\nbrowserstack = "cloud"'
    assert load(tmp_path, MINI, "", tables).projects.of(*device) == project


@pytest.mark.parametrize(
    ("named", "device", "project"),
    [
        ('ios = "apples"', SIMULATOR, "apples"),
        ('ios = "apples"', PHONE, "others"),
        ('simulator = "sims"', IPHONE, "others"),
        ('ios = "apples"', IOS_SESSION, "apples"),
        ('simulator = "sims"', IOS_SESSION, "others"),
        ('browserstack = "cloud"', PHONE, "others"),
    ],
)
def test_where_a_kind_has_no_project_the_wider_word_counts_and_then_the_project_of_all(
    tmp_path: Path, named: str, device: tuple[str, Target], project: str
) -> None:
    config = load(tmp_path, MINI, 'project = "others"', f"[appwright.projects]\n{named}")
    assert config.projects.of(*device) == project


def test_the_environment_names_them_too(tmp_path: Path) -> None:
    config = load(tmp_path, MINI | {"APPWRIGHT_PROJECTS_IOS": "apples"}, 'project = "others"')
    assert config.projects.of(*SIMULATOR) == "apples"


def told(tmp_path: Path, environ: dict[str, str], named: str, more: str = "") -> list[str]:
    with pytest.raises((ConfigError, ConfigErrors)) as caught:
        load(tmp_path, environ, "", f"[appwright.projects]\n{named}\n{more}")
    return str(caught.value).splitlines()


IOS_SESSIONS = '[[devices]]\nudid = "browserstack-2"\ntarget = "browserstack"\nplatform = "ios"'


@pytest.mark.parametrize(
    ("environ", "named", "more", "settings"),
    [
        (MINI, "", "", ["appwright.project"]),
        (MINI, 'android = "a"', "", ["appwright.projects.simulator"]),
        (MINI, 'ios = "a"', "", ["appwright.projects.android"]),
        (MINI, 'browserstack = "a"', "", ["appwright.projects.android", "appwright.projects.simulator"]),
        (MINI | {"APPLE_PHYSICAL": "true"}, 'android = "a"\nsimulator = "b"', "", ["appwright.projects.ios"]),
        (PLAN, 'ios = "a"', "", ["appwright.projects.browserstack"]),
        (PLAN, 'android = "a"', IOS_SESSIONS, ["appwright.projects.browserstack"]),
        (BASE | {"AGENT_ID": "agent-2"}, 'android = "a"\nbrowserstack = "b"', "", ["appwright.projects.ios"]),
    ],
)
def test_a_kind_of_device_without_a_project_is_told_at_the_start(
    tmp_path: Path, environ: dict[str, str], named: str, more: str, settings: list[str]
) -> None:
    lines = told(tmp_path, environ, named, more)
    assert [line.partition(":")[0] for line in lines] == settings
    assert all("; name the project in appwright.config.ts that " in line for line in lines)


def test_what_is_said_of_it_names_each_setting_that_would_do(tmp_path: Path) -> None:
    (line,) = told(tmp_path, MINI, 'android = "a"')
    assert line == (
        f"appwright.projects.simulator: nothing (from {tmp_path}/agent.toml) is not set, and neither is "
        "appwright.projects.ios, nor appwright.project for all others; name the project in appwright.config.ts that "
        "simulators run"
    )


@pytest.mark.parametrize("named", ['ios = ""', 'iphone = "a"', "ios = 1"])
def test_a_project_that_is_none_and_a_kind_that_is_none_are_refused(tmp_path: Path, named: str) -> None:
    assert told(tmp_path, MINI | {"APPWRIGHT_PROJECT": "all"}, named)[0].startswith("appwright.projects.")
