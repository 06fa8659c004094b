"""The command runner in an agent process: what a test sees, how it ends, and what a daemon's death leaves."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_process import AgentProcess, alive
from tests.fakes.coordinator_stub import CoordinatorStub, StubSession, assignment
from tests.fakes.waiting import until

SECRETS = {"QGJOB_TOKEN": "s3cret", "AWS_SECRET": "s3cret"}
TOKEN = "t1"  # noqa: S105 - a lease token


def commanding(folder: Path, stub: CoordinatorStub, script: str, **environ: object) -> AgentProcess:
    """An agent whose attempts run this shell script; braces in it are the shell's."""
    words = script.replace("{", "{{").replace("}", "}}")
    argv = json.dumps(["sh", "-c", words, "sh", "{test_path}"])
    return AgentProcess(folder, QGJOB_COORDINATOR=stub.address, RUNNER="command", COMMAND_ARGV=argv, **environ)


async def run_one(session: StubSession, token: str = TOKEN, **fields: Any) -> pb.Finished:
    session.assign(assignment(token, **fields))
    report = await session.report(token, "finished")
    return report.finished


@pytest.mark.parametrize(
    ("script", "outcome", "error"),
    [
        ("exit 0", types.OUTCOME_PASSED, ""),
        ("echo oh no >&2; exit 3", types.OUTCOME_TEST_FAILED, "exit code 3: oh no"),
        ("kill -SEGV $$", types.OUTCOME_APP_CRASHED, "ended by SIGSEGV"),
    ],
)
async def test_the_exit_gives_the_outcome(tmp_path: Path, script: str, outcome: int, error: str) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script):
        finished = await run_one(await stub.session())
        assert (finished.outcome, finished.error) == (outcome, error)
        assert (finished.result.passed, finished.result.failed) == ((1, 0) if outcome == 1 else (0, 1))
        assert finished.ended_at_ms >= finished.started_at_ms > 0


async def test_a_command_that_is_not_there_is_a_device_error(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, RUNNER="command", COMMAND_ARGV='["/no/such/program"]'),
    ):
        session = await stub.session()
        finished = await run_one(session)
        assert finished.outcome == types.OUTCOME_DEVICE_ERROR
        assert finished.error.startswith("not startable: /no/such/program")
        assert finished.host_unfit
        assert session.reports("t1", "started") == []


@pytest.mark.parametrize(("runner", "labels"), [("command", {"runner": "command"}), ("simulated", {})])
async def test_devices_say_which_runner_their_tests_get(tmp_path: Path, runner: str, labels: dict[str, str]) -> None:
    """So that a job can ask for it, where agents of several kinds share a target."""
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, ":") as agent:
        await stub.session()
        await agent.kill()
        agent.environ["RUNNER"] = runner
        await agent.start()
        session = await stub.session(2)
        assert [dict(each.labels) for each in session.hello.hello.devices] == [labels] * 2


async def test_limits_time_attempts_out(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, "echo up; sleep 60"):
        session = await stub.session()
        hard = await run_one(session, "t1", timeout_ms=300)
        silent = await run_one(session, "t2", silence_timeout_ms=300)
        assert hard.outcome == silent.outcome == types.OUTCOME_TIMED_OUT
        assert "time limit" in hard.error
        assert "printed nothing" in silent.error


async def test_a_test_sees_its_facts_and_no_secret(tmp_path: Path) -> None:
    script = 'env | sort; echo "arg=$1"; pwd'
    async with (
        CoordinatorStub() as stub,
        commanding(tmp_path, stub, script, LANG="C.UTF-8", **SECRETS),
    ):
        session = await stub.session()
        await run_one(session, env={"COLOR": "blue", "PATH": "/bin:/usr/bin", "QGJOB_JOB_ID": "forged"})
        log = session.log_of("t1").decode()
        seen = dict(line.split("=", 1) for line in log.splitlines() if "=" in line)
        assert seen["arg"] == seen["QGJOB_TEST_PATH"] == "tests/t1.spec.js"
        assert (seen["QGJOB_JOB_ID"], seen["QGJOB_ATTEMPT"], seen["QGJOB_ORG_ID"]) == ("acme~t1", "1", "acme")
        assert (seen["QGJOB_DEVICE_ID"], seen["QGJOB_UDID"]) == ("emulator-1", "emulator-5554")
        assert (seen["QGJOB_TARGET"], seen["QGJOB_PLATFORM"]) == ("emulator", "android")
        assert (seen["COLOR"], seen["PATH"], seen["LANG"]) == ("blue", "/bin:/usr/bin", "C.UTF-8")
        assert Path(seen["TMPDIR"]).parent == Path(seen["QGJOB_OUTPUT_DIR"]).parent
        assert str(tmp_path) in log.splitlines()
        assert "s3cret" not in log


def documented_counts() -> str:
    """The example of docs/contract.md, a shell script."""
    page = (Path(__file__).parents[3] / "docs" / "contract.md").read_text(encoding="utf-8")
    part = page.partition("\n## Test commands\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^    (.+)$", part, re.MULTILINE))


async def test_a_test_may_leave_its_own_counts_as_it_is_documented(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, documented_counts()):
        finished = await run_one(await stub.session())
    result = finished.result
    assert finished.outcome == types.OUTCOME_TEST_FAILED
    assert (result.passed, result.failed, result.skipped, result.summary) == (4, 1, 2, "cart: the total is 0")


async def test_output_is_followed_while_the_test_runs(tmp_path: Path) -> None:
    script = f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo second"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.until(lambda: session.log_of("t1") == b"first\n", "the first line is not told")
        (tmp_path / "go").touch()
        await session.report("t1", "finished")
        assert session.log_of("t1") == b"first\nsecond\n"
        assert [chunk.offset for chunk in session.all("log")] == [0, 6]


async def test_a_cancel_kills_the_tree_then_the_next_starts(tmp_path: Path) -> None:
    script = f"setsid sleep 60 & echo $! > {tmp_path}/pid.$QGJOB_JOB_ID; echo up; wait"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script):
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.until(lambda: session.log_of("t1"), "t1 is not up")
        session.send(revoke=pb.Revoke(token=TOKEN, reason="cancelled", grace_ms=200))
        dead = await session.report("t1", "tree_dead")
        assert (dead.tree_dead.cause, dead.tree_dead.started) == (pb.DEATH_CAUSE_REVOKED, True)
        assert not alive(int((tmp_path / "pid.acme~t1").read_text()))
        await session.report("t2", "started")


async def test_nothing_is_left_of_an_attempt_on_the_disk(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, "exit 0") as agent:
        await run_one(await stub.session())
        await until(lambda: not list((agent.state_dir / "executions").iterdir()), "the directory is still there")


# ---- the daemon dies or hangs ----


async def test_a_restarted_daemon_adopts_what_still_runs(tmp_path: Path) -> None:
    script = f"echo $$ >> {tmp_path}/pids; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 5"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await agent.kill()
        await agent.start()
        again = await stub.session(2)
        assert again.epoch > session.epoch
        assert [(shown.token, shown.phase) for shown in again.hello.hello.held] == [("t1", pb.ATTEMPT_PHASE_RUNNING)]
        again.assign(assignment("t2"))
        (tmp_path / "go").touch()
        finished = (await again.report("t1", "finished")).finished
        assert (finished.outcome, finished.error) == (types.OUTCOME_TEST_FAILED, "exit code 5")
        later = await again.report("t2", "finished")
        assert later.finished.started_at_ms >= finished.ended_at_ms  # never two on one device
        assert len((tmp_path / "pids").read_text().split()) == 2


@pytest.mark.parametrize("how", ["an older version is begun", "it has another runner"])
async def test_what_a_restarted_daemon_can_not_read_is_dead_before_it_connects(tmp_path: Path, how: str) -> None:
    """It can't show it, so the coordinator gives the attempt to another device, or to the same one."""
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, f"echo $$ > {tmp_path}/pid; sleep 60; :") as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        told = tmp_path / "pid"
        pid = int(await until(lambda: told.exists() and told.read_text().strip(), "the command does not begin"))
        await agent.kill()
        (spec,) = agent.state_dir.glob("executions/*/spec.json")
        if how == "an older version is begun":
            told = json.loads(spec.read_text())
            told["assignment"]["later"] = 1
            spec.write_text(json.dumps(told))
        else:
            agent.environ["RUNNER"] = "simulated"
        assert alive(pid)
        await agent.start()
        again = await stub.session(2)
        assert not alive(pid)
        assert list(again.hello.hello.held) == []
        await agent.says("execution_not_known")
        await until(lambda: not list(agent.state_dir.glob("executions/*")), "its folder is still there")
        again.assign(assignment("t2"))
        await again.report("t2", "started")


async def test_a_result_from_the_time_without_daemon_is_shown_as_spooled(tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 5"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await agent.kill()
        (tmp_path / "go").touch()
        await until(lambda: list(agent.state_dir.glob("executions/*/result.json")), "no result")
        await agent.start()
        again = await stub.session(2)
        assert [(shown.token, shown.phase) for shown in again.hello.hello.held] == [("t1", pb.ATTEMPT_PHASE_SPOOLED)]
        assert (await again.report("t1", "finished")).finished.outcome == types.OUTCOME_TEST_FAILED


async def test_a_restarted_daemon_can_cancel_what_it_adopted(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, "sleep 60") as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await agent.kill()
        stub.revoke = {"t1"}
        await agent.start()
        again = await stub.session(2)
        assert (await again.report("t1", "tree_dead")).tree_dead.cause == pb.DEATH_CAUSE_REVOKED


async def test_a_tree_without_supervisor_and_daemon_is_hunted_before_the_device_is_free(tmp_path: Path) -> None:
    script = f"setsid sleep 60 & echo $! > {tmp_path}/pid.$QGJOB_JOB_ID; echo up; [ $QGJOB_JOB_ID = acme~t2 ] || wait"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.until(lambda: session.log_of("t1"), "t1 is not up")
        await agent.kill()
        lock = next(agent.state_dir.glob("executions/*/lock"))
        os.kill(int(lock.read_text()), signal.SIGKILL)
        await agent.start()
        again = await stub.session(2)
        dead = (await again.report("t1", "tree_dead")).tree_dead
        assert (dead.cause, dead.started) == (pb.DEATH_CAUSE_AGENT_LOST, True)
        assert not alive(int((tmp_path / "pid.acme~t1").read_text()))
        assert (await run_one(again, "t2")).outcome == types.OUTCOME_PASSED


@pytest.mark.parametrize("fault", [signal.SIGSTOP, signal.SIGKILL])
async def test_the_tree_is_dead_at_lease_end_though_the_daemon_hangs_or_is_dead(
    tmp_path: Path, fault: signal.Signals
) -> None:
    script = f"trap '' TERM; echo $$ > {tmp_path}/pid; echo up; while :; do sleep 0.05; done"
    async with (
        CoordinatorStub(lease_ms=2_000, heartbeat_ms=200) as stub,
        commanding(tmp_path, stub, script) as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.until(lambda: session.log_of("t1"), "t1 is not up")
        await session.message("heartbeat", 12)  # the lease was renewed beyond its first end
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
        agent.signal(fault)
        await until(lambda: not alive(pid), "the tree outlives its lease")
        if fault is signal.SIGSTOP:
            agent.signal(signal.SIGCONT)
            heir = session
        else:
            await agent.exit_code()
            await agent.start()
            heir = await stub.session(2)
        await stub.until(lambda: any(s.reports("t1", "tree_dead") for s in stub.sessions), "the death is never told")
        report = next(r for s in stub.sessions for r in s.reports("t1", "tree_dead"))
        own = fault is signal.SIGSTOP  # a daemon that stood still knows that nobody else was away
        assert report.tree_dead.cause == (pb.DEATH_CAUSE_AGENT_LOST if own else pb.DEATH_CAUSE_LEASE_LOST)
        assert heir.reports("t1", "finished") == []


async def test_an_unknown_placeholder_is_a_config_error(tmp_path: Path) -> None:
    async with AgentProcess(tmp_path, RUNNER="command", COMMAND_ARGV="run {test}") as agent:
        assert await agent.exit_code() == 2
        assert (
            "COMMAND_ARGV: 'run {test}' (from the environment) is no command: unknown placeholder {test}"
            in agent.said()
        )
