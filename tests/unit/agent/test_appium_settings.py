"""How Appium is started: what its sessions have by themselves, and what tells that it was started otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.config import load_config
from qgjob_agent.runners.appwright.appium_settings import AppiumSettings

ELSEWHERE = {"appium:adbPort": 6000, "appium:remoteAdbHost": "10.0.0.7"}


def settings(**changed: Any) -> AppiumSettings:
    plain = AppiumSettings(("appium", "--port", "{port}"), {"PATH": "/bin"}, Path("/state"), Path("/suite"))
    return replace(plain, **changed)


def test_sessions_that_name_no_adb_server_have_the_agents_one(tmp_path: Path) -> None:
    """Those of plain mode are asked for by AppWright, which knows none."""
    environ = {"AGENT_ID": "a", "RUNNER": "appwright", "APPWRIGHT_PROJECT": "x", "APPWRIGHT_SUITE_DIR": "/srv"}
    environ |= {"ADB_ENABLED": "true", "ADB_HOST": "10.0.0.7", "ADB_PORT": "6000"}
    config = load_config(None, environ, tmp_path)
    made = AppiumSettings.of(config.appwright, config.test_environ, tmp_path, config.adb_server, keep=True)
    *words, option, told = made.words(4723)
    assert words == ["/srv/node_modules/.bin/appium", "--address", "127.0.0.1", "--port", "4723"]
    assert (option, json.loads(told)) == ("--default-capabilities", ELSEWHERE)


@pytest.mark.parametrize(
    "own", [("-dc", "caps.json"), ("--default-capabilities", "{{}}"), ("--default-capabilities=x",)]
)
def test_what_the_template_names_goes_before_that(own: tuple[str, ...]) -> None:
    made = settings(argv=("appium", "--port", "{port}", *own), capabilities=ELSEWHERE)
    assert made.words(1) == ["appium", "--port", "1", *(word.format() for word in own)]


def test_nothing_is_added_where_adb_finds_its_server_by_itself() -> None:
    assert settings().words(1) == ["appium", "--port", "1"]


@pytest.mark.parametrize(
    "changed",
    [
        {"argv": ("appium", "--relaxed-security", "--port", "{port}")},
        {"environ": {"PATH": "/bin", "ANDROID_HOME": "/sdk"}},
        {"suite": Path("/other")},
        {"capabilities": ELSEWHERE},
    ],
)
def test_one_that_was_started_otherwise_has_another_digest(changed: dict[str, Any]) -> None:
    assert settings(**changed).digest != settings().digest
    assert settings(keep=False, environ={"PATH": "/bin"}).digest == settings().digest
