"""A waiting job can say why (P8): every code, through the API. `quota` is in test_limits.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from qgjob import AsyncClient, Explanation, JobSpec, PendingCode, PendingReason, Requirements
from tests.fakes.raw_agent import RawAgent
from tests.fakes.stack import Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pinned, running, simulated

AN_HOUR = timedelta(hours=1)


async def waits(client: AsyncClient, job_id: str, code: PendingCode) -> PendingReason:
    """The job's pending reason when it has this code."""
    last: list[PendingReason | None] = []

    async def look() -> PendingReason | None:
        last[:] = [(await client.get(job_id)).pending_reason]
        return last[0] if last[0] is not None and last[0].code is code else None

    reason: PendingReason = await until(look, lambda: f"not {code}: {last}")
    return reason


async def test_p8_nothing_could_ever_serve_it(stack: Stack, org: str, first: AsyncClient) -> None:
    job = await first.submit(JobSpec(org, "v1", "a.js", requirements=Requirements(platform="ios", os_version="99")))
    reason = await waits(first, job.job_id, PendingCode.NO_RESOURCE)
    assert "emulator" in reason.message
    explained = await first.explain(job.job_id)
    assert not any(device.feasible for device in explained.devices)
    assert any("platform is android, not ios" in device.message for device in explained.devices)


async def test_p8_no_device_online_then_served_when_it_is(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        await agent.leave()
        job = await first.submit(simulated(org, target="browserstack", requirements=pinned(f"{org}-raw-1"))[0])
        reason = await waits(first, job.job_id, PendingCode.NO_DEVICE_ONLINE)
        assert "start its agent" in reason.message
        await agent.hello()
        (a,) = await agent.assigned(1)
        await agent.passes(a)


async def test_p8_all_busy_with_its_place(stack: Stack, org: str, first: AsyncClient, tmp_path: Path) -> None:
    device = {"requirements": pinned("cmd-1-1")}
    held = await first.submit(command(org, holding(tmp_path), **device))
    await running(first, held.job_id)
    one, two = await first.submit_many([command(org, "exit 0", app_version_id="v2", **device) for _ in range(2)])
    reason = await waits(first, two.job_id, PendingCode.ALL_BUSY)
    assert reason.position == 2
    assert (await waits(first, one.job_id, PendingCode.ALL_BUSY)).position == 1
    await expected(first, one.job_id, two.job_id)
    (tmp_path / "go").touch()
    await first.wait([held.job_id, one.job_id, two.job_id], timeout_seconds=20)


async def expected(client: AsyncClient, sooner: str, later: str) -> None:
    """Both are told when they are to start, with the band; their group when it ends; the device when it is free."""

    async def look(job_id: str) -> Explanation | None:
        found = await client.explain(job_id)
        reason = found.job.pending_reason
        known = reason is not None and reason.estimated_start_at is not None
        return found if known and all(d.free_at is not None for d in found.devices if d.feasible) else None

    starts = []
    for job_id in (sooner, later):
        explained: Explanation = await until(lambda job_id=job_id: look(job_id), f"{job_id} has no expected start")
        reason = explained.job.pending_reason
        assert reason is not None
        assert reason.estimated_start_at is not None
        assert explained.earliest_start_at is not None
        assert explained.latest_start_at is not None
        assert explained.earliest_start_at <= reason.estimated_start_at <= explained.latest_start_at
        starts.append(reason.estimated_start_at)
        assert len([each for each in explained.devices if each.feasible]) == 1
    assert starts[0] < starts[1]
    org = sooner.partition("~")[0]

    async def ends_after() -> bool:
        """What is told is as old as the last look ahead; behind a test that is late it moves on."""
        (end,) = [group.estimated_end_at async for group in client.groups(org) if group.queued]
        return end is not None and end > starts[1]

    await until(ends_after, "the group does not end after its last job starts")


async def test_p8_a_job_that_waits_for_its_time_says_when(stack: Stack, org: str, first: AsyncClient) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + AN_HOUR
    job = await first.submit(simulated(org, not_before=at)[0])
    assert (await waits(first, job.job_id, PendingCode.RETRY_WAIT)).retry_at == at


async def test_p8_held_back_by_people(stack: Stack, org: str, first: AsyncClient, second: AsyncClient) -> None:
    device = "cmd-2-1"
    await first.drain(device_id=device, reason="cable")
    job = await first.submit(command(org, "exit 0", requirements=pinned(device)))
    await waits(second, job.job_id, PendingCode.DRAINING)
    await second.set_device_health(device, "bad", reason="screen is broken")
    await waits(first, job.job_id, PendingCode.QUARANTINED)
    considered = {d.device_id: d.message for d in (await first.explain(job.job_id)).devices}
    assert considered[device] == "is in bad health: screen is broken"
    await first.set_device_health(device, "maintenance", reason="new battery")
    await waits(second, job.job_id, PendingCode.QUARANTINED)
    await second.reserve(device, until=datetime.now(UTC) + AN_HOUR, reason="a look by hand")
    considered = {d.device_id: d.message for d in (await first.explain(job.job_id)).devices}
    assert considered[device] == "is in maintenance: new battery"  # which is over after the reservation
    await first.resume(device_id=device)
    await waits(first, job.job_id, PendingCode.RESERVED)
    await first.release(device)
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert done.device_id == device


async def test_a_hold_ends_by_itself_when_its_time_is_over(stack: Stack, org: str, first: AsyncClient) -> None:
    device = "cmd-2-1"
    await first.reserve(device, until=datetime.now(UTC) + timedelta(seconds=1), reason="a moment")
    job = await first.submit(command(org, "exit 0", requirements=pinned(device)))
    await waits(first, job.job_id, PendingCode.RESERVED)
    (done,) = await first.wait(job.job_id, timeout_seconds=20)
    assert done.device_id == device
