"""The agents of examples/: their files are read by the real settings, and what they start gets what the page says."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import structlog
import yaml

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.config import AgentConfig, load_config
from qgjob_agent.core.events import AttemptEvent, AttemptFinished
from qgjob_agent.core.values import Assignment, DeviceFacts, Outcome, Target
from qgjob_agent.executions.lease_file import LeaseTime
from qgjob_agent.runners.command import CommandRunner, CommandSettings
from qgjob_agent.runners.command_template import PLACEHOLDERS, variables
from tests.fakes.waiting import until

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
PAGE = (ROOT / "docs" / "command-runner.md").read_text("utf-8")
FILES = sorted([*EXAMPLES.glob("agents/*.toml"), *EXAMPLES.glob("*/agent.toml")])
PHONE = DeviceFacts("a1.R5A", "R5A", Target.DEVICE, platform="android")


def load(file: Path, tmp_path: Path) -> AgentConfig:
    """The settings of a file, of a host that has nothing else set; but an account at BrowserStack stands in no file."""
    environ = {"AGENT_ID": "a1", "STATE_DIR": str(tmp_path / "state"), "PATH": os.environ["PATH"]}
    if file.stem == "browserstack":
        environ |= {"BROWSERSTACK_USERNAME": "user", "BROWSERSTACK_ACCESS_KEY": "key"}
    return load_config(file, environ, tmp_path)


@pytest.mark.parametrize("file", FILES, ids=[str(each.relative_to(EXAMPLES)) for each in FILES])
def test_each_file_is_taken_by_the_agent(file: Path, tmp_path: Path) -> None:
    config = load(file, tmp_path)
    assert config.finds_devices or config.devices
    assert config.token is None  # no place for it


def test_there_are_the_hosts_that_labs_have(tmp_path: Path) -> None:
    hosts = {file.stem: load(file, tmp_path) for file in EXAMPLES.glob("agents/*.toml")}
    assert set(hosts) == {"linux-phones", "mac-mini", "browserstack"}
    assert hosts["linux-phones"].adb.enabled
    assert {each.platform for each in hosts["mac-mini"].devices} == {"ios"}
    assert hosts["mac-mini"].apple.udids == tuple(each.udid for each in hosts["mac-mini"].devices)
    mini = hosts["mac-mini"]
    assert mini.adb.enabled
    of = {each: mini.projects.of(*each) for each in (("ios", Target.EMULATOR), ("android", Target.DEVICE))}
    assert list(of.values()) == ["simulator", "android"]
    assert hosts["browserstack"].browserstack.enabled
    assert not {"BROWSERSTACK_USERNAME", "BROWSERSTACK_ACCESS_KEY"} & set(hosts["browserstack"].test_environ)
    assert {each.target for each in hosts["browserstack"].devices} == {Target.BROWSERSTACK}


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[AttemptEvent] = []
        self.output = b""

    def failed(self, error: Exception) -> None:
        raise error

    def not_begun(self, token: str, error: str) -> None:
        raise AssertionError((token, error))

    def report(self, events: list[AttemptEvent]) -> None:
        self.events += events

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        self.output += data


def program(folder: Path, name: str, body: str) -> None:
    """Stands for a tool: says with what it was called, and does what a test of it needs."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f'#!/bin/sh\necho "{name}: $*"\n{body}\n')
    file.chmod(0o755)


async def run_example(name: str, test_path: str, tmp_path: Path, **env: str) -> tuple[AttemptFinished, list[str], Path]:
    """Starts the example's command as an agent does; gives how it ended, what it printed, and the folder it left."""
    shutil.copytree(EXAMPLES / name, tmp_path / name)
    config = load(tmp_path / name / "agent.toml", tmp_path)
    environ = config.test_environ | {"PATH": f"{tmp_path / 'bin'}:{config.test_environ['PATH']}"}
    command = config.command
    assert command.cwd is not None
    settings = CommandSettings(command.argv, command.cwd, environ, 10_000, 0.2, tmp_path / "runs", tmp_path / "lease")
    told = Told()
    runner = CommandRunner(told, settings, lambda: LeaseTime(monotonic_seconds(), 60.0, 0.2), structlog.get_logger())
    runner.start(PHONE, [Assignment("acme~j1", "t1", 1, 1, "a1.R5A", "acme", "shop-1", test_path, env=env)])
    await until(lambda: any(isinstance(each, AttemptFinished) for each in told.events), lambda: str(told.events))
    (output,) = (tmp_path / "runs").glob("*/out")
    await runner.close()
    (finished,) = [each for each in told.events if isinstance(each, AttemptFinished)]
    return finished, told.output.decode().splitlines(), output


async def test_maestro_gets_the_device_its_folder_and_the_variables_of_the_job(tmp_path: Path) -> None:
    written = 'shift 6; mkdir -p "$(dirname "$1")"; echo "<testsuites/>" > "$1"; echo "for $MAESTRO_EMAIL"'
    program(tmp_path / "bin", "maestro", written)
    finished, lines, output = await run_example("maestro", "flows/sign-in.yaml", tmp_path, MAESTRO_EMAIL="ada")
    assert finished.finished.outcome is Outcome.PASSED
    assert lines[0].startswith("maestro: --device R5A test --format junit --output ")
    assert lines[0].endswith(f" --debug-output {output}/maestro flows/sign-in.yaml")
    assert lines[1:] == ["for ada"]
    assert (output / "report.xml").exists()


async def test_detox_gets_an_attached_device_and_its_test_package_once(tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    program(
        tmp_path / "bin",
        "adb",
        f'[ "$3" = shell ] && {{ cat {installed} 2>&-; exit 0; }}; echo com.example.shop > {installed}',
    )
    program(tmp_path / "bin", "npx", 'exit "${CODE:-0}"')
    finished, lines, output = await run_example("detox", "e2e/sign-in.test.js", tmp_path, CODE="1")
    assert finished.finished.outcome is Outcome.TEST_FAILED
    assert [line.split()[0] for line in lines] == ["adb:", "npx:"]
    assert lines[0] == "adb: -s R5A install -r -t build/app-androidTest.apk"
    assert f"--reuse --retries 0 --artifacts-location {output}/detox" in lines[1]
    assert lines[1].endswith(" e2e/sign-in.test.js")
    shutil.rmtree(tmp_path / "detox")
    shutil.rmtree(tmp_path / "runs")
    finished, lines, _ = await run_example("detox", "e2e/sign-in.test.js", tmp_path)
    assert finished.finished.outcome is Outcome.PASSED
    assert [line.split()[0] for line in lines] == ["npx:"]


def test_the_flow_is_one_of_maestro() -> None:
    head, steps = yaml.safe_load_all((EXAMPLES / "maestro" / "flows" / "sign-in.yaml").read_text("utf-8"))
    assert head == {"appId": "com.example.shop"}
    assert all(isinstance(each, (dict, str)) for each in steps)


def test_the_page_names_what_reaches_a_test() -> None:
    rows = re.findall(r"^\| `\{([a-z_]+)\}` \| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(PLACEHOLDERS)
    assert dict(rows) == {name: next(iter(variables({name: ""}))) for name in PLACEHOLDERS}
    (allowed,) = re.findall(r"`command\.env_allow` names: (.*?);", PAGE)
    assert tuple(re.findall(r"`([A-Z_]+)`", allowed)) == AgentConfig(agent_id="a").command.env_allow
