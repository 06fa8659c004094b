"""A test that keeps its supervisor stopped: its limits and a cancel end it all the same, and its device is free."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes import vain_agent
from tests.fakes.agent_process import AgentProcess, alive
from tests.fakes.coordinator_stub import CoordinatorStub, StubSession, assignment
from tests.fakes.waiting import until
from tests.integration.agent.test_commands import commanding, run_one

LOOP = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
supervisor, until = int(sys.argv[1]), time.monotonic() + 60
try:
    while time.monotonic() < until:
        os.kill(supervisor, signal.SIGSTOP)
except ProcessLookupError:
    pass
"""
KEPT_STOPPED = "supervisor was kept stopped"


def stopping(folder: Path, how: str) -> str:
    """Stops its supervisor, before it goes silent; the second one passes."""
    begun = "until [ -s $TMPDIR/../started ]; do sleep 0.02; done"  # what its supervisor writes down
    other = f"setsid {how} & echo $! > {folder}/other"
    return f"[ $QGJOB_JOB_ID = acme~t2 ] || {{ {begun}; {other}; echo $$ > {folder}/test; sleep 60; :; }}"


ONCE = "sh -c 'kill -STOP $1; exec env -i sleep 60' sh $PPID"
AGAIN_AND_AGAIN = f"{sys.executable} -IS -c {shlex.quote(LOOP)} $PPID"


def stopped_for_good(folder: Path, stub: CoordinatorStub) -> AgentProcess:
    agent = commanding(folder, stub, stopping(folder, ONCE))
    agent.program = ("-P", vain_agent.__file__)
    return agent


async def begin(session: StubSession, folder: Path, **fields: int) -> list[int]:
    """Gives the processes of the test that stops its supervisor."""
    session.assign(assignment("t1", **fields))
    return [int(await until(said(folder / name), "the test does not begin")) for name in ("other", "test")]


def said(path: Path) -> Callable[[], str]:
    return lambda: path.read_text().strip() if path.exists() else ""


async def well_again(session: StubSession, agent: AgentProcess, pids: list[int]) -> None:
    """Nothing of it lives, and its device has another test."""
    assert not any(alive(pid) for pid in pids)
    assert (await run_one(session, "t2")).outcome == types.OUTCOME_PASSED
    await until(lambda: not list(agent.state_dir.glob("executions/*")), "its folder is still there")


@pytest.mark.parametrize("restarted", [False, True], ids=["", "with a restarted agent"])
@pytest.mark.parametrize("limit", ["timeout_ms", "silence_timeout_ms"])
async def test_its_limits_end_it(tmp_path: Path, limit: str, restarted: bool) -> None:
    async with CoordinatorStub() as stub, stopped_for_good(tmp_path, stub) as agent:
        session = await stub.session()
        pids = await begin(session, tmp_path, **{limit: 4_000})
        if restarted:
            await agent.kill()
            await agent.start()
            session = await stub.session(2)
        finished = (await session.report("t1", "finished")).finished
        assert finished.outcome == types.OUTCOME_TIMED_OUT
        why = "its time limit being over" if limit == "timeout_ms" else "having printed nothing for too long"
        assert f"{why}; its {KEPT_STOPPED}" in finished.error
        await until(lambda: KEPT_STOPPED in session.log_of("t1").decode(), "its log does not say why")
        assert finished.ended_at_ms - finished.started_at_ms >= 4_000
        assert agent.said().count("supervisor_kept_stopped") == 1
        assert "supervisor_lost" not in agent.said()
        await well_again(session, agent, pids)


@pytest.mark.parametrize("restarted", [False, True], ids=["", "with a restarted agent"])
async def test_a_cancel_ends_it(tmp_path: Path, restarted: bool) -> None:
    async with CoordinatorStub() as stub, stopped_for_good(tmp_path, stub) as agent:
        session = await stub.session()
        pids = await begin(session, tmp_path)
        if restarted:
            await agent.kill()
            stub.revoke = {"t1"}
            await agent.start()
            session = await stub.session(2)
        else:
            session.send(revoke=pb.Revoke(token="t1", reason="cancelled", grace_ms=200))  # noqa: S106 - a lease token
        dead = (await session.report("t1", "tree_dead")).tree_dead
        assert (dead.cause, dead.started) == (pb.DEATH_CAUSE_REVOKED, True)
        await until(lambda: KEPT_STOPPED in session.log_of("t1").decode(), "its log does not say why")
        stub.revoke = set()
        await well_again(session, agent, pids)


async def test_one_that_stops_it_as_fast_as_it_can_is_ended_by_whoever_gets_to_it(tmp_path: Path) -> None:
    """Where the machine has much else to do, that may be the supervisor."""
    script = stopping(tmp_path, AGAIN_AND_AGAIN)
    async with CoordinatorStub() as stub, commanding(tmp_path, stub, script) as agent:
        session = await stub.session()
        pids = await begin(session, tmp_path, timeout_ms=4_000)
        finished = (await session.report("t1", "finished")).finished
        assert finished.outcome == types.OUTCOME_TIMED_OUT
        assert (KEPT_STOPPED in finished.error) == ("supervisor_kept_stopped" in agent.said())
        await well_again(session, agent, pids)
