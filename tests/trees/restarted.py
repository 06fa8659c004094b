"""Kills an agent (-9) with all its devices busy, and half of the supervisors with it; how long until all is settled."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from qgjob import AsyncClient, Job, JobSpec
from tests.fakes.stack import AgentPlan, Stack, Times
from tests.fakes.waiting import until
from tests.trees.cancelled import marked, quantile
from tests.trees.kinds import KINDS

ORG = "restarts"
SESSION_SECONDS = 15.0
SETTLE_SECONDS = 60.0


@dataclass(slots=True)
class Found:
    """Seconds from the start of the new daemon; `survivors` is what outlived its attempt's reported end."""

    adopted: list[float] = field(default_factory=list)
    released: list[float] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)


async def measure(folder: Path, rounds: int, devices: int) -> Found:
    """So many kills of an agent with so many devices, under the default times of leases and sessions."""
    agent = AgentPlan("trees", devices, "device", runner="command")
    times = Times(heartbeat=5.0, session=SESSION_SECONDS, lease=60.0)
    stack = Stack(folder, coordinators=1, agents=(agent,), times=times, KILL_GRACE_SECONDS=1)
    found = Found()
    await stack.start()
    try:
        async with stack.client() as client:
            for number in range(rounds):
                await _round(stack, client, folder, f"round-{os.getpid()}-{number}-", devices, found)
    finally:
        await stack.stop()
    return found


async def _round(stack: Stack, client: AsyncClient, folder: Path, mark: str, devices: int, found: Found) -> None:
    agent = stack.agents["trees"]
    jobs = await client.submit_many(
        JobSpec(
            org_id=ORG,
            app_version_id="v1",
            test_path=f"{mark}{n}.js",
            target="device",
            env={"TEST": KINDS["double_forked"], "TREE": f"{mark}{n}-", "UP": str(folder / f"{mark}{n}")},
        )
        for n in range(devices)
    )
    await until(lambda: len(list(folder.glob(f"{mark}*"))) == devices, "not all are up", seconds=SETTLE_SECONDS)
    await asyncio.gather(*(_running(client, job) for job in jobs))
    locks = sorted((folder / "trees" / "state").glob("executions/*/lock"))
    doomed = {lock.parent.name: int(lock.read_text()) for lock in locks[: devices // 2]}
    agent.kill()
    for pid in doomed.values():
        os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    agent.start()
    opened = await agent.says("session_opened")
    found.adopted.append(time.monotonic() - began)
    assert (opened["adopted"], opened["lost"]) == (devices, 0), opened

    async def ended() -> list[Job]:
        seen = [await client.get(job.job_id) for job in jobs]
        over = [job for job in seen if job.attempts[0].ended_at is not None]
        return over if len(over) == len(doomed) else []

    over: list[Job] = await until(ended, "what lost its supervisor is not released", seconds=SETTLE_SECONDS)
    found.released.append(time.monotonic() - began)
    for job in over:
        # Those that come again have the same mark: what lived before is what ran before the new attempt.
        assert job.attempts[0].error is not None, job
        assert "its agent was restarted without it" in job.attempts[0].error.message
    await stack.quiet(ORG)
    found.survivors += marked(mark)


async def _running(client: AsyncClient, job: Job) -> None:
    async def look() -> bool:
        return (await client.get(job.job_id)).status == "running"

    await until(look, f"{job.job_id} does not run", seconds=SETTLE_SECONDS)


def lines(found: Found) -> list[str]:
    """A table for people, in Markdown."""

    def row(name: str, seconds: list[float]) -> str:
        return f"| {name} | {len(seconds)} | {quantile(seconds, 0.5):.2f} s | {max(seconds):.2f} s |"

    head = ["| from the start of the daemon until | restarts | p50 | longest |", "|---|---|---|---|"]
    return [
        *head,
        row("all that runs is adopted", found.adopted),
        row("what lost its supervisor is dead and released", found.released),
    ]
