"""The table `[browserstack]`: what it needs, what it goes with, and that nobody is shown the account."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent.config import AgentConfig, load_config
from qgjob_agent.core.values import Target
from qgjob_agent.errors import AgentError
from qgjob_agent.setting_names import strays

USER, KEY = "lab_user_x1", "S3cretAccessKey77"
RIGHT = {
    "RUNNER": "appwright",
    "APPWRIGHT_SUITE_DIR": "/srv/tests",
    "APPWRIGHT_PROJECT": "cloud",
    "BROWSERSTACK_ENABLED": "true",
    "BROWSERSTACK_USERNAME": USER,
    "BROWSERSTACK_ACCESS_KEY": KEY,
    "BROWSERSTACK_MODEL": "Google Pixel 8",
    "BROWSERSTACK_OS_VERSION": "14.0",
}
TABLE = f'[browserstack]\nusername = "{USER}"\n'


def load(tmp_path: Path, toml: str = "", **changed: str) -> AgentConfig:
    file = tmp_path / "agent.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n{toml}')
    return load_config(file, RIGHT | {"AGENT_ID": "lab"} | changed, tmp_path)


def test_the_accounts_own_variables_are_enough(tmp_path: Path) -> None:
    config = load(tmp_path, '[[devices]]\nudid = "browserstack-2"\ntarget = "browserstack"\nmodel = "iPhone 15"\n')
    what = config.browserstack
    assert what.username is not None
    assert what.access_key is not None
    assert (what.username.get_secret_value(), what.access_key.get_secret_value()) == (USER, KEY)
    assert what.hub_url == "https://hub.browserstack.com/wd/hub"
    assert config.finds_devices
    assert config.device_facts == []
    (named,) = config.named_devices
    assert (named.device_id, named.target, named.model) == ("lab.browserstack-2", Target.BROWSERSTACK, "iPhone 15")
    assert "BROWSERSTACK_ACCESS_KEY" not in config.test_environ
    assert USER not in repr(config)
    assert KEY not in repr(config)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"BROWSERSTACK_USERNAME": ""}, "browserstack.username: nothing (from {file}) is not set; take it from"),
        ({"BROWSERSTACK_ACCESS_KEY": " "}, "BROWSERSTACK_ACCESS_KEY: '(hidden)' (from the environment) is not set"),
        ({"BROWSERSTACK_MODEL": ""}, "browserstack.model: '' (from {file}) is not set; name a device as BrowserStack"),
        ({"BROWSERSTACK_OS_VERSION": "14 beta"}, "BROWSERSTACK_OS_VERSION: '14 beta' (from the environment) is not a"),
        ({"BROWSERSTACK_SESSIONS": "0"}, "BROWSERSTACK_SESSIONS: '0' (from the environment) is out of range"),
        ({"BROWSERSTACK_API_URL": "ftp://x"}, "BROWSERSTACK_API_URL: 'ftp://x' (from the environment) is no https://"),
        ({"BROWSERSTACK_HUB_URL": "http://hub.example"}, "which would see the account's key; use https"),
        ({"BROWSERSTACK_HUB_URL": "https://a:b@hub.example"}, "has a user or password in it"),
        ({"RUNNER": "command", "COMMAND_ARGV": "true"}, "is on, and runner is command; sessions of a shared plan want"),
        ({"ADB_ENABLED": "true"}, "is on, and so is adb.enabled; start another agent for BrowserStack"),
        (
            {"toml": '[[devices]]\nudid = "phone"\ntarget = "browserstack"\n'},
            "devices[0].udid: 'phone' (from {file}) is no session",
        ),
        ({"toml": '[[devices]]\nudid = "browserstack-1"\ntarget = "device"\n'}, "must be browserstack here"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changed: dict[str, str], says: str) -> None:
    with pytest.raises(AgentError) as refused:
        load(tmp_path, **changed)
    assert says.replace("{file}", str(tmp_path / "agent.toml")) in str(refused.value)
    assert USER not in str(refused.value)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("slip", [f'acess_key = "{KEY}"', f'access_key = ["{KEY}"]', f'user = "{USER}"'])
def test_a_slip_in_the_name_shows_no_secret_either(tmp_path: Path, slip: str) -> None:
    with pytest.raises(AgentError) as refused:
        load(
            tmp_path, TABLE.replace(f'username = "{USER}"', slip), BROWSERSTACK_ACCESS_KEY="", BROWSERSTACK_USERNAME=""
        )
    assert "'(hidden)'" in str(refused.value)
    assert KEY not in str(refused.value)
    assert USER not in str(refused.value)


def test_variables_of_browserstacks_own_tools_are_no_slips() -> None:
    theirs = ["BUILD_NAME", "PROJECT_NAME", "LOCAL", "LOCAL_IDENTIFIER", "APP_ID", "APP_URL_ANDROID", "USERNAME"]
    assert strays([f"BROWSERSTACK_{name}" for name in theirs], [], ".env") == []
