"""Coordinators end in turn under load, and what that costs is counted.

    python -m tests.rolling_restart                    # SIGTERM to two coordinators, 20 times in turn
    python -m tests.rolling_restart --kill             # SIGKILL
    python -m tests.rolling_restart --processes 4      # SIGHUP to a parent of four, until 20 of them were replaced

Prints what it counted, and exits with 1 when an attempt more was made than jobs, a job was lost, or clients and agents
were served later than within a session timeout and what a busy machine may add. With SIGKILL an attempt that was
granted and never told to its agent may be granted again: it is charged to nobody, and was never begun.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from qgjob import AsyncClient, Job
from tests.chaos.bounds import SERVED
from tests.fakes.stack import Stack, Times
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, simulated

ORG = "rolling"
WORKERS = 4
LONG_SECONDS = 3
"""Some tests are longer than a restart, so that each meets some that run."""


@dataclass
class Figures:
    """What it cost. Times in seconds."""

    restarts: int = 0
    jobs: list[Job] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    """From a submission to its acknowledgement, repeats included."""
    served: list[float] = field(default_factory=list)
    """From the signal until all agents have sessions elsewhere, and a client's call is answered."""
    running: list[int] = field(default_factory=list)
    """How many attempts ran when a coordinator was told to end."""
    acknowledged: int = 0

    @property
    def attempts(self) -> int:
        """All that were made."""
        return sum(len(job.attempts) for job in self.jobs)

    @property
    def begun(self) -> int:
        """Those that an agent began."""
        return sum(a.started_at is not None for job in self.jobs for a in job.attempts)

    @property
    def outcomes(self) -> Counter[str]:
        """How the jobs ended."""
        return Counter(str(job.outcome) for job in self.jobs)

    def text(self) -> str:
        """A line for each figure."""
        jobs = len(self.jobs)
        return "\n".join(
            [
                f"coordinators ended     {self.restarts}, while {min(self.running)} to {max(self.running)} tests ran",
                f"jobs acknowledged      {self.acknowledged}, lost {self.acknowledged - jobs}",
                f"outcomes               {dict(self.outcomes)}",
                f"attempts               {self.attempts}, extra {self.attempts - jobs}; begun {self.begun}",
                f"all served again       after {max(self.served):.2f} s at most",
                f"longest submission     {max(self.calls):.2f} s",
            ]
        )


@contextlib.asynccontextmanager
async def load(stack: Stack, org: str, figures: Figures) -> AsyncIterator[None]:
    """Workers that submit, wait and submit again; at the end all their jobs have verdicts and are in the figures."""
    over = asyncio.Event()
    workers = [asyncio.create_task(_work(stack, org, figures, over)) for _ in range(WORKERS)]
    try:
        yield
    finally:
        over.set()
        await asyncio.gather(*workers)


async def _work(stack: Stack, org: str, figures: Figures, over: asyncio.Event) -> None:
    async with stack.client() as client:
        while not over.is_set():
            specs = [*simulated(org, 3), command(org, "sleep 0.1"), command(org, f"sleep {LONG_SECONDS}")]
            begun = time.monotonic()
            jobs = await client.submit_many(specs)
            figures.calls.append(time.monotonic() - begun)
            figures.acknowledged += len(jobs)
            figures.jobs += await client.wait([job.job_id for job in jobs], timeout_seconds=120)


async def in_turn(stack: Stack, org: str, restarts: int, *, kill: bool = False) -> Figures:
    """Ends one coordinator after the other; each serves again before the next is ended."""
    figures = Figures()
    async with stack.client() as client, load(stack, org, figures):
        for k in range(restarts):
            i = k % len(stack.coordinators)
            figures.running.append(await until(lambda: _running(client, org), "no test runs", seconds=60))
            begun = time.monotonic()
            coordinator = stack.coordinators[i]
            coordinator.kill() if kill else coordinator.terminate()
            await until(lambda: all(stack.at(a) not in (None, i) for a in stack.agents), "agents have no session")  # noqa: B023
            await client.stats(org)
            figures.served.append(time.monotonic() - begun)
            figures.restarts += 1
            assert kill or await coordinator.exit_code() == 0
            coordinator.start()
            await stack.serving(i)
    return figures


async def _running(client: AsyncClient, org: str) -> int:
    return (await client.stats(org)).queue.running


async def of_processes(stack: Stack, org: str, restarts: int) -> Figures:
    """SIGHUP to a parent, again and again, until so many processes were replaced."""
    figures = Figures()
    (parent,) = stack.coordinators
    async with stack.client() as client, load(stack, org, figures):
        while figures.restarts < restarts:
            figures.running.append(await until(lambda: _running(client, org), "no test runs", seconds=60))
            ended = len(parent.events("process_ended", how="asked"))
            done = len(parent.events("restart_done"))
            parent.hang_up()
            while len(parent.events("restart_done")) == done:
                begun = time.monotonic()
                await asyncio.gather(stack.online(*stack.agents), client.stats(org))
                figures.served.append(time.monotonic() - begun)
            figures.restarts += len(parent.events("process_ended", how="asked")) - ended
    return figures


async def _main(options: argparse.Namespace, folder: Path) -> int:
    times = Times(heartbeat=1.0, session=15.0, lease=60.0) if options.default_times else Times(0.5, 6.0, 15.0)
    n = options.processes
    stack = Stack(folder, coordinators=2 if n is None else 1, processes=n, times=times)

    try:
        await stack.start()
        figures = await (
            of_processes(stack, ORG, options.restarts)
            if n
            else in_turn(stack, ORG, options.restarts, kill=options.kill)
        )
        print(figures.text())
    finally:
        await stack.stop()
    late = max(figures.served) > SERVED.within(times)
    extra = (figures.begun if options.kill else figures.attempts) - len(figures.jobs)
    return int(late or extra != 0 or figures.acknowledged != len(figures.jobs) or set(figures.outcomes) != {"passed"})


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--default-times", action="store_true", help="a session of 15 s and a lease of 60 s")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_main(options, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
