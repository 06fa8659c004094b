"""An agent whose disk turns read-only under it, really: an ext4 that the kernel has found an error in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_process import alive
from tests.fakes.coordinator_stub import CoordinatorStub, assignment
from tests.fakes.failing_disk import FailingDisk, failing_disk
from tests.fakes.waiting import until
from tests.integration.agent.test_commands import TOKEN, commanding
from tests.integration.agent.test_disk import health, holding


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    """The disk of the state directory."""
    with failing_disk(tmp_path / "state") as mounted:
        yield mounted


async def test_what_a_test_came_to_is_told_though_no_disk_takes_it(tmp_path: Path, disk: FailingDisk) -> None:
    """Its device is free: of what waited there nothing begins, and all is given back."""
    script = holding(tmp_path, "exit 3")
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script, MIN_FREE_MB=0) as agent:
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.report("t1", "started")
        disk.fail()
        (tmp_path / "go.t1").touch()
        assert (await session.report("t1", "finished")).finished.outcome == types.OUTCOME_TEST_FAILED
        assert not (await session.report("t2", "tree_dead")).tree_dead.started
        assert await health(session, 1) == (
            types.DEVICE_HEALTH_BAD,
            "the agent's disk refuses writes: Read-only file system",
        )
        assert session.reports(kind="finished") == session.reports("t1", "finished")
        assert "supervisor_lost" not in agent.said()
        heard = len(session.all("heartbeat"))
        beat = (await session.message("heartbeat", heard + 2)).held
        assert [held.token for held in beat] == []
        assert agent.process is not None
        assert agent.process.poll() is None


async def test_a_cancel_ends_what_runs_on_a_disk_that_takes_nothing(tmp_path: Path, disk: FailingDisk) -> None:
    script = holding(tmp_path)
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script, MIN_FREE_MB=0):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        disk.fail()
        session.send(revoke=pb.Revoke(token=TOKEN, reason="cancelled", grace_ms=200))
        dead = (await session.report("t1", "tree_dead")).tree_dead
        assert (dead.cause, dead.started) == (pb.DEATH_CAUSE_REVOKED, True)


async def test_what_runs_on_a_disk_that_takes_nothing_is_ended_with_the_lease_that_was_written(
    tmp_path: Path, disk: FailingDisk
) -> None:
    """No renewal can be written down for its supervisor. Nobody is charged, and the agent stays."""
    async with (
        CoordinatorStub(lease_ms=4_000, heartbeat_ms=200) as stub,
        commanding(tmp_path, stub, holding(tmp_path), MIN_FREE_MB=0) as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        disk.fail()
        dead = (await session.report("t1", "tree_dead")).tree_dead
        assert (dead.cause, dead.started) == (pb.DEATH_CAUSE_LEASE_LOST, True)
        await agent.says("lease_not_written")
        assert len(stub.sessions) == 1


async def test_a_daemon_hears_also_of_what_an_earlier_one_began(tmp_path: Path, disk: FailingDisk) -> None:
    script = holding(tmp_path, "exit 3")
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script, MIN_FREE_MB=0) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await agent.kill()
        await agent.start()
        again = await stub.session(2)
        disk.fail()
        (tmp_path / "go.t1").touch()
        assert (await again.report("t1", "finished")).finished.outcome == types.OUTCOME_TEST_FAILED


async def test_without_a_daemon_a_supervisor_gives_up_when_the_lease_is_over(tmp_path: Path, disk: FailingDisk) -> None:
    """And not before: the disk may take the result after all, or a daemon come that hears of it."""
    async with (
        CoordinatorStub(lease_ms=4_000, heartbeat_ms=200) as stub,
        commanding(tmp_path, stub, holding(tmp_path), MIN_FREE_MB=0) as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        lock = next(agent.state_dir.glob("executions/*/lock"))
        supervisor = int(lock.read_text())
        await agent.kill()
        disk.fail()
        (tmp_path / "go.t1").touch()
        await until(lambda: not alive(supervisor), "the supervisor goes on for ever")
