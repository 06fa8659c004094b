"""The output of attempts on its way to the coordinator: it is there before the result, whoever died in between."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_stub import CoordinatorStub, StubSession, assignment
from tests.fakes.waiting import until
from tests.integration.agent.test_commands import commanding

if TYPE_CHECKING:
    from pathlib import Path

KEPT_BYTES = 65_536


async def before_the_end(session: StubSession, token: str = "t1", kind: str = "finished") -> list[pb.LogChunk]:  # noqa: S107 - a lease token
    """The pieces of the log that were heard before the attempt's last report: a coordinator keeps none that follow."""
    await session.report(token, kind)
    chunks = []
    for message in session.heard:
        if message.WhichOneof("body") == "log" and message.log.token == token:
            chunks.append(message.log)
        elif any(r.token == token and r.WhichOneof("body") == kind for r in message.reports.reports):
            break
    return chunks


def text(chunks: list[pb.LogChunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def stepping(folder: Path, then: str) -> str:
    """A script that prints `first`, and does `then` when `go` is there."""
    return f"echo first; while [ ! -e {folder}/go ]; do sleep 0.02; done; {then}"


async def first_is_told(session: StubSession) -> None:
    session.assign(assignment("t1"))
    await session.until(lambda: session.log_of("t1") == b"first\n", "the first line is not told")


def result_left(agent: AgentProcess) -> bool:
    return bool(list(agent.state_dir.glob("executions/*/result.json")))


async def test_what_was_printed_without_a_daemon_is_told_before_the_result(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        commanding(tmp_path, stub, stepping(tmp_path, "echo second; exit 1")) as agent,
    ):
        await first_is_told(await stub.session())
        await agent.kill()
        (tmp_path / "go").touch()
        await until(lambda: result_left(agent), "no result")
        await agent.start()
        assert text(await before_the_end(await stub.session(2))) == b"first\nsecond\n"


async def test_what_was_printed_without_a_coordinator_is_told_before_the_result(tmp_path: Path) -> None:
    async with CoordinatorStub() as first, commanding(tmp_path, first, stepping(tmp_path, "echo second")) as agent:
        await first_is_told(await first.session())
        await first.stop()
        (tmp_path / "go").touch()
        journal = agent.state_dir / "spool.journal"
        await until(lambda: journal.stat().st_size > 0, "the result is not spooled")
        async with CoordinatorStub(port=first.port) as second:
            assert text(await before_the_end(await second.session())).endswith(b"second\n")


async def test_the_output_of_a_spooled_result_outlives_the_daemon(tmp_path: Path) -> None:
    """What the test left on the disk goes with the spooling, its output only when the coordinator has the result."""
    script = stepping(tmp_path, "echo second; echo left > $QGJOB_OUTPUT_DIR/left; echo left > $TMPDIR/left")
    async with CoordinatorStub() as first, commanding(tmp_path, first, script) as agent:
        await first_is_told(await first.session())
        await first.stop()
        (tmp_path / "go").touch()
        journal = agent.state_dir / "spool.journal"
        await until(lambda: journal.stat().st_size > 0, "the result is not spooled")
        await until(lambda: not list(agent.state_dir.glob("executions/*/*/left")), "the test's files are not removed")
        await agent.kill()
        async with CoordinatorStub(port=first.port) as second:
            await agent.start()
            assert text(await before_the_end(await second.session())) == b"first\nsecond\n"
            await until(lambda: not list(agent.state_dir.glob("executions/*")), "the directory is still there")


async def test_of_much_output_the_end_is_told(tmp_path: Path) -> None:
    then = "head -c 200000 /dev/zero | tr '\\0' x; echo; echo boom; exit 1"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, stepping(tmp_path, then)) as agent:
        await first_is_told(await stub.session())
        await agent.kill()
        (tmp_path / "go").touch()
        await until(lambda: result_left(agent), "no result")
        await agent.start()
        (chunk,) = await before_the_end(await stub.session(2))
        assert chunk.data.endswith(b"x\nboom\n")
        assert (chunk.offset, len(chunk.data)) == (6 + 200_000 + 6 - KEPT_BYTES, KEPT_BYTES)


async def test_beyond_the_limit_of_an_output_its_end_is_told(tmp_path: Path) -> None:
    then = "head -c 200000 /dev/zero | tr '\\0' x; echo; echo boom; exit 1"
    async with (
        CoordinatorStub() as stub,
        commanding(tmp_path, stub, stepping(tmp_path, then), COMMAND_OUTPUT_BYTES=4_096) as agent,
    ):
        await first_is_told(await stub.session())
        await agent.kill()
        (tmp_path / "go").touch()
        await until(lambda: result_left(agent), "no result")
        await agent.start()
        (chunk,) = await before_the_end(await stub.session(2))
        assert chunk.data.endswith(b"x\nboom\n")
        assert 4_096 < chunk.offset < 4_200  # what was left out has no place in the file, but for a line that says so


async def test_what_a_lost_coordinator_may_not_have_written_is_told_again(tmp_path: Path) -> None:
    """Until two heartbeats that followed it were confirmed; then it is not."""
    async with (
        CoordinatorStub(heartbeat_ms=60_000, session_timeout_ms=120_000) as first,
        commanding(tmp_path, first, stepping(tmp_path, "echo second")),
    ):
        await first_is_told(await first.session())
        await first.stop()
        async with CoordinatorStub(port=first.port, heartbeat_ms=100) as second:
            again = await second.session()
            await again.until(lambda: again.log_of("t1") == b"first\n", "the first line is not told again")
            await again.message("heartbeat", len(again.all("heartbeat")) + 4)
            await second.stop()
            async with CoordinatorStub(port=first.port) as third:
                last = await third.session()
                (tmp_path / "go").touch()
                chunks = await before_the_end(last)
                assert [(chunk.offset, chunk.data) for chunk in chunks] == [(6, b"second\n")]


async def test_an_agent_told_to_end_tells_the_output_then_the_result(tmp_path: Path) -> None:
    async with (
        CoordinatorStub() as stub,
        commanding(tmp_path, stub, stepping(tmp_path, "echo second; exit 1"), DRAIN_SECONDS=20) as agent,
    ):
        session = await stub.session()
        await first_is_told(session)
        agent.signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert text(await before_the_end(session)) == b"first\nsecond\n"
        assert await agent.exit_code() == 0


async def test_what_is_killed_in_the_end_says_its_last_word(tmp_path: Path) -> None:
    script = f"trap 'echo killed; exit' TERM; {stepping(tmp_path, '')}"
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script, DRAIN_SECONDS=0) as agent:
        session = await stub.session()
        await first_is_told(session)
        agent.signal(signal.SIGTERM)
        assert text(await before_the_end(session, kind="tree_dead")).endswith(b"killed\n")
        assert await agent.exit_code() == 0


async def test_an_agent_that_ends_without_a_coordinator_tells_it_in_its_next_life(tmp_path: Path) -> None:
    script = f"trap 'echo killed; exit' TERM; {stepping(tmp_path, '')}"
    async with CoordinatorStub() as first, commanding(tmp_path, first, script, DRAIN_SECONDS=0) as agent:
        await first_is_told(await first.session())
        await first.stop()
        agent.signal(signal.SIGTERM)
        assert await agent.exit_code() == 0
        async with CoordinatorStub(port=first.port) as second:
            await agent.start()
            told = await before_the_end(await second.session(), kind="tree_dead")
            assert text(told).startswith(b"first\n")
            assert text(told).endswith(b"killed\n")


async def test_where_a_killed_supervisor_may_have_lost_output_the_log_says_so(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, stepping(tmp_path, "")) as agent:
        session = await stub.session()
        await first_is_told(session)
        (lock,) = agent.state_dir.glob("executions/*/lock")
        os.kill(int(lock.read_text()), signal.SIGKILL)
        chunks = await before_the_end(session)
        assert session.reports("t1", "finished")[0].finished.outcome == types.OUTCOME_APP_CRASHED
        assert text(chunks) == b"first\n\n[the supervisor was killed; output from here on is lost]\n"


async def test_what_was_printed_until_a_host_was_gone_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, stepping(tmp_path, "")) as agent:
        await first_is_told(await stub.session())
        (lock,) = agent.state_dir.glob("executions/*/lock")
        await agent.kill()
        os.kill(int(lock.read_text()), signal.SIGKILL)
        await agent.start()
        chunks = await before_the_end(await stub.session(2), kind="tree_dead")
        assert text(chunks) == b"first\n\n[the supervisor was killed; output from here on is lost]\n"
