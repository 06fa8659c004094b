"""A daemon is killed -9 at each point at which it leaves something behind; the next one settles all of it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.executions import names
from qgjob_agent.executions.lease_file import LeaseFile, LeaseTime, read_lease
from qgjob_agent.host.process_tree import Cgroup
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes import dying_agent
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_stub import CoordinatorStub, StubSession, assignment
from tests.fakes.program import processes_of
from tests.fakes.waiting import until
from tests.integration.agent.test_commands import commanding

SESSION_TIMEOUT_SECONDS = 15.0  # the default; a restarted agent has adopted or released everything within it
FAILED, LOST = types.OUTCOME_TEST_FAILED, "DEATH_CAUSE_AGENT_LOST"
NOT_SHOWN, RUNNING, SPOOLED = None, pb.ATTEMPT_PHASE_RUNNING, pb.ATTEMPT_PHASE_SPOOLED

# What the next daemon shows of the attempt, and how the attempt ended in the end: its outcome, or why it died.
LEAVES = {
    "before_the_folder_has_a_spec": (NOT_SHOWN, None),
    "with_half_a_spec": (NOT_SHOWN, None),
    "before_the_supervisor": (RUNNING, LOST),
    "after_the_supervisor_was_born": (SPOOLED, FAILED),
    "before_a_result_is_spooled": (SPOOLED, FAILED),
    "with_half_a_line_in_the_spool": (SPOOLED, FAILED),
    "after_a_result_was_spooled": (SPOOLED, FAILED),
    "before_the_folder_of_an_acknowledged_result_goes": (SPOOLED, FAILED),
    "while_the_folder_of_an_acknowledged_result_goes": (SPOOLED, FAILED),
    "before_an_acknowledged_result_is_forgotten": (SPOOLED, FAILED),
}
WITHOUT_AN_ATTEMPT = ("with_half_a_lease", "with_half_an_epoch", "with_half_a_lock")


def test_every_point_is_tested() -> None:
    assert {*LEAVES, *WITHOUT_AN_ATTEMPT} == set(dying_agent.POINTS)


async def dies(agent: AgentProcess, point: str) -> None:
    """Starts the agent so that it is killed at the point."""
    agent.program = ("-P", dying_agent.__file__, point)
    await agent.start()
    agent.program = ("-m", "qgjob_agent")


def executions(agent: AgentProcess) -> list[Path]:
    return list(agent.state_dir.glob("executions/*"))


@pytest.mark.parametrize("point", LEAVES)
async def test_what_a_killed_daemon_left_is_settled_by_the_next(tmp_path: Path, point: str) -> None:
    shown, outcome = LEAVES[point]
    async with CoordinatorStub() as stub:
        agent = commanding(tmp_path, stub, "setsid sleep 60 & echo up; exit 3")
        try:
            await dies(agent, point)
            session = await stub.session()
            session.assign(assignment("t1"))
            assert await agent.exit_code() == -signal.SIGKILL
            if point == "after_the_supervisor_was_born":
                await until(lambda: list(agent.state_dir.glob("executions/*/result.json")), "no result")
            left = [path.name for path in executions(agent)]

            began = time.monotonic()
            await agent.start()
            again = await stub.session(2)
            held = {h.token: h.phase for h in again.hello.hello.held}
            # What is found dead may be settled, and its result spooled, before there is a session to show it in.
            assert held in (({"t1": shown}, {"t1": SPOOLED}) if shown else ({},))
            if outcome is not None:
                assert await _ended(stub, "t1") == outcome
            await until(lambda: not executions(agent), lambda: f"left: {executions(agent)}")
            journal = agent.state_dir / "spool.journal"
            await until(lambda: journal.stat().st_size == 0, "results are left in the spool")
            assert time.monotonic() - began < SESSION_TIMEOUT_SECONDS
            assert [Cgroup.find(names.cgroup_name(each)) for each in left] == [None] * len(left)
            assert agent.process is not None
            assert set(processes_of(tmp_path)) <= {agent.process.pid}
            await _serves(again, "t2")
        finally:
            await agent.kill()


@pytest.mark.parametrize("point", WITHOUT_AN_ATTEMPT)
async def test_what_a_killed_daemon_half_wrote_does_not_keep_the_next_from_serving(tmp_path: Path, point: str) -> None:
    async with CoordinatorStub() as stub:
        agent = commanding(tmp_path, stub, "exit 3")
        try:
            await agent.start()  # a first life, so that something is written already
            first = await stub.session()
            await agent.kill()
            await dies(agent, point)
            assert await agent.exit_code() == -signal.SIGKILL
            heard = len(stub.sessions)
            await agent.start()
            again = await stub.session(heard + 1)
            assert again.epoch > max(s.epoch for s in (first, *stub.sessions[:heard]))
            await _serves(again, "t2")
        finally:
            await agent.kill()


async def _ended(stub: CoordinatorStub, token: str) -> types.Outcome.ValueType | str:
    """The outcome, or the cause of its death, whichever session brought it."""
    kinds = ("finished", "tree_dead")
    (found, *_) = await stub.until(
        lambda: [r for s in stub.sessions for kind in kinds for r in s.reports(token, kind)], f"no end of {token}"
    )
    return found.finished.outcome if found.HasField("finished") else pb.DeathCause.Name(found.tree_dead.cause)


async def _serves(session: StubSession, token: str) -> None:
    """The device is free: it runs another attempt."""
    session.assign(assignment(token))
    assert (await session.report(token, "finished")).finished.outcome == FAILED


async def test_an_earlier_boots_lease_is_not_believed(tmp_path: Path) -> None:
    """After a reboot the clock begins anew, and what was written before may lie far ahead of it."""
    async with CoordinatorStub() as stub:
        stub.say_welcome = False
        agent = commanding(tmp_path, stub, "exit 0")
        agent.state_dir.mkdir(parents=True)
        before = LeaseFile(str(agent.state_dir / "lease"))
        before.write(LeaseTime(monotonic_seconds() + 1e6, 48, 10))
        before.close()
        async with agent:
            await stub.session()
            found = read_lease(str(agent.state_dir / "lease"))
            assert found is not None
            assert found.ends_at <= monotonic_seconds()


async def test_a_folder_that_a_test_closed_goes_too(tmp_path: Path) -> None:
    script = "mkdir -p $QGJOB_OUTPUT_DIR/a/b; touch $QGJOB_OUTPUT_DIR/a/b/c; chmod 0 $QGJOB_OUTPUT_DIR/a; exit 0"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "finished")
        await until(lambda: not executions(agent), "the directory is still there")
        assert os.geteuid() == 0 or "execution_not_removed" not in agent.said()
