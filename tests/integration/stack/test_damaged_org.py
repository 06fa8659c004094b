"""One org's data can't be used: two coordinators and their agents serve all others, and that one again once mended."""

from __future__ import annotations

from pathlib import Path

from qgjob import AsyncClient, JobStatus
from tests.fakes.damage import damaged
from tests.fakes.stack import Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pinned, simulated


async def test_jobs_of_other_orgs_run_while_one_is_damaged_and_its_own_when_it_is_mended(
    stack: Stack, first: AsyncClient, org: str, tmp_path: Path
) -> None:
    bad, good = f"{org}-bad", f"{org}-good"
    (held,) = await first.submit_many([command(bad, holding(tmp_path))])
    await until((tmp_path / "pid").exists, "it does not begin")
    (waiting,) = await first.submit_many(simulated(bad, requirements=pinned("no-such-device")))
    lives = [coordinator.pid for coordinator in stack.coordinators]
    with stack.store.client() as raw, damaged(raw, "dl", org_id=bad):
        await until(lambda: all(_told(stack, i, bad) for i in (0, 1)), "nobody is told")
        jobs = await first.submit_many(simulated(good, 5))
        done = await first.wait([job.job_id for job in jobs], timeout_seconds=30)
        assert {job.status for job in done} == {JobStatus.COMPLETED}
        (finding,) = [f for f in (await first.diagnose()).findings if f.check == "orgs.data" and f.subject == bad]
        assert "WRONGTYPE" in finding.found
        summary = (await first.explain(waiting.job_id)).summary
        assert summary is not None
        assert summary.startswith(f"the data of org {bad} can't be used (ResponseError: WRONGTYPE")
        assert (await first.stats()).queue.completed >= 5
        assert [coordinator.pid for coordinator in stack.coordinators] == lives
        assert all(coordinator.running for coordinator in stack.coordinators)
    (tmp_path / "go").touch()
    (fresh,) = await first.submit_many(simulated(bad))
    done = await first.wait([held.job_id, fresh.job_id], timeout_seconds=90)
    assert {job.status for job in done} == {JobStatus.COMPLETED}
    assert [coordinator.pid for coordinator in stack.coordinators] == lives


def _told(stack: Stack, i: int, org_id: str) -> bool:
    """The coordinator says that its timers set the org aside, and where that happened."""
    lines = [x for x in stack.coordinators[i].events("org_damaged") if x["org_id"] == org_id]
    return any(x["part"] == "timers" and x["level"] == "error" and "snapshots" in str(x) for x in lines)
