"""An agent whose disk is full, really: a tmpfs of a few megabytes that the test fills."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_stub import CoordinatorStub, StubSession, assignment
from tests.fakes.small_disk import MB, SmallDisk, small_disk
from tests.fakes.waiting import until
from tests.integration.agent.test_commands import commanding


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """The disk of the state directory."""
    with small_disk(tmp_path / "state") as mounted:
        yield mounted


def holding(folder: Path, then: str = "exit 0") -> str:
    """A test that runs until `go.<token>` is there."""
    return f"echo up; while [ ! -e {folder}/go.${{QGJOB_JOB_ID#acme~}} ]; do sleep 0.02; done; {then}"


async def health(session: StubSession, number: int) -> tuple[int, str]:
    """What the nth inventory says of the first device."""
    inventory = await session.message("inventory", number)
    return inventory.changed[0].health, inventory.changed[0].reason


def shown(session: StubSession) -> list[tuple[str, int]]:
    return [(held.token, held.phase) for held in session.hello.hello.held]


async def test_with_too_little_room_it_gives_back_keeps_what_runs_and_comes_back(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, holding(tmp_path), MIN_FREE_MB=4) as agent:
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.report("t1", "started")
        disk.fill(leave=3 * MB // 2)
        assert await health(session, 1) == (
            types.DEVICE_HEALTH_BAD,
            "the agent's disk is full: 1 MB are free, and it takes work again from 6 MB",
        )
        given_back = (await session.report("t2", "tree_dead")).tree_dead
        assert (given_back.cause, given_back.started) == (pb.DEATH_CAUSE_DISK_FULL, False)
        session.assign(assignment("t3"))
        assert not (await session.report("t3", "tree_dead")).tree_dead.started
        (tmp_path / "go.t1").touch()
        assert (await session.report("t1", "finished")).finished.outcome == types.OUTCOME_PASSED
        assert "disk_full" in agent.said()

        disk.clear()
        assert (await health(session, 2))[0] == types.DEVICE_HEALTH_GOOD
        (tmp_path / "go.t4").touch()
        session.assign(assignment("t4"))
        assert (await session.report("t4", "finished")).finished.outcome == types.OUTCOME_PASSED
        assert session.reports("t3", "finished") == []


async def test_what_there_is_no_room_to_begin_is_given_back(tmp_path: Path, disk: SmallDisk) -> None:
    """Without a threshold only the disk's refusal tells."""
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, "exit 0", MIN_FREE_MB=0) as agent:
        session = await stub.session()
        disk.fill()
        session.assign(assignment("t1"), assignment("t2"))
        for token in ("t1", "t2"):
            dead = (await session.report(token, "tree_dead")).tree_dead
            assert (dead.cause, dead.started) == (pb.DEATH_CAUSE_DISK_FULL, False)
        assert await health(session, 1) == (
            types.DEVICE_HEALTH_BAD,
            "the agent's disk refuses writes: No space left on device",
        )
        await agent.says("launch_refused")
        assert not list(agent.state_dir.glob("executions/*"))
        disk.clear()
        assert (await health(session, 2))[0] == types.DEVICE_HEALTH_GOOD
        session.assign(assignment("t3"))
        assert (await session.report("t3", "finished")).finished.outcome == types.OUTCOME_PASSED
        assert session.reports(kind="finished") == session.reports("t3", "finished")


async def test_no_result_is_lost_though_disk_coordinator_and_daemon_fail_together(
    tmp_path: Path, disk: SmallDisk
) -> None:
    """The disk fills up while a test runs, its coordinator goes, it ends, its daemon is killed and starts again."""
    script = holding(tmp_path, "head -c 100000 /dev/zero | tr '\\0' x; echo end; exit 3")
    async with CoordinatorStub() as first, commanding(tmp_path, first, script, MIN_FREE_MB=0) as agent:
        session = await first.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        disk.fill()
        await first.stop()
        (tmp_path / "go.t1").touch()
        await agent.says("spool_failed")
        await agent.kill()
        await agent.start()
        async with CoordinatorStub(port=first.port) as second:
            again = await second.session()
            assert [token for token, _ in shown(again)] == ["t1"]
            finished = (await again.report("t1", "finished")).finished
            assert finished.outcome == types.OUTCOME_TEST_FAILED
            assert b"of output from here on are lost: the agent's disk refused them" in again.log_of("t1")
            await until(lambda: not list(agent.state_dir.glob("executions/*")), "the directory is still there")
            disk.clear()
            assert (await health(again, 2))[0] == types.DEVICE_HEALTH_GOOD
            again.assign(assignment("t2"))
            (tmp_path / "go.t2").touch()
            assert (await again.report("t2", "finished")).finished.outcome == types.OUTCOME_TEST_FAILED


async def test_results_that_wait_for_the_disk_are_written_when_there_is_room(tmp_path: Path, disk: SmallDisk) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(
            tmp_path, QGJOB_COORDINATOR=stub.address, SIMULATED_TEST_SECONDS="0.5,0.5", MIN_FREE_MB=0
        ) as agent,
    ):
        stub.acknowledge_reports = False
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2", "device-1"))
        await session.report("t2", "started")
        disk.fill()
        for token in ("t1", "t2"):
            await session.report(token, "finished")
        journal = agent.state_dir / "spool.journal"
        assert journal.stat().st_size == 0
        disk.clear()
        await agent.says("spool_recovered")
        await agent.kill()
        await agent.start()
        assert sorted(shown(await stub.session(2))) == [
            ("t1", pb.ATTEMPT_PHASE_SPOOLED),
            ("t2", pb.ATTEMPT_PHASE_SPOOLED),
        ]


async def test_an_agent_starts_and_serves_what_it_has_on_a_full_disk(tmp_path: Path, disk: SmallDisk) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, holding(tmp_path), MIN_FREE_MB=4) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await agent.kill()
        disk.fill()
        await agent.start()
        again = await stub.session(2)
        assert again.epoch > session.epoch
        assert {device.health for device in again.hello.hello.devices} == {types.DEVICE_HEALTH_BAD}
        assert shown(again) == [("t1", pb.ATTEMPT_PHASE_RUNNING)]
        (tmp_path / "go.t1").touch()
        assert (await again.report("t1", "finished")).finished.outcome == types.OUTCOME_PASSED


async def test_an_agent_whose_state_directory_is_removed_says_so_and_takes_nothing(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, holding(tmp_path)) as agent:
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        shutil.rmtree(agent.state_dir)
        bad, reason = await health(session, 1)
        assert bad == types.DEVICE_HEALTH_BAD
        assert reason.startswith(f"the agent's state_dir {agent.state_dir} was removed: it takes no work until ")
        session.assign(assignment("t2"))
        assert not (await session.report("t2", "tree_dead")).tree_dead.started
        assert "state_dir_gone" in agent.said()
        (tmp_path / "go.t1").touch()
