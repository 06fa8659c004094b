"""An agent process against a scripted coordinator: connecting, losing it, finding it again."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from qgjob_agent.core.values import Finished, Outcome, SpooledReport
from qgjob_agent.spool import Spool
from qgjob_agent.state_dir import StateDir
from qgjob_agent.stream import wire
from qgjob_proto.v1 import agent_pb2 as pb
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_stub import CoordinatorStub, assignment
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SECRET = {"QGJOB_TOKEN": "s3cret"}


async def test_attempts_run_and_are_told(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, SIMULATED_INSTALL_SECONDS="0.1") as agent,
    ):
        session = await stub.session()
        hello = session.hello.hello
        assert (session.epoch, hello.protocol_version, hello.agent_id) == (1, 1, "agent-1")
        assert [device.device_id for device in hello.devices] == ["emulator-1", "device-1"]
        assert session.metadata["qgjob-agent-id"] == "agent-1"
        assert "authorization" not in session.metadata

        session.assign(assignment("t1"), assignment("t2"))
        first = await session.report("t1", "finished")
        second = await session.report("t2", "finished")
        assert (first.finished.outcome, first.finished.install_ms) == (1, 100)
        assert not second.finished.HasField("install_ms")
        assert session.reports("t1")[0].WhichOneof("body") == "started"
        assert second.finished.started_at_ms >= first.finished.ended_at_ms
        installed = session.all("installed")
        assert [(told.device_id, told.token, told.install_ms) for told in installed] == [("emulator-1", "t1", 100)]
        assert b"tests/t1.spec.js" in session.log_of("t1")
        await agent.says("session_opened")


async def test_the_token_travels_in_metadata_and_in_no_log(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, LOG_LEVEL="debug", **SECRET) as agent,
    ):
        session = await stub.session()
        assert session.metadata["authorization"] == "Bearer s3cret"
        await agent.says("session_opened")
        assert "s3cret" not in agent.said()


async def test_a_port_that_does_not_speak_grpc_is_named(tmp_path: Path) -> None:
    async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(http1, "127.0.0.1", 0) as server:
        address = f"localhost:{server.sockets[0].getsockname()[1]}"
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=address) as agent:
            await agent.says(f"what listens at {address} does not speak gRPC; name the coordinator's gRPC port")


async def test_a_restarted_coordinator_finds_the_agent_again_with_a_higher_epoch(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as first,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=first.address, SIMULATED_TEST_SECONDS="1.5,1.5"),
    ):
        session = await first.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.report("t1", "started")
        await first.stop()
        async with CoordinatorStub(port=first.port) as second:
            again = await second.session()
            assert again.epoch > session.epoch
            assert again.hello.hello.instance_id == session.hello.hello.instance_id
            held = {shown.token: shown.phase for shown in again.hello.hello.held}
            assert held == {"t1": pb.ATTEMPT_PHASE_RUNNING, "t2": pb.ATTEMPT_PHASE_UNSTARTED}
            await again.report("t1", "finished")
            await again.report("t2", "finished")


async def test_a_result_of_the_time_without_coordinator_is_shown_and_sent(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as first,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=first.address, SIMULATED_TEST_SECONDS="0.3,0.3") as agent,
    ):
        session = await first.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        await first.stop()
        journal = agent.state_dir / "spool.journal"
        await until(lambda: journal.stat().st_size > 0, "the result is not spooled")
        async with CoordinatorStub(port=first.port) as second:
            again = await second.session()
            assert [(shown.token, shown.phase) for shown in again.hello.hello.held] == [
                ("t1", pb.ATTEMPT_PHASE_SPOOLED)
            ]
            await again.report("t1", "finished")
            await until(lambda: journal.stat().st_size == 0, "the acknowledged result is still in the spool")


async def test_several_coordinators_fail_over(tmp_path: Path) -> None:
    async with CoordinatorStub() as first, CoordinatorStub() as second:
        both = f"{first.address},{second.address}"
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=both):
            session = await first.session()
            await first.stop()
            again = await second.session()
            assert again.epoch > session.epoch


async def test_a_stale_epoch_is_jumped_over(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub:
        stub.refuse = lambda _hello: (
            pb.Refused(reason=pb.REFUSED_REASON_STALE_EPOCH, message="stale", stored_epoch=41)
            if len(stub.sessions) == 1
            else None
        )
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent:
            assert (await stub.session(2)).epoch == 42
            await agent.says("session_opened")
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address):
            assert (await stub.session(3)).epoch == 43


@pytest.mark.parametrize(
    ("refused", "setting"),
    [
        (pb.REFUSED_REASON_AGENT_ID_IN_USE, "set another agent_id in agent.toml"),
        (pb.REFUSED_REASON_DEVICE_ID_IN_USE, "set another device_id for that device"),
    ],
)
async def test_a_name_in_use_is_said_once_and_tried_again(tmp_path: Path, refused: int, setting: str) -> None:
    async with CoordinatorStub() as stub:
        stub.refuse = lambda _hello: (
            pb.Refused(reason=refused, message="phone-7 is on host b") if len(stub.sessions) <= 3 else None
        )
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent:
            await stub.session(4)
            await agent.says("session_opened")
            said = [line for line in agent.said().splitlines() if "phone-7 is on host b" in line]
            assert len(said) == 1
            assert "_id_in_use" in said[0]
            assert setting in said[0]


async def test_a_refused_version_ends_the_agent_with_what_to_do(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub:
        stub.refuse = lambda _hello: pb.Refused(
            reason=pb.REFUSED_REASON_VERSION, message="protocol 1 is too old; install qgjob 2.3 on this host"
        )
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent:
            assert await agent.exit_code() == 1
            assert "error: the coordinator refuses this agent (version): protocol 1 is too old" in agent.said()
            assert "Traceback" not in agent.said()


async def test_an_agent_that_one_coordinator_refuses_for_good_goes_to_the_others(tmp_path: Path) -> None:
    """As in an upgrade, where they are of two versions for a while. Refused by all of them, it ends."""
    too_new = pb.Refused(reason=pb.REFUSED_REASON_VERSION, message="upgrade the coordinator")
    async with CoordinatorStub() as older, CoordinatorStub() as newer:
        older.refuse = lambda _hello: too_new
        addresses = f"{older.address},{newer.address}"
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=addresses) as agent:
            session = await newer.session()
            session.assign(assignment("t1"))
            await session.report("t1", "finished")
            assert "refused, version: upgrade the coordinator" in agent.said()
            newer.refuse = lambda _hello: too_new
            session.end()
            assert await agent.exit_code() == 1
            assert "error: the coordinator refuses this agent (version): upgrade the coordinator" in agent.said()


async def test_a_silent_coordinator_is_left(tmp_path: Path) -> None:
    async with CoordinatorStub(session_timeout_ms=700, heartbeat_ms=200) as stub:
        stub.confirm_heartbeats = False
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent:
            assert (await stub.session(2)).epoch == 2
            await agent.says("coordinator_silent")


async def test_heartbeats_show_what_is_held(tmp_path: Path) -> None:
    async with (
        CoordinatorStub(heartbeat_ms=100) as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, SIMULATED_TEST_SECONDS="30,30"),
    ):
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.report("t1", "started")
        seen = len(session.all("heartbeat"))
        beat = await session.message("heartbeat", seen + 2)
        assert beat.seq == seen + 2
        assert [(shown.token, shown.phase) for shown in beat.held] == [
            ("t1", pb.ATTEMPT_PHASE_RUNNING),
            ("t2", pb.ATTEMPT_PHASE_UNSTARTED),
        ]
        stub.revoke = {"t1"}
        assert (await session.report("t1", "tree_dead")).tree_dead.cause == pb.DEATH_CAUSE_REVOKED
        await session.report("t2", "started")


async def test_sigterm_drains_then_says_bye(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, SIMULATED_TEST_SECONDS="0.6,0.6") as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"), assignment("t2"))
        await session.report("t1", "started")
        agent.signal(signal.SIGTERM)
        assert (await session.report("t2", "tree_dead")).tree_dead.started is False
        assert (await session.report("t1", "finished")).finished.outcome == 1
        assert await agent.exit_code() == 0
        assert session.heard[-1].WhichOneof("body") == "bye"


async def test_a_second_sigterm_kills_at_once(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, SIMULATED_TEST_SECONDS="60,60") as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        agent.signal(signal.SIGTERM)
        await agent.says("shutdown_requested")
        agent.signal(signal.SIGTERM)
        assert (await session.report("t1", "tree_dead")).tree_dead.cause == pb.DEATH_CAUSE_SHUTDOWN
        assert await agent.exit_code() == 0


async def test_an_agent_without_coordinator_ends_at_sigterm(tmp_path: Path) -> None:
    async with AgentProcess(tmp_path, QGJOB_COORDINATOR="127.0.0.1:1") as agent:
        await agent.says("not_connected")
        agent.signal(signal.SIGTERM)
        assert await agent.exit_code() == 0


async def test_an_agent_that_belongs_to_a_process_ends_with_it(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec("sleep", "60")
    async with (
        CoordinatorStub() as stub,
        AgentProcess(
            tmp_path, QGJOB_COORDINATOR=stub.address, QGJOB_PARENT_PID=parent.pid, SIMULATED_TEST_SECONDS="60,60"
        ) as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "started")
        parent.kill()
        await parent.wait()
        await session.report("t1", "tree_dead")
        assert await agent.exit_code() == 0


async def test_one_state_dir_serves_one_daemon(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as first:
        await stub.session()
        (tmp_path / "second").mkdir()
        second = AgentProcess(tmp_path / "second", QGJOB_COORDINATOR=stub.address, STATE_DIR=first.state_dir)
        async with second:
            assert await second.exit_code() == 1
        assert first.process is not None
        assert f"is used by another agent (process {first.process.pid})" in second.said()
        assert len(stub.sessions) == 1


async def test_a_production_log_is_json(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address, ENVIRONMENT="production") as agent,
    ):
        session = await stub.session()
        session.assign(assignment("t1"))
        await session.report("t1", "finished")
        await agent.says("attempt_finished")
        lines = [json.loads(line) for line in agent.said().splitlines()]
        finished = next(line for line in lines if line["event"] == "attempt_finished")
        assert (
            finished | {"agent_id": "agent-1", "job_id": "acme~t1", "attempt": 1, "device_id": "emulator-1"} == finished
        )


async def test_a_wrong_setting_is_one_line_and_exit_2(tmp_path: Path) -> None:
    async with AgentProcess(tmp_path, DRAIN_SECONDS="soon") as agent:
        assert await agent.exit_code() == 2
        assert agent.said().count("\n") == 1
        assert "DRAIN_SECONDS: 'soon' (from the environment) is not a number" in agent.said()


async def test_check_says_what_would_run(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path)
    await agent.start("--check")
    assert await agent.exit_code() == 0
    assert agent.said() == "ok: agent agent-1, 2 devices, runner simulated\n"


async def test_an_agent_that_is_sent_away_comes_back_at_once_and_each_time(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stopping,
        CoordinatorStub() as staying,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=f"{stopping.address},{staying.address}") as agent,
    ):
        for number in range(1, 5):
            for stub in (stopping, staying):
                session = await stub.session(number)
                session.send(refused=pb.Refused(reason=pb.REFUSED_REASON_GOING_AWAY, message="stops"))
                session.end()
        assert (await stopping.session(5)).epoch == 9
        assert "not_connected" not in agent.said()
        assert "refused, going_away: stops" in agent.said()


async def test_a_coordinator_that_stops_before_the_welcome_is_no_reason_to_end(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub:
        stub.refuse = lambda _hello: (
            pb.Refused(reason=pb.REFUSED_REASON_GOING_AWAY, message="stops") if len(stub.sessions) == 1 else None
        )
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent:
            await stub.session(2)
            await agent.says("session_opened")


async def test_messages_of_a_newer_coordinator_are_passed_over_and_said_once(tmp_path: Path) -> None:
    unheard_of = pb.ConnectResponse.FromString(b"\xfa\x01\x00")  # a body of number 31
    async with (
        CoordinatorStub() as stub,
        AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent,
    ):
        session = await stub.session()
        for _ in range(3):
            session.outbox.put_nowait(unheard_of)
        session.assign(assignment("t1"))
        await session.report("t1", "finished")
        assert agent.said().count("unknown_message") == 1
        session.send(refused=pb.Refused(reason=77, message="a reason of tomorrow"))  # type: ignore[arg-type]
        session.end()
        await stub.session(2)
        assert "refused, reason 77: a reason of tomorrow" in agent.said()


async def test_a_large_spool_is_sent_in_messages_that_a_coordinator_takes(tmp_path: Path) -> None:
    failures = [
        SpooledReport(n, f"acme~{n}", f"t{n}", 1, "emulator-1", Finished(Outcome.TEST_FAILED, 1, 2, 1, None, "e" * 450))
        for n in range(1, 1_601)
    ]
    state = StateDir.open(tmp_path / "state")
    spool = Spool(state.spool)
    spool.append(failures)
    spool.close()
    state.close()
    async with CoordinatorStub() as stub, AgentProcess(tmp_path, QGJOB_COORDINATOR=stub.address) as agent:
        session = await stub.session()
        assert len(session.hello.hello.held) == len(failures)
        await session.report("t1600", "finished")
        assert [r.report_id for r in session.reports()] == list(range(1, 1_601))
        assert max(message.ByteSize() for message in session.all("reports")) <= wire.REPORTS_BYTES
        journal = agent.state_dir / "spool.journal"
        await until(lambda: journal.stat().st_size == 0, "acknowledged results are still in the spool")
        assert len(stub.sessions) == 1
