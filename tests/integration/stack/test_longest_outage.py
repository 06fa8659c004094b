"""The longest outage of the store that may kill no test; `python -m tests.outages` has the product's own times."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.bounds import RESUMED
from tests.fakes.stack import Stack, Times
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import BUSY_SECONDS
from tests.outages import AGENTS, Figures, outage

TIMES = Times(heartbeat=0.5, session=3.0, lease=15.0)


async def test_no_test_is_killed_by_an_outage_shorter_than_the_lease_of_agents_less_two_heartbeats(
    tmp_path: Path,
) -> None:
    """A store without an answer for longer than a call waits, and for three times as long as a session lasts."""
    store, figures = StoreProcess(tmp_path / "store", "--appendonly", "yes"), Figures()
    stack = Stack(tmp_path / "stack", agents=AGENTS, times=TIMES, store=store)
    try:
        await stack.start()
        async with stack.client() as client:
            await outage(stack, store, client, tmp_path / "outage", TIMES.patience - BUSY_SECONDS, figures)
    finally:
        await stack.stop()
    assert figures.ran == len(figures.jobs) > 0
    assert figures.lived == figures.ran
    assert figures.passed == len(figures.jobs)
    assert {len(job.attempts) for job in figures.jobs} == {1}
    assert max(figures.served) < RESUMED.within(TIMES)
