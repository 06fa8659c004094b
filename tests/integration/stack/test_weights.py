"""ORG_WEIGHTS decides how many devices an org gets, through a stack of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.integration.stack.specs import command, holding, pids

DEVICES = 4
# Installations take no time here: what has waited for less than five of them goes behind what has waited for longer,
# whatever the weights are, and between the two orgs' submissions a slow machine may take as long.
AGENT = AgentPlan("cmd-1", DEVICES, "device", runner="command", settings={"SIMULATED_INSTALL_SECONDS": 0})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def weighted(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One coordinator, four devices, three kinds of orgs: rich, poor, and those that are not named."""
    stack = Stack(
        tmp_path_factory.mktemp("weighted"),
        coordinators=1,
        agents=[AGENT],
        times=PATIENT,
        ORG_WEIGHTS="rich=3.5, poor=0.3",
    )
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.mark.parametrize(
    ("orgs", "devices"),
    [
        (("rich", "plain-1"), {"rich": 3, "plain-1": 1}),
        (("plain-2", "rich"), {"rich": 3, "plain-2": 1}),
        (("poor", "plain-3"), {"poor": 1, "plain-3": 3}),
        (("plain-4", "plain-5"), {"plain-4": 2, "plain-5": 2}),
    ],
)
async def test_devices_go_to_orgs_by_weight(
    weighted: Stack, tmp_path: Path, orgs: tuple[str, str], devices: dict[str, int]
) -> None:
    """Each org has more to do than there are devices; they become free at the same moment."""
    async with weighted.client(0) as client:
        await client.drain(agent_id=AGENT.agent_id)
        jobs = [
            await client.submit(command(org, holding(tmp_path), app_version_id=f"v{i}"))
            for org in orgs
            for i in range(DEVICES)
        ]
        await client.resume(agent_id=AGENT.agent_id)
        await pids(tmp_path, DEVICES)
        now = [await client.get(job.job_id) for job in jobs]
        assert Counter(job.org_id for job in now if job.device_id is not None) == devices
        (tmp_path / "go").touch()
        await client.wait([job.job_id for job in jobs], timeout_seconds=20)
