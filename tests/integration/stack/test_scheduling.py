"""What runs where and in which order, through a real stack."""

from __future__ import annotations

from qgjob import AsyncClient, Device, Outcome
from tests.fakes.stack import Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import pinned, simulated


async def _device(client: AsyncClient, device_id: str) -> Device:
    (device,) = [d async for d in client.devices() if d.device_id == device_id]
    return device


async def test_priority_decides_the_order_and_age_within_it(stack: Stack, org: str, first: AsyncClient) -> None:
    device = "sim-2-1"
    await first.drain(device_id=device)
    specs = [
        spec
        for priority in ("low", "medium", "high", "low", "high")
        for spec in simulated(org, priority=priority, requirements=pinned(device))
    ]
    ids = [(await first.submit(spec)).job_id for spec in specs]
    await first.resume(device_id=device)
    done = await first.wait(ids, timeout_seconds=20)
    order = sorted(range(len(done)), key=lambda i: str(done[i].started_at))
    assert order == [2, 4, 1, 0, 3]


async def test_p7_a_warm_device_keeps_its_group(stack: Stack, org: str, first: AsyncClient) -> None:
    """Two versions in turns on one device: it changes over once, not for each test."""
    device = "sim-2-1"
    before = await _device(first, device)
    await first.drain(device_id=device)
    specs = [
        spec
        for version in ("v1", "v2") * 6
        for spec in simulated(org, app_version_id=version, requirements=pinned(device))
    ]
    jobs = await first.submit_many(specs)
    await first.resume(device_id=device)
    done = await first.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert sum(a.install_ms is not None for job in done for a in job.attempts) == 2

    async def counted() -> bool:
        return (await _device(first, device)).installs == before.installs + 2

    await until(counted, "the device's installs are not counted")
    after = await _device(first, device)
    assert (after.org_id, after.app_version_id) == (org, "v2")
    stats = await first.stats(org)
    assert (stats.scheduler.installs, stats.scheduler.installs_saved) == (2, 10)


async def test_a_run_counts_its_jobs(stack: Stack, org: str, first: AsyncClient, second: AsyncClient) -> None:
    jobs = await first.submit_many(simulated(org, 6, run_id="ci-1"))
    done = await second.wait_run(org, "ci-1", timeout_seconds=20)
    assert [job.job_id for job in done] == [job.job_id for job in jobs]
    run = await second.run(org, "ci-1")
    assert (run.status_counts["completed"], run.outcome_counts["passed"]) == (6, 6)
    assert run.completed_at == max(job.completed_at for job in done if job.completed_at is not None)
