"""`qgjob agent doctor`: host and coordinator in one report, and whether they agree on the agent's session.

And `qgjob agent install-service`, as far as its options go; the rest is in tests/unit/agent/test_service.py.
"""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.processes import free_port
from qgjob import Agent, AgentState, FindingLevel, NotAuthenticatedError
from qgjob._reach import Peer, Reach
from qgjob.cli.agent_findings import session_told, token_told
from qgjob.cli.doctor_findings import Visit
from qgjob_agent.state_dir import StateDir
from qgjob_proto.v1 import fleet_pb2, types_pb2
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import Command

OK, NOTE, WARNING, PROBLEM = FindingLevel


@pytest.fixture(autouse=True)
def agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The settings of the agent of this host."""
    monkeypatch.setenv("QGJOB_AGENT_ID", "agent-1")
    monkeypatch.setenv("QGJOB_STATE_DIR", str(tmp_path / "state"))


def serves(fake: FakeCoordinator, *agents: types_pb2.Agent, text: str = "its clock is late") -> None:
    ok = types_pb2.FINDING_LEVEL_OK
    answer = fleet_pb2.DiagnoseResponse(level=ok, coordinator="host:1", version="0.1.0", store_epoch=7)
    answer.timestamp.FromDatetime(datetime.now(UTC))
    for subject in ("agent-1", "agent-2"):
        level = types_pb2.FINDING_LEVEL_WARNING
        answer.findings.add(check="agents.clock", level=level, subject=subject, found=text, advice="NTP")

    def change() -> None:
        fake.diagnosis = answer
        fake.agents.update({each.agent_id: each for each in agents})

    fake.in_loop(change)


def test_host_and_coordinator_are_told_together_in_the_shape_of_the_doctor(
    qgjob: Command, fake: FakeCoordinator, tmp_path: Path
) -> None:
    serves(fake, types_pb2.Agent(agent_id="agent-1", state=types_pb2.AGENT_STATE_ONLINE, host=socket.gethostname()))
    held = StateDir.open(tmp_path / "state")
    result = qgjob("agent", "doctor", "-o", "json")
    held.close()
    assert (result.code, result.err) == (0, ""), result.out
    assert list(result.json) == ["count", "findings", "level"]
    found = {each["check"]: each for each in result.json["findings"]}
    assert list(found["host.session"]) == ["check", "level", "subject", "coordinator", "found", "advice"]
    assert [found[check]["level"] for check in ("host.session", "host.token", "host.state", "client.address")] == [
        "ok"
    ] * 4
    # Of what the coordinator says of the fleet only what is of this agent.
    assert [each["subject"] for each in result.json["findings"] if each["check"] == "agents.clock"] == ["agent-1"]
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    table = page.partition("\n## The checks of an agent's doctor\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    listed = {check for cell in cells for check in re.findall(r"`([a-z.]+)`", cell)}
    assert {check for check in found if not check.startswith(("client.", "agents."))} == listed


@pytest.mark.parametrize("output", ["table", "json"])
def test_what_a_coordinator_says_begins_no_command_of_github(
    qgjob: Command, fake: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    serves(fake, text="##[error]pwned")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = qgjob("agent", "doctor", "-o", output)
    assert "pwned" in result.out
    assert "##[" not in result.out + result.err


def test_a_coordinator_that_is_not_there_is_a_problem_and_the_rest_is_told(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGJOB_COORDINATOR", f"127.0.0.1:{free_port()}")
    result = qgjob("agent", "doctor")
    assert result.code == 1
    assert result.out.startswith("problem client.address")
    assert "host.disk" in result.out


def test_the_coordinators_address_is_told_with_where_it_is_from(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('coordinator = "of-file:1"\n')
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("QGJOB_COORDINATOR", address)
    found = {each["check"]: each for each in qgjob("agent", "doctor", f"--config={file}", "-o", "jsonl").lines}
    assert found["client.settings"]["found"] == f"coordinator is {address} (from the environment)"
    assert found["client.address"]["advice"].endswith("the address is from the environment")


def test_wrong_settings_are_told_and_nothing_is_guessed_about_the_rest(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIN_FREE_MB", "-1")
    result = qgjob("agent", "doctor", "-o", "jsonl")
    assert result.code == 1
    assert [(each["check"], each["level"]) for each in result.lines] == [
        ("host.settings", "problem"),
        ("host.session", "note"),
    ]


def an_agent(state: AgentState) -> Agent:
    return Agent("a", state, "0.1.0", "other-host", 2, None, None)


@pytest.mark.parametrize(
    ("holder", "agents", "level"),
    [
        (7, [an_agent(AgentState.ONLINE)], OK),
        (7, [an_agent(AgentState.DRAINING)], OK),
        (7, [an_agent(AgentState.OFFLINE)], PROBLEM),
        (7, [], PROBLEM),
        (None, [an_agent(AgentState.ONLINE)], WARNING),
        (None, [an_agent(AgentState.OFFLINE)], NOTE),
        (None, [], NOTE),
        (7, None, NOTE),
    ],
)
def test_what_runs_here_against_what_the_coordinators_see(
    holder: int | None, agents: list[Agent] | None, level: FindingLevel
) -> None:
    assert session_told("a", holder, agents).level is level


def test_a_token_that_is_refused_is_a_problem() -> None:
    now = datetime.now(UTC)
    visit = Visit("a:1", Reach(Peer.HTTP2), now, now, error=NotAuthenticatedError("no"))
    assert [token_told([visit], has=has).level for has in (True, False)] == [PROBLEM, PROBLEM]
    assert token_told([], has=True).level is OK


def test_install_service_takes_its_options(qgjob: Command, tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("drain_seconds = 5\n")
    shown = qgjob("agent", "install-service", f"--config={file}", "--run-as=lab", "--name=rack-2", "--print")
    assert (shown.code, "User=lab" in shown.out, "TimeoutStopSec=35" in shown.out) == (0, True, True)
    assert "/rack-2.service" in shown.err
    wrong = qgjob("agent", "install-service", f"--config={file}", "--run-as=lab", "--name=../x", "--print")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--name" in wrong.err
    assert qgjob("agent", "install-service").code == 2  # --config is needed
