"""SIGTERM: what runs may finish until the deadline, and nothing that is known is lost by the end."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import artifacts_pb2_grpc as artifacts_grpc
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_process import AgentProcess, alive
from tests.fakes.coordinator_stub import CoordinatorStub, assignment
from tests.fakes.held_process import held
from tests.fakes.waiting import DEADLINE_SECONDS, until
from tests.integration.agent.test_commands import commanding


def deaf(folder: Path) -> str:
    """A test that ignores SIGTERM and has a child that does too."""
    return f"trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > {folder}/pid; echo up; sleep 60') & wait; wait"


async def test_at_the_deadline_what_still_runs_is_killed_and_told(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, deaf(tmp_path), DRAIN_SECONDS="0.5") as agent:
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.until(lambda: session.log_of("t1"), "t1 is not up")
        pid = int((tmp_path / "pid").read_text())
        agent.signal(signal.SIGTERM)
        assert not (await session.report("t2", "tree_dead")).tree_dead.started
        dead = (await session.report("t1", "tree_dead")).tree_dead
        assert (dead.cause, dead.started) == (pb.DEATH_CAUSE_SHUTDOWN, True)
        assert not alive(pid)
        assert await agent.exit_code() == 0
        assert session.heard[-1].WhichOneof("body") == "bye"
        assert "drain_seconds=0.5" in agent.said()
        assert "agent_stopped" in agent.said()
        assert not list(agent.state_dir.glob("executions/*"))


class Silent(artifacts_grpc.ArtifactServiceServicer):
    """Takes evidence and never says a word. `asked` is set when there is some."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def PushArtifacts(self, request_iterator: object, context: object) -> None:  # noqa: N802 - gRPC's name
        self.asked.set()
        await asyncio.Event().wait()


async def test_an_agent_ends_while_its_evidence_waits_for_the_first_word_of_an_answer(tmp_path: Path) -> None:
    """gRPC takes a cancel of who waits for that for one of its own."""
    silent = Silent()
    async with CoordinatorStub(artifacts=silent) as stub, commanding(tmp_path, stub, "echo up") as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        assert (await session.report("t1", "finished")).finished.outcome == types.OUTCOME_PASSED
        async with asyncio.timeout(DEADLINE_SECONDS):
            await silent.asked.wait()
        agent.signal(signal.SIGTERM)
        assert await agent.exit_code() == 0


async def test_a_second_sigterm_takes_drain_and_grace_away(tmp_path: Path) -> None:
    async with (
        CoordinatorStub(kill_grace_ms=60_000) as stub,
        commanding(tmp_path, stub, deaf(tmp_path), DRAIN_SECONDS="60") as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.until(lambda: session.log_of("t1"), "t1 is not up")
        agent.signal(signal.SIGTERM)
        await agent.says("shutdown_requested")
        agent.signal(signal.SIGTERM)
        assert (await session.report("t1", "tree_dead")).tree_dead.cause == pb.DEATH_CAUSE_SHUTDOWN
        assert await agent.exit_code() == 0


async def test_an_installation_is_finished_and_its_test_run_while_there_is_time(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, SIMULATED_INSTALL_SECONDS="0.6") as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await agent.says("install_begun")
        agent.signal(signal.SIGTERM)
        finished = (await session.report("t1", "finished")).finished
        assert (finished.outcome, finished.install_ms) == (types.OUTCOME_PASSED, 600)
        assert await agent.exit_code() == 0


async def test_an_installation_that_outlasts_the_drain_is_stopped(tmp_path: Path) -> None:
    settings = {"SIMULATED_INSTALL_SECONDS": "60", "DRAIN_SECONDS": "0.3"}
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, **settings) as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await agent.says("install_begun")
        agent.signal(signal.SIGTERM)
        assert (await session.report("t1", "tree_dead")).tree_dead.cause == pb.DEATH_CAUSE_SHUTDOWN
        assert session.all("installed") == []
        assert await agent.exit_code() == 0


async def test_a_result_that_nobody_takes_is_kept_for_the_next_life(tmp_path: Path) -> None:
    script = f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 3"
    async with CoordinatorStub() as first, commanding(tmp_path, first, script, DRAIN_SECONDS="30") as agent:
        session = await first.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await first.stop()
        agent.signal(signal.SIGTERM)
        await agent.says("shutdown_requested")
        (tmp_path / "go").touch()
        assert await agent.exit_code() == 0
        assert "results_kept" in agent.said()
        async with CoordinatorStub(port=first.port) as second:
            await agent.start()
            again = await second.session()
            assert [(h.token, h.phase) for h in again.hello.hello.held] == [("t1", pb.ATTEMPT_PHASE_SPOOLED)]
            assert (await again.report("t1", "finished")).finished.outcome == types.OUTCOME_TEST_FAILED
            await until(lambda: not list(agent.state_dir.glob("executions/*")), "the directory is still there")


async def test_a_tree_that_does_not_die_is_left_to_its_supervisor_with_exit_1(tmp_path: Path) -> None:
    """Its supervisor is held, so that nobody kills it; the next daemon finds both."""
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, "echo up; sleep 60", DRAIN_SECONDS="0") as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.until(lambda: session.log_of("t1"), "t1 is not up")
        supervisor = int(next(agent.state_dir.glob("executions/*/lock")).read_text())
        with held(supervisor):
            agent.signal(signal.SIGTERM)
            assert agent.process is not None
            async with asyncio.timeout(60):
                assert await agent.exit_code() == 1
            assert "tree_left" in agent.said()
            assert "error: 1 process tree would not die in time" in agent.said()
            await agent.start()
            again = await stub.session(2)
            assert [(h.token, h.phase) for h in again.hello.hello.held] == [("t1", pb.ATTEMPT_PHASE_RUNNING)]
        assert (await again.report("t1", "tree_dead")).tree_dead.cause == pb.DEATH_CAUSE_SHUTDOWN
