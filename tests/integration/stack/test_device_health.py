"""Devices that fail are taken out, probed, and let in again; what a build does wrong is not laid at their door."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from qgjob import AsyncClient, Device, DeviceHealth, Job, JobSpec, JobStatus, PendingCode
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.raw_agent import RawAgent
from tests.fakes.stack import AgentPlan, Stack, Times
from tests.fakes.waiting import until
from tests.integration.stack.conftest import keeps_promises
from tests.integration.stack.specs import command, pinned, simulated

BASE_SECONDS = 0.6
PATIENT = Times(heartbeat=0.5, session=5.0, lease=10.0)
"""A probe has a session's time for its answer: on a busy machine that is to be no short one."""


def plan(agent_id: str, home: int, devices: int = 3, **faults: object) -> AgentPlan:
    """An agent with emulators, some of them faulty."""
    settings = {f"SIMULATED_{name.upper()}": value for name, value in faults.items()}
    return AgentPlan(agent_id, devices, "emulator", home=home, settings=settings)


@contextlib.asynccontextmanager
async def farm(
    folder: Path, *agents: AgentPlan, quarantine: float = BASE_SECONDS
) -> AsyncIterator[tuple[Stack, AsyncClient]]:
    """Two coordinators with short quarantines (s); every job keeps the promises."""
    stack = Stack(folder, agents=agents, times=PATIENT, QUARANTINE_SECONDS=quarantine, INFRA_MAX_RETRIES=2)
    try:
        await stack.start()
        async with stack.client() as client:
            yield stack, client
        await keeps_promises(stack, "acme")
    finally:
        await stack.stop()


async def found(client: AsyncClient, device_id: str) -> Device:
    """A device that is there."""
    return {d.device_id: d async for d in client.devices()}[device_id]


def told(stack: Stack, event: str, **fields: object) -> list[dict[str, Any]]:
    """Lines of all coordinators, in order."""
    lines = [line for c in stack.coordinators for line in c.events(event, **fields)]
    return sorted(lines, key=lambda line: str(line["timestamp"]))


async def waits_for(client: AsyncClient, job: Job) -> bool:
    """Whether the job is told that its device is in quarantine."""
    reason = (await client.get(job.job_id)).pending_reason
    return reason is not None and reason.code is PendingCode.QUARANTINED


async def done(client: AsyncClient, jobs: Sequence[Job]) -> list[Job]:
    """The jobs when they all have their verdicts."""
    ended = await client.wait([job.job_id for job in jobs], timeout_seconds=40)
    return list(ended)


async def test_a_device_that_fails_installations_is_out_until_a_probe_finds_it_well(tmp_path: Path) -> None:
    bad = "sim-1-1"
    faulty = plan("sim-1", 0, failing_installs=bad, heal_after_probes=2)
    async with farm(tmp_path, faulty, plan("sim-2", 1)) as (stack, client):
        assert (await found(client, bad)).health is DeviceHealth.UNKNOWN
        jobs = [await client.submit(simulated("acme", app_version_id=f"v{n}")[0]) for n in range(24)]
        first = await stack.coordinators[0].says("device_quarantined", device_id=bad)
        count = re.fullmatch(r"automatic quarantine: (\d+) installations of \1 builds failed on it", first["reason"])
        assert count is not None, first["reason"]
        assert int(count[1]) >= 3, "more of them fail until it is known that no others do"
        assert first["in_a_row"] == 1

        waits = await client.submit(simulated("acme", requirements=pinned(bad))[0])
        await until(lambda: waits_for(client, waits), "it is not told that its device is in quarantine")
        seen = await found(client, bad)
        assert (seen.health, seen.reason and seen.reason.split(":")[0]) == (DeviceHealth.BAD, "automatic quarantine")
        assert seen.until is not None

        assert {job.status for job in await done(client, jobs)} == {JobStatus.COMPLETED}
        (served,) = await done(client, [waits])
        assert (served.status, served.device_id) == (JobStatus.COMPLETED, bad)
        lines = told(stack, "device_quarantined", device_id=bad)
        assert [line["in_a_row"] for line in lines] == [1, 2, 3]
        ends = [line["until"] for line in lines]
        assert ends[1] - ends[0] >= 2 * BASE_SECONDS * 1000
        assert ends[2] - ends[1] >= 4 * BASE_SECONDS * 1000
        assert [line["health"] for line in told(stack, "device_probed", device_id=bad)] == ["bad", "bad", "good"]
        assert len(told(stack, "device_readmitted", device_id=bad)) == 1
        well = await found(client, bad)
        assert (well.health, well.reason, well.until) == (DeviceHealth.GOOD, None, None)
        assert {line["device_id"] for line in told(stack, "device_quarantined")} == {bad}


async def test_a_device_on_which_tests_fail_that_pass_elsewhere_comes_back_for_shorter_each_time(
    tmp_path: Path,
) -> None:
    """Its probe finds nothing: it is let in each time, fails again, and is out for twice as long."""
    bad = "sim-2-1"
    async with farm(tmp_path, plan("sim-1", 0, 1), plan("sim-2", 1, 1, failing_tests=bad)) as (stack, client):
        jobs: list[Job] = []

        async def out_twice() -> bool:
            jobs.extend(await done(client, await client.submit_many(simulated("acme", 12))))
            return len(told(stack, "device_quarantined", device_id=bad)) > 1

        await until(out_twice, "it is not taken out again", seconds=60)
        first, second, *_ = told(stack, "device_quarantined", device_id=bad)
        assert (first["in_a_row"], second["in_a_row"]) == (1, 2)
        assert "tests failed on it that passed on another device" in first["reason"]
        assert second["reason"].endswith("the 2nd time in a row")
        assert [line["health"] for line in told(stack, "device_probed", device_id=bad)][:1] == ["good"]
        assert {job.status for job in jobs} == {JobStatus.COMPLETED}
        assert {line["device_id"] for line in told(stack, "device_quarantined")} == {bad}


async def test_a_build_that_installs_nowhere_takes_no_device_out(tmp_path: Path) -> None:
    broken = {"broken_builds": "broken-1,broken-2"}
    async with farm(tmp_path, plan("sim-1", 0, **broken), plan("sim-2", 1, **broken)) as (stack, client):
        good = await client.submit_many(simulated("acme", 6, app_version_id="good"))
        await done(client, good)
        jobs = await client.submit_many(simulated("acme", 12, app_version_id="broken-1"))
        ended = await done(client, jobs)
        assert {(job.status, job.error and job.error.error_class) for job in ended} == {
            (JobStatus.FAILED, "infrastructure")
        }
        line = next(iter(told(stack, "build_fails_everywhere")))
        assert (line["org_id"], line["app_version_id"]) == ("acme", "broken-1")
        assert told(stack, "device_quarantined") == []
        assert DeviceHealth.BAD not in {d.health async for d in client.devices()}


async def test_a_build_that_some_have_and_that_can_be_installed_no_more_takes_out_none_of_the_others(
    tmp_path: Path,
) -> None:
    """Three devices have it from before; each of three others fails to install it, for three jobs."""
    gone = {"broken_builds": "expired"}
    async with farm(tmp_path, plan("sim-1", 0), plan("sim-2", 1, **gone)) as (stack, client):

        def jobs(agent_id: str, each: int) -> list[JobSpec]:
            pins = [pinned(f"{agent_id}-{n}") for n in (1, 2, 3)]
            return [x for pin in pins for x in simulated("acme", each, app_version_id="expired", requirements=pin)]

        have = await done(client, await client.submit_many(jobs("sim-1", 1)))
        assert {job.status for job in have} == {JobStatus.COMPLETED}
        lack = await done(client, await client.submit_many(jobs("sim-2", 3)))
        assert {job.status for job in lack} == {JobStatus.FAILED}
        told_of = [line["app_version_id"] for line in told(stack, "build_fails_everywhere")]
        assert told_of == ["expired"]
        assert told(stack, "device_quarantined") == []


async def fails_three_installs(agent: RawAgent, client: AsyncClient, *, keep: int = 0) -> None:
    """Jobs of three builds for its only device, none of which can be installed; so many wait behind the last one.

    A job that failed comes back at any time: then it fails again, which counts as the same failure.
    """
    device_id = agent.device_ids[0]
    tried = 0
    for n in range(3):
        count = 1 + keep if n == 2 else 1
        fields = {"app_version_id": f"b{n}", "requirements": pinned(device_id), "target": "browserstack"}
        await client.submit_many(simulated("acme", count, **fields))
        build = ""
        while build != f"b{n}":
            assigned = (await agent.assigned(tried + 1))[tried]
            tried += 1
            build = assigned.app_version_id
            await fails_to_install(agent, assigned)


async def fails_to_install(agent: RawAgent, assigned: pb.Assignment) -> None:
    """An attempt that gets no further."""
    failure = pb.Installed(
        device_id=assigned.device_id,
        org_id="acme",
        app_version_id=assigned.app_version_id,
        outcome=types.OUTCOME_DEVICE_ERROR,
        install_ms=5,
        job_id=assigned.job_id,
        token=assigned.token,
    )
    await agent.send(installed=failure)
    await agent.finish(assigned, types.OUTCOME_DEVICE_ERROR, install_ms=5)


async def test_a_quarantine_outlives_its_coordinator_and_only_a_good_probe_ends_it(tmp_path: Path) -> None:
    async with farm(tmp_path) as (stack, client), RawAgent(stack.address(0), "raw") as agent:
        agent.gives_back = True  # one of the jobs may be back on the device by then
        await agent.hello()
        await fails_three_installs(agent, client)
        (device_id,) = agent.device_ids
        probe = await agent.message("device_command")
        assert (probe.device_id, probe.kind) == (device_id, pb.DEVICE_COMMAND_KIND_PROBE)
        stack.coordinators[0].kill()
        agent.address = stack.address(1)
        await agent.leave()

        async def welcome() -> bool:
            return (await agent.say_hello()).HasField("welcome")

        await until(welcome, "the other coordinator does not take the agent")
        assert (await found(client, device_id)).health is DeviceHealth.BAD
        await agent.message("device_command")
        bad = pb.ProbeResult(device_id=device_id, health=types.DEVICE_HEALTH_BAD, reason="no adb")
        await agent.send(probe_result=bad)
        line = await stack.coordinators[1].says("device_quarantined", device_id=device_id)
        assert (line["in_a_row"], line["reason"].partition("since a probe found: ")[2]) == (2, "no adb")
        await agent.message("device_command", times=2)
        assert (await found(client, device_id)).health is DeviceHealth.BAD, "its time is over, and it is not well yet"
        await agent.send(probe_result=pb.ProbeResult(device_id=device_id, health=types.DEVICE_HEALTH_GOOD))
        await stack.coordinators[1].says("device_readmitted", device_id=device_id)
        assert (await found(client, device_id)).health is DeviceHealth.GOOD
        (retried, *_) = await agent.assigned(1)
        assert retried.device_id == device_id


async def test_what_a_device_has_not_begun_is_taken_back_and_an_operator_ends_its_quarantine(tmp_path: Path) -> None:
    async with farm(tmp_path) as (stack, client), RawAgent(stack.address(0), "raw") as agent:
        await agent.hello()
        await fails_three_installs(agent, client, keep=3)
        (device_id,) = agent.device_ids
        recall = await agent.message("recall")
        assert set(recall.tokens) == set(agent.held), "what it has not begun goes elsewhere"
        for token in recall.tokens:
            agent.held.pop(token)
        await agent.send(recall_answer=pb.RecallAnswer(recall_id=recall.recall_id, released=recall.tokens))
        held = await client.set_device_health(device_id, "maintenance", reason="battery")
        assert (held.health, held.reason) == (DeviceHealth.MAINTENANCE, "battery")
        before = len([a for m in agent.all("assign") for a in m.assignments])
        (free,) = await client.resume(device_id=device_id)
        assert (free.health, free.reason, free.until) == (DeviceHealth.UNKNOWN, None, None)
        line = await stack.coordinators[0].says("device_readmitted", device_id=device_id)
        assert line["reason"] == "by hand"
        await agent.assigned(before + 1)


async def test_a_host_that_can_start_nothing_fails_no_job_that_another_one_runs(tmp_path: Path) -> None:
    """Its devices are free again at once and are offered all work, and a job has fewer retries than it has devices."""
    program = tmp_path / "run.sh"
    text = "#!/bin/sh\nexit 0\n"
    program.write_text(text)
    program.chmod(0o755)
    sick = AgentPlan("sick", 8, "device", home=0, runner="command", settings={"COMMAND_ARGV": program})
    well = AgentPlan("well", 1, "device", home=1, runner="command", settings={"COMMAND_ARGV": "sleep 0.05"})
    async with farm(tmp_path, sick, well, quarantine=60) as (stack, client):
        await stack.online("sick", "well")
        program.unlink()
        ended = await done(client, await client.submit_many([command("acme", "") for _ in range(24)]))
        assert {(job.status, job.device_id) for job in ended} == {(JobStatus.COMPLETED, "well-1")}
        assert all(len(job.attempts) <= 2 for job in ended), "one on the host that is broken, at most"

        lines = [await stack.coordinators[0].says("device_quarantined", device_id=f"sick-{n}") for n in range(1, 9)]
        assert any("agent sick could not start" in line["reason"] for line in lines), lines
        named = [f for f in (await client.diagnose()).findings if f.check == "agents.starts"]
        assert [f.subject for f in named] == ["sick"]

        program.write_text(text)
        program.chmod(0o755)
        await client.resume(device_id="sick-1")
        (ran,) = await done(client, [await client.submit(command("acme", "", requirements=pinned("sick-1")))])
        assert (ran.status, ran.device_id) == (JobStatus.COMPLETED, "sick-1")
        assert not told(stack, "device_quarantined", device_id="well-1")
