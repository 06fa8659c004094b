"""Where the adb server is: what tests and Appium's sessions are told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.config import load_config
from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.runners.appwright.capabilities import capabilities_of

PHONE = DeviceFacts("a1.R5", "R5", Target.DEVICE, "android")
IPHONE = DeviceFacts("a1.I5", "I5", Target.DEVICE, "ios")
PORT, ADDRESS = "ANDROID_ADB_SERVER_PORT", "ANDROID_ADB_SERVER_ADDRESS"


@pytest.mark.parametrize("runner", ["command", "appwright"])
@pytest.mark.parametrize(
    ("toml", "variables", "capabilities"),
    [
        ("port = 6000", {}, {}),
        ("enabled = true", {}, {}),
        ('enabled = true\nhost = "localhost"', {}, {}),
        ("enabled = true\nport = 6000", {PORT: "6000"}, {"appium:adbPort": 6000}),
        ('enabled = true\nhost = "10.0.0.7"', {ADDRESS: "10.0.0.7"}, {"appium:remoteAdbHost": "10.0.0.7"}),
        (
            'enabled = true\nhost = "10.0.0.7"\nport = 6000',
            {PORT: "6000", ADDRESS: "10.0.0.7"},
            {"appium:adbPort": 6000, "appium:remoteAdbHost": "10.0.0.7"},
        ),
    ],
)
def test_it_is_told_where_it_is_not_the_one_that_adb_would_look_for(
    tmp_path: Path, runner: str, toml: str, variables: dict[str, str], capabilities: dict[str, Any]
) -> None:
    file = tmp_path / "agent.toml"
    of_runner = {"command": 'argv = ["x"]', "appwright": 'project = "x"\nsuite_dir = "."'}[runner]
    file.write_text(f'runner = "{runner}"\n[{runner}]\n{of_runner}\n[adb]\n{toml}\n')
    config = load_config(file, {"AGENT_ID": "agent-1", "PATH": "/bin"}, tmp_path)
    assert config.test_environ == {"PATH": "/bin"} | variables
    assert capabilities_of(PHONE, None, config.adb_server) == capabilities
    assert capabilities_of(IPHONE, None, config.adb_server) == {}


def test_what_the_settings_say_goes_before_what_the_host_says(tmp_path: Path) -> None:
    environ = {"ADB_ENABLED": "true", "ADB_PORT": "6000", "COMMAND_ENV_ALLOW": PORT, PORT: "7000"}
    environ |= {"AGENT_ID": "agent-1", "RUNNER": "command", "COMMAND_ARGV": "x"}
    assert load_config(None, environ, tmp_path).test_environ == {PORT: "6000"}
