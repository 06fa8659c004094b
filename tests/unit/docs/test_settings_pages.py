"""env.example and examples/agent.toml list the settings that the programs have."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlencode

import pytest
from pydantic import BaseModel

from qgjob.cli import settings as cli_settings
from qgjob.cli.dotenv import Environment
from qgjob.cli.up_settings import Options, StackSettings, agent_environment
from qgjob_agent.config import AgentConfig
from qgjob_agent.config_tables import DeviceConfig
from qgjob_coordinator.config import PREFIX, Settings
from qgjob_coordinator.store import address
from qgjob_coordinator.store.connection import connect

ROOT = Path(__file__).parents[3]
ENV_EXAMPLE = (ROOT / "env.example").read_text(encoding="utf-8")
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
AGENT_TOML = (ROOT / "examples" / "agent.toml").read_text(encoding="utf-8")


def uncommented(text: str) -> str:
    """The file with its example values in force: comments are sentences, settings in comments have an equals sign."""
    return re.sub(r"^# (?=(# )?(\[\[|[a-z_]+ = ))", "", text, flags=re.MULTILINE)


def keys(model: type[BaseModel]) -> dict[str, object]:
    """The names of a model's settings, and those of its tables."""
    found: dict[str, object] = {}
    for name, field in model.model_fields.items():
        if field.exclude:  # worked out at start, not set
            continue
        annotation = field.annotation
        nested = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        found[name] = keys(annotation) if nested else None
    return found


def names(table: dict[str, object]) -> dict[str, object]:
    return {
        name: names(value) if isinstance(value, dict) and name != "labels" else None for name, value in table.items()
    }


def test_agent_toml_names_every_setting_and_no_other():
    listed = tomllib.loads(uncommented(AGENT_TOML))
    devices = listed.pop("devices")
    expected = keys(AgentConfig)
    expected.pop("devices")
    assert names(listed) == expected
    assert names(devices[0]) == keys(DeviceConfig)


def test_what_agent_toml_sets_is_the_default():
    set_there = tomllib.loads(AGENT_TOML)
    defaults = AgentConfig(agent_id="any").model_dump(mode="json")

    def check(table: dict[str, object], default: dict[str, object], path: str) -> None:
        for name, value in table.items():
            if isinstance(value, dict):
                check(value, default[name], f"{path}{name}.")
            else:
                assert value == default[name], f"{path}{name}"

    check(set_there, defaults, "")


def test_the_files_of_the_examples_are_valid():
    for name in ("agent.toml", "agent-demo.toml"):
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        AgentConfig.model_validate(tomllib.loads(text))


def env_section(title: str) -> dict[str, str | None]:
    """The settings of a section; those in comments have no default."""
    _, _, section = ENV_EXAMPLE.partition(f"\n# --- {title}")
    section = section.partition("\n# --- ")[0]
    found = re.findall(r"^(# )?([A-Z_]+)=(.*)$", section, re.MULTILINE)
    return {name: None if comment else value for comment, name, value in found}


def coordinator_names() -> set[str]:
    aliases = [field.validation_alias.choices for field in Settings.model_fields.values()]
    return {str(choices[0]).removeprefix(PREFIX) for choices in aliases}


def test_env_example_names_every_setting_of_the_coordinator_and_no_other():
    assert set(env_section("Coordinator")) == coordinator_names()


def contract_row(program: str) -> str:
    """What the contract's table of settings says of a program."""
    contract = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    settings = contract.partition("\n## Settings\n")[2].partition("\n## ")[0]
    return next(line for line in settings.splitlines() if line.startswith(f"| {program} |"))


def test_the_contract_names_every_setting_of_the_coordinator():
    assert set(re.findall(r"`([A-Z_]+)`", contract_row("coordinator"))) - {"NODE_ENV"} == coordinator_names()


def test_the_contract_names_every_setting_of_the_agent_that_is_in_no_table():
    row = contract_row("agent")
    listed = {name.removeprefix(PREFIX) for name in re.findall(r"`([A-Z_]+)`", row)}
    assert listed == {name.upper() for name, table in keys(AgentConfig).items() if table is None and name != "devices"}


def test_the_contract_says_how_long_an_agent_drains():
    (told,) = re.findall(r"`DRAIN_SECONDS` \((\d+)\)", contract_row("agent"))
    assert AgentConfig(agent_id="any").drain_seconds == float(told)
    settings = StackSettings("127.0.0.1", 3000, 50051, None, "everysec", ROOT)
    assert agent_environment({}, settings, Options(), "agent-1", 1)["QGJOB_DRAIN_SECONDS"] == "0"  # under `up` at once


def test_the_defaults_of_env_example_are_those_of_the_coordinator(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in coordinator_names():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(PREFIX + name, raising=False)
    monkeypatch.delenv("NODE_ENV", raising=False)
    defaults = Settings.load()
    for name, value in env_section("Coordinator").items():
        if value is None:
            assert getattr(defaults, name.lower()) is None
        else:
            monkeypatch.setenv(name, value)
    assert Settings.load() == defaults


def test_the_agent_settings_of_env_example_exist():
    section = env_section("Agents")
    known = {name.upper() for name in AgentConfig.model_fields}
    assert set(section) - {"QGJOB_AGENT_CONFIG"} <= known
    assert AgentConfig(agent_id="any").drain_seconds == float(section["DRAIN_SECONDS"])
    assert AgentConfig(agent_id="any").runner == section["RUNNER"]


def test_the_client_settings_of_env_example_are_those_of_the_cli_with_their_defaults(tmp_path):
    section = env_section("Clients")
    resolved = cli_settings.resolve({}, Environment({}), tmp_path, tmp_path / "none.toml")
    defaults = {f"QGJOB_{setting.name.upper()}": setting.value for setting in resolved}
    assert set(section) == set(defaults)
    for name, listed in section.items():
        assert defaults[name] == listed


@pytest.mark.parametrize("scheme", ["rediss://h:6379", "rediss+sentinel://h:26379/main", "rediss+cluster://h:6379"])
def test_every_option_of_the_stores_url_is_in_the_contract_and_works(scheme: str) -> None:
    rows = [line for line in CONTRACT.splitlines() if re.match(r"\| `(sentinel|ssl)_", line)]
    options = [name for line in rows for name in re.findall(r"`((?:sentinel|ssl)_\w+)`", line.split("|")[1])]
    assert set(address.SENTINEL_OPTIONS) < set(options)
    given = {name: "false" if "hostname" in name else "none" if "reqs" in name else "x" for name in options}
    if "sentinel" not in scheme:
        given = {name: value for name, value in given.items() if name not in address.SENTINEL_OPTIONS}
    where = address.parse(f"{scheme}?{urlencode(given)}")
    url = where.url_of(where.hosts[0]) if where.hosts else where.before
    kept = connect(url, 1).connection_pool.connection_kwargs
    assert {name for name in given if name.startswith("ssl_")} <= kept.keys()
    assert where.sentinel_login == ("x:x@" if "sentinel" in scheme else "")
