"""The store stands still for a while with the product's own times, and the tests that live on are counted.

    python -m tests.outages                      # 38 s, the longest outage that may kill no test, 10 times
    python -m tests.outages --seconds 55 --dies  # longer than a test may run without a word: none lives on

Prints what it counted, and exits with 1 when a test was killed (with `--dies`: when one was not), a job got another
verdict than its test's, or what a stopped store may take to serve again was exceeded.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from qgjob import AsyncClient, Job, Outcome
from tests.chaos.bounds import RESUMED
from tests.fakes.stack import AgentPlan, Stack, Times, alive
from tests.fakes.store_process import StoreProcess
from tests.integration.stack.specs import command, holding, pids, pinned, running

ORG = "outages"
TIMES = Times(heartbeat=5.0, session=15.0, lease=60.0)
TESTS = 4
AGENTS = (AgentPlan("cmd-1", TESTS, "device", 0, "command"), AgentPlan("cmd-2", TESTS, "device", 1, "command"))


@dataclass
class Figures:
    """What it came to. Times in seconds."""

    outages: list[float] = field(default_factory=list)
    """How long the store really stood still."""
    ran: int = 0
    lived: int = 0
    served: list[float] = field(default_factory=list)
    """From its end until all agents have sessions and a client's call is answered."""
    jobs: list[Job] = field(default_factory=list)

    def text(self) -> str:
        """A line for each figure."""
        attempts = sum(len(job.attempts) for job in self.jobs)
        return "\n".join(
            [
                f"outages                {len(self.outages)}, of {min(self.outages):.2f} to {max(self.outages):.2f} s",
                f"tests that ran         {self.ran}, and lived on {self.lived}",
                f"jobs                   {len(self.jobs)}, passed {self.passed}, in {attempts} attempts",
                f"all served again       after {max(self.served):.2f} s at most",
            ]
        )

    @property
    def passed(self) -> int:
        """Jobs whose verdict is that of their test."""
        return sum(job.outcome is Outcome.PASSED for job in self.jobs)


async def outage(
    stack: Stack, store: StoreProcess, client: AsyncClient, folder: Path, seconds: float, figures: Figures
) -> None:
    """One, at any moment between two heartbeats, while every device has a test."""
    folder.mkdir()
    devices = [f"{plan.agent_id}-{n + 1}" for plan in stack.plans.values() for n in range(plan.devices)]
    jobs = await client.submit_many([command(ORG, holding(folder), requirements=pinned(d)) for d in devices])
    for job in jobs:
        await running(client, job.job_id)
    tests = await pids(folder, len(jobs))
    await asyncio.sleep(random.uniform(0, stack.times.heartbeat))  # noqa: S311 - any phase of theirs
    begun = time.monotonic()
    store.pause()
    await asyncio.sleep(seconds)
    store.resume()
    ended = time.monotonic()
    figures.outages.append(ended - begun)
    await stack.online(*stack.agents)
    await client.stats(ORG)
    figures.served.append(time.monotonic() - ended)
    figures.ran += len(tests)
    figures.lived += sum(alive(pid) for pid in tests)
    (folder / "go").touch()
    figures.jobs += await client.wait([job.job_id for job in jobs], timeout_seconds=180)


async def _main(options: argparse.Namespace, folder: Path) -> int:
    store, figures = StoreProcess(folder / "store", "--appendonly", "yes"), Figures()
    stack = Stack(folder / "stack", agents=AGENTS, times=TIMES, store=store)
    try:
        await stack.start()
        async with stack.client() as client:
            for k in range(options.outages):
                await outage(stack, store, client, folder / f"outage-{k}", options.seconds, figures)
        print(figures.text())
    finally:
        await stack.stop()
    late = max(figures.served) > RESUMED.within(TIMES)
    return int(late or figures.lived != (0 if options.dies else figures.ran) or figures.passed != len(figures.jobs))


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=TIMES.patience)
    parser.add_argument("--dies", action="store_true", help="every test has to be killed, and its job run again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_main(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
