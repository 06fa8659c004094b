"""A job that would wait too long for its first target goes to its second one, through a real stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgjob import AsyncClient, Outcome
from tests.fakes.stack import Stack
from tests.integration.stack.specs import command, holding, pids, reach, simulated


async def test_of_a_long_queue_jobs_go_to_devices_that_idle_and_the_others_wait(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    # What an installation takes there is known then; it is 45 s until it is.
    await first.wait([job.job_id for job in await first.submit_many(simulated(org))], timeout_seconds=20)
    # Each in a group of its own: of one group so few jobs may not be worth four devices, and what comes for it may be
    # given to them ahead.
    await first.submit_many([command(org, holding(tmp_path), app_version_id=f"v{n}") for n in range(4)])
    await pids(tmp_path, 4)
    waiting: dict[str, Any] = {"app_version_id": "v9"}
    overflow = waiting | {"overflow_target": "emulator"}
    patient = [command(org, "true", **waiting) for _ in range(3)]
    staying = [command(org, "true", **overflow, overflow_after_seconds=604_800.0) for _ in range(3)]
    going = [command(org, "true", **overflow, overflow_after_seconds=1.0) for _ in range(6)]
    jobs = await first.submit_many([*patient, *staying, *going])
    ids = [job.job_id for job in jobs]
    done = [await reach(second, job_id, "completed", seconds=60) for job_id in ids[6:]]
    assert {job.target for job in done} == {"emulator"}
    assert {job.overflow.moved_from for job in done if job.overflow} == {"device"}
    assert [len(job.attempts) for job in done] == [1] * 6
    left = [await second.get(job_id) for job_id in ids[:6]]
    assert {str(job.target) for job in left} == {"device"}
    assert not any(job.final or job.started_at for job in left)
    (tmp_path / "go").touch()
    ended = await first.wait(ids, timeout_seconds=60)
    assert {job.outcome for job in ended} == {Outcome.PASSED}
    assert [str(job.target) for job in ended] == ["device"] * 6 + ["emulator"] * 6
