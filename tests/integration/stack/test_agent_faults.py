"""An agent may die, hang or come back at any instant: P1, P2, P3, P4 and P9 hold."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

from qgjob import AsyncClient, DeviceHealth, ErrorClass, Job, JobStatus, Outcome
from tests.chaos.bounds import SETTLED
from tests.fakes.stack import Stack, alive
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running, simulated


def first_holds(folder: Path) -> str:
    """The first run holds its device, later ones pass; one that finds the first alive fails."""
    later = f"if [ -e {folder}/pid ]; then kill -0 $(cat {folder}/pid) 2>/dev/null && exit 7; exit 0; fi"
    return f"{later}; {holding(folder)}"


def said_at(event: dict[str, Any]) -> float:
    """When a program said it, in seconds since 1970."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


async def test_p9_a_killed_agent_that_comes_back_adopts_what_runs(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    (job,) = await first.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
    before = await running(first, job.job_id)
    (pid,) = await pids(tmp_path)
    stack.agents["cmd-1"].kill()
    assert alive(pid)
    stack.agents["cmd-1"].start()
    began = await stack.agents["cmd-1"].says("agent_started")  # what Python takes to load it is not the product's time
    opened = await stack.agents["cmd-1"].says("session_opened", adopted=1, lost=0)
    assert said_at(opened) - said_at(began) < SETTLED.within(stack.times)
    (tmp_path / "go").touch()
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert done.outcome is Outcome.PASSED
    assert await pids(tmp_path) == [pid]
    assert [a.started_at for a in done.attempts] == [before.started_at]


async def test_p1_what_a_dead_agent_ran_runs_elsewhere_when_its_lease_is_over(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    await first.drain(agent_id="cmd-2")
    (job,) = await first.submit_many([command(org, first_holds(tmp_path), max_retries=0)])
    await pids(tmp_path)
    await running(first, job.job_id)
    stack.agents["cmd-1"].kill()
    await first.resume(agent_id="cmd-2")
    (done,) = await first.wait(job.job_id, timeout_seconds=30)
    lost, won = done.attempts
    assert (lost.agent_id, lost.outcome) == ("cmd-1", Outcome.AGENT_LOST)
    assert lost.error is not None
    assert lost.error.error_class is ErrorClass.INFRASTRUCTURE
    assert (won.agent_id, done.outcome, done.retry_count) == ("cmd-2", Outcome.PASSED, 0)


def takes_its_host(stack: Stack, agent_id: str) -> list[int]:
    """The host ends and takes all with it: the daemon at once, and its supervisors, whose ids these are."""
    agent = stack.agents[agent_id]
    agent.kill()
    locks = (stack.folder / agent_id / "state").glob("executions/*/lock")
    supervisors = [pid for pid in map(int, (lock.read_text() for lock in locks)) if alive(pid)]
    for pid in supervisors:
        os.kill(pid, signal.SIGKILL)
    return supervisors


async def test_p1_what_a_host_takes_with_it_that_is_soon_back_runs_on_another(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    """Its lease lives on, and is adopted; nobody blames the device, and what the test had printed is kept."""
    await first.drain(agent_id="cmd-2")
    lives = f"grep -qs '^State:.[^ZX]' /proc/$(cat {tmp_path}/pid)/status"
    script = f"echo step 1; if [ -e {tmp_path}/pid ]; then {lives} && exit 7; exit 0; fi; {holding(tmp_path)}"
    (job,) = await first.submit_many([command(org, script, max_retries=0)])
    await pids(tmp_path)
    await running(first, job.job_id)
    await until(lambda: _log(first, job.job_id), "the first line is not told")
    assert takes_its_host(stack, "cmd-1")
    await first.resume(agent_id="cmd-2")
    stack.agents["cmd-1"].start()
    await stack.agents["cmd-1"].says("session_opened", adopted=1, lost=0)
    (done,) = await first.wait(job.job_id, timeout_seconds=30)
    lost, won = done.attempts
    assert (lost.agent_id, lost.outcome) == ("cmd-1", Outcome.AGENT_LOST)
    assert lost.error is not None
    assert (lost.error.error_class, "restarted" in lost.error.message) == (ErrorClass.INFRASTRUCTURE, True)
    assert (won.agent_id, won.outcome, done.retry_count) == ("cmd-2", Outcome.PASSED, 0)
    said = b"".join([chunk.data async for chunk in first.logs(job.job_id, attempt=1)])
    assert said == b"step 1\n\n[the supervisor was killed; output from here on is lost]\n"
    healths = {d.device_id: d.health async for d in first.devices()}
    assert healths[lost.device_id] is DeviceHealth.GOOD


async def test_a_test_that_takes_two_hosts_with_it_meets_no_third(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    """Each is back long before its session is given up, and it has a device that the test has not met."""
    (job,) = await first.submit_many([command(org, holding(tmp_path), max_retries=0)])
    for number in (1, 2):
        await pids(tmp_path, number)
        agent_id = (await running(first, job.job_id)).attempts[-1].agent_id
        assert agent_id is not None
        assert takes_its_host(stack, agent_id)
        stack.agents[agent_id].start()
        await stack.online(agent_id)
    (done,) = await first.wait(job.job_id, timeout_seconds=30)
    assert (done.status, done.outcome) == (JobStatus.FAILED, Outcome.AGENT_LOST)
    assert [a.outcome for a in done.attempts] == [Outcome.AGENT_LOST] * 2
    assert {a.agent_id for a in done.attempts} == {"cmd-1", "cmd-2"}


async def test_an_agent_away_for_less_than_its_lease_goes_on(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    agent = stack.agents["cmd-1"]
    (job,) = await first.submit_many([command(org, holding(tmp_path), requirements=pinned("cmd-1-1"))])
    await running(first, job.job_id)
    (pid,) = await pids(tmp_path)
    agent.pause()
    await until(lambda: stack.at("cmd-1") is None, "the session does not time out")
    (tmp_path / "go").touch()
    await until(lambda: not alive(pid), "the test does not end")
    agent.resume()
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert (done.outcome, len(done.attempts)) == (Outcome.PASSED, 1)


async def test_p3_an_agent_away_for_longer_than_its_lease_is_too_late(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    """One test hangs, and its supervisor kills it; the other passes unseen. Both run elsewhere, and that counts."""
    agent = stack.agents["cmd-1"]
    hanging, unseen = tmp_path / "hanging", tmp_path / "unseen"
    hanging.mkdir()
    unseen.mkdir()
    await first.drain(agent_id="cmd-2")
    jobs = await first.submit_many(
        [command(org, first_holds(f), max_retries=0, app_version_id=f.name) for f in (hanging, unseen)]
    )
    (pid,), (unseen_pid,) = await pids(hanging), await pids(unseen)
    for job in jobs:
        await running(first, job.job_id)
    agent.pause()
    (unseen / "go").touch()
    await until(lambda: not alive(unseen_pid), "the unseen test does not end")
    assert alive(pid)
    await first.resume(agent_id="cmd-2")
    await until(lambda: not alive(pid), "the supervisor does not kill")
    done = await first.wait([job.job_id for job in jobs], timeout_seconds=30)
    agent.resume()
    await stack.online("cmd-1")
    await until(
        lambda: len(agent.events("attempt_finished")) + len(agent.events("attempt_dead")) >= 2, "no late reports"
    )
    await _next_runs(first, org, "cmd-1-1")
    await _next_runs(first, org, "cmd-1-2")
    for job in done:
        assert job.outcome is Outcome.PASSED
        assert [(a.agent_id, a.outcome) for a in job.attempts] == [
            ("cmd-1", Outcome.AGENT_LOST),
            ("cmd-2", Outcome.PASSED),
        ]
        assert (await first.get(job.job_id)).attempts == job.attempts


async def _next_runs(client: AsyncClient, org: str, device_id: str) -> None:
    """The device is free: it runs another job."""
    (job,) = await client.submit_many([command(org, "exit 0", requirements=pinned(device_id))])
    (done,) = await client.wait(job.job_id, timeout_seconds=20)
    assert done.outcome is Outcome.PASSED


async def test_p1_an_agent_that_lost_its_disk_jumps_above_its_old_epoch(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    agent = stack.agents["sim-1"]
    jobs = await first.submit_many(simulated(org, 30, max_retries=0))
    await reach(first, jobs[0].job_id, JobStatus.COMPLETED)
    agent.kill()
    agent.start(STATE_DIR=tmp_path / "state")
    done = await first.wait([job.job_id for job in jobs], timeout_seconds=30)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    await stack.online("sim-1")  # the others may have done all before it was back
    assert {a.outcome for job in done for a in job.attempts} <= {Outcome.PASSED, Outcome.AGENT_LOST}


async def test_what_an_agent_shuts_down_runs_elsewhere_and_charges_nobody(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    await first.drain(agent_id="cmd-2")
    (job,) = await first.submit_many([command(org, first_holds(tmp_path), max_retries=0)])
    await pids(tmp_path)
    await running(first, job.job_id)
    stack.agents["cmd-1"].terminate()
    assert await stack.agents["cmd-1"].exit_code() == 0
    await first.resume(agent_id="cmd-2")
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert (done.outcome, done.retry_count, len(done.attempts)) == (Outcome.PASSED, 0, 2)
    assert done.attempts[1].agent_id == "cmd-2"


async def test_p2_agents_killed_again_and_again_under_load(stack: Stack, org: str) -> None:
    acknowledged: list[Job] = []
    async with stack.client() as client:
        for name in ("sim-1", "sim-2", "sim-1"):
            acknowledged += await client.submit_many(simulated(org, 30, max_retries=0))
            await reach(client, acknowledged[-30].job_id, JobStatus.COMPLETED)
            stack.agents[name].kill()
            stack.agents[name].start()
            await asyncio.sleep(0)
        done = await client.wait([job.job_id for job in acknowledged], timeout_seconds=40)
    assert {job.outcome for job in done} <= {Outcome.PASSED, Outcome.AGENT_LOST}
    assert sum(job.outcome is Outcome.PASSED for job in done) >= len(done) - 3


async def test_the_output_of_a_test_that_ended_while_its_agent_was_dead_is_kept_to_its_end(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    script = f"echo step 1; {holding(tmp_path)}; head -c 50000 /dev/zero | tr '\\0' x; echo boom; exit 1"
    (job,) = await first.submit_many([command(org, script, max_retries=0, requirements=pinned("cmd-1-1"))])
    (pid,) = await pids(tmp_path)
    await running(first, job.job_id)
    await until(lambda: _log(first, job.job_id), "the first line is not told")
    stack.agents["cmd-1"].kill()
    (tmp_path / "go").touch()
    await until(lambda: not alive(pid), "the test does not end")
    stack.agents["cmd-1"].start()
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert (done.outcome, len(done.attempts)) == (Outcome.TEST_FAILED, 1)
    assert await _log(first, job.job_id) == b"step 1\n" + b"x" * 50_000 + b"boom\n"


async def test_output_of_the_time_without_coordinators_is_kept_to_its_end(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    """The coordinators are killed and started again; the test ends in between, and its agent goes where it can."""
    script = f"echo step 1; {holding(tmp_path)}; head -c 50000 /dev/zero | tr '\\0' x; echo boom; exit 1"
    (job,) = await first.submit_many([command(org, script, max_retries=0, requirements=pinned("cmd-1-1"))])
    (pid,) = await pids(tmp_path)
    await running(first, job.job_id)
    for coordinator in stack.coordinators:
        coordinator.kill()
    (tmp_path / "go").touch()
    await until(lambda: not alive(pid), "the test does not end")
    for coordinator in reversed(stack.coordinators):
        coordinator.start()
        await coordinator.says("coordinator_ready")
    async with stack.client() as client:
        (done,) = await client.wait(job.job_id, timeout_seconds=20)
        assert (done.outcome, len(done.attempts)) == (Outcome.TEST_FAILED, 1)
        assert await _log(client, job.job_id) == b"step 1\n" + b"x" * 50_000 + b"boom\n"


async def test_an_agent_that_moves_to_another_coordinator_leaves_no_gap_in_its_output(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    """Its coordinator hangs: nobody knows what it still took in of the lines that go on meanwhile."""
    lines = f"i=0; while [ ! -e {tmp_path}/go ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo end $i"
    (job,) = await first.submit_many([command(org, lines, max_retries=0, requirements=pinned("cmd-1-1"))])
    await running(first, job.job_id)
    await until(lambda: _log(first, job.job_id), "the first line is not told")
    stack.coordinators[0].pause()
    await until(lambda: stack.at("cmd-1") == 1, "the agent does not move")
    (tmp_path / "go").touch()
    (done,) = await second.wait(job.job_id, timeout_seconds=20)
    assert (done.outcome, len(done.attempts)) == (Outcome.PASSED, 1)
    said = (await _log(second, job.job_id)).decode().splitlines()
    assert said == [*(f"line {n}" for n in range(1, len(said))), f"end {len(said) - 1}"]


async def _log(client: AsyncClient, job_id: str) -> bytes:
    """What is kept of the latest attempt's output."""
    return b"".join([chunk.data async for chunk in client.logs(job_id)])
