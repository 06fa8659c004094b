"""A whole stack on a store that gives its user the rights that docs/operations.md names, and no others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qgjob import JobStatus
from tests.fakes import history
from tests.fakes.limited_store import LimitedStore
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.store_audit import audit
from tests.integration.stack.specs import command, simulated

AGENTS = (
    AgentPlan("sim-1", 3, "emulator", home=0),
    AgentPlan("cmd-1", 2, "device", home=1, runner="command"),
)


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[Stack]:
    store = LimitedStore(tmp_path / "store", "--appendonly", "yes", "--appendfsync", "always")
    stack = Stack(tmp_path, agents=AGENTS, times=PATIENT, store=store)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


async def test_a_stack_works_with_the_rights_of_the_page_and_is_refused_nothing(limited: Stack) -> None:
    async with limited.client() as client:
        jobs = await client.submit_many([*simulated("acme", 5), *(command("acme", f"exit {n}") for n in (0, 0, 1))])
        done = await client.wait([job.job_id for job in jobs], timeout_seconds=60)
        assert {job.status for job in done} == {JobStatus.COMPLETED, JobStatus.FAILED}
        (long,) = await client.submit_many([command("acme", "sleep 600")])
        await client.cancel(long.job_id)
        (cancelled,) = await client.wait(long.job_id, timeout_seconds=60)
        assert cancelled.status is JobStatus.CANCELLED
        await client.reserve("cmd-1-1", until=datetime.now(UTC) + timedelta(minutes=1))
        await client.release("cmd-1-1")
        assert [job async for job in client.list("acme")]
        assert (await client.stats()).queue.completed == 7
    with limited.store.client() as admin:
        await limited.quiet("acme")
        async with limited.client() as client:
            await history.check(client, admin, ["acme"])
        assert audit(admin) == []
        assert admin.execute_command("ACL", "LOG") == []
    for coordinator in limited.coordinators:
        assert not coordinator.events("store_away")
        assert not coordinator.events("hints_refused")
