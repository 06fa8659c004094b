"""What is foretold comes true: a trace, live and simulated, with the same history; and when jobs are told to start.

Times are those of a lab divided by about 50: 0.6 s for an installation of 30, 0.2 to 1.5 s for tests of 10 to 75.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from statistics import fmean

import httpx2
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from bench.scheduling.baselines import QGJOB, policy
from bench.scheduling.compare import simulate
from bench.scheduling.metrics import report
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob import AsyncClient, Job, JobSpec, Outcome
from qgjob_coordinator.model.enums import Priority, Target
from tests.fakes.stack import AgentPlan, Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import pinned

ORG = "acme"
INSTALL_SECONDS = 0.6
SHORTEST, LONGEST = 0.2, 1.5
SEED = 1
AGENT = AgentPlan(
    "sim-1",
    4,
    "emulator",
    settings={
        "SIMULATED_INSTALL_SECONDS": INSTALL_SECONDS,
        "SIMULATED_TEST_SECONDS": f"{SHORTEST},{LONGEST}",
        "SIMULATED_SEED": SEED,
    },
)
BURSTS = (0.0, 2.5, 5.0)
"""When a third of the jobs comes (s)."""
VERSIONS = (40, 6, 5, 4, 3, 2)
"""Shares of the jobs. Pinned groups, an eager fan-out, sticky FIFO, and the policy without history all come to other
figures for this trace, by more than is allowed for below."""
JOBS = 60
CALLS = 4
"""A burst is submitted in so many calls."""
SAME_SHARE = 0.05
"""A test takes about as long in both runs."""
WITHIN = 0.1
ROUND_TRIPS_SECONDS = 0.15
"""What the simulator leaves out: timers that ring late and messages between two tests, 4 ms a test on a quiet machine.
A job waits behind 4 others on average. On a busy machine five times as much may be lost behind each of them, and half
of all that in the calls of a burst."""

NEAR = 0.3
"""Of its wait: how far off a start may have been told, in the middle of all."""
PINNED = tuple(pinned(f"{AGENT.agent_id}-{n}") for n in (1, 1, 1, 1, 2, 3)) * 12
"""A matrix of 72 jobs: devices have two thirds, a sixth, a sixth, and nothing to do of it."""
PINNED_SECONDS = 0.3
FEWEST = 4
"""The coordinator looks every 5 s at jobs that wait then, so of 24 calls it estimates a job of eight or more."""

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("lab"), coordinators=1, agents=[AGENT])
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


def named(seconds: float) -> str:
    """An id of a job whose first attempt takes about so long: the simulated runner draws by seed, id and attempt."""

    def takes(job_id: str) -> float:
        return Random(f"{SEED}/{job_id}/1").uniform(SHORTEST, LONGEST)  # noqa: S311 - as the runner does

    ids: Iterator[str] = (f"{ORG}~01J{n:023d}" for n in _numbers)
    return next(job_id for job_id in ids if abs(takes(job_id) - seconds) < SAME_SHARE * seconds)


def durations() -> list[float]:
    random = Random(7)  # noqa: S311 - a workload
    return [min(LONGEST, max(SHORTEST, random.lognormvariate(-0.6, 0.6))) for _ in range(JOBS)]


def specs(run: str) -> list[JobSpec]:
    """All jobs of a run, which has versions of its own: every device is cold to them."""
    random = Random(12)  # noqa: S311 - a workload
    versions = random.choices(range(len(VERSIONS)), VERSIONS, k=JOBS)
    return [
        JobSpec(ORG, f"{run}-{version}", f"tests/{i}.spec.js", job_id=named(seconds))
        for i, (seconds, version) in enumerate(zip(durations(), versions, strict=True))
    ]


async def live(client: AsyncClient, run: str) -> tuple[Job, ...]:
    """Submits a run's jobs in bursts, and returns them when they are done, in their order."""
    jobs = specs(run)
    begun = time.monotonic()
    size = len(jobs) // len(BURSTS)
    for i, at in enumerate(BURSTS):
        await asyncio.sleep(begun + at - time.monotonic())
        for call in range(CALLS):
            first = i * size + call * size // CALLS
            await client.submit_many(jobs[first : i * size + (call + 1) * size // CALLS])
    done = await client.wait([str(job.job_id) for job in jobs], timeout_seconds=60)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    return done


def seconds_of(job: Job) -> float:
    (attempt,) = job.attempts
    assert attempt.duration_ms is not None
    return attempt.duration_ms / 1000


def came(job: Job) -> datetime:
    assert job.created_at is not None
    return job.created_at


def trace_of(before: Sequence[Job], done: Sequence[Job]) -> Trace:
    """What was run, with what was known of it from the run before."""
    begun = min(came(job) for job in done)
    return Trace(
        INSTALL_SECONDS,
        tuple(TraceDevice(f"d{i}", Target.EMULATOR) for i in range(AGENT.devices)),
        tuple(
            TraceJob(
                (came(job) - begun).total_seconds(),
                job.org_id,
                job.app_version_id,
                Target.EMULATOR,
                Priority.MEDIUM,
                job.test_path,
                seconds_of(job),
            )
            for job in done
        ),
        {(ORG, job.test_path, Target.EMULATOR): (seconds_of(job),) for job in before},
    )


@dataclass(frozen=True)
class Figures:
    """What a run came to; the wait is the mean one (s)."""

    installs: int
    wait: float


def seen(done: Sequence[Job]) -> Figures:
    waits = [(j.started_at - came(j)).total_seconds() for j in done if j.started_at is not None]
    return Figures(sum(a.install_ms is not None for j in done for a in j.attempts), fmean(waits))


def foretold(trace: Trace) -> Figures:
    told = report(trace, simulate(trace, policy(QGJOB)))
    return Figures(told["installs"], told["wait_seconds"]["mean"])


def agree(live: Figures, told: Figures) -> bool:
    return (
        abs(live.installs - told.installs) <= max(1, WITHIN * told.installs)
        and abs(live.wait - told.wait) <= WITHIN * told.wait + ROUND_TRIPS_SECONDS
    )


@dataclass(frozen=True)
class Compared:
    """Of how many jobs the coordinator has compared the estimated start with the real one, and how many were near."""

    jobs: int
    near: int


async def compared(stack: Stack) -> Compared:
    """Since the coordinator began."""
    ready = await stack.coordinators[0].says("coordinator_ready")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{ready['port']}") as http:
        text = (await http.get("/metrics")).text
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    buckets = {s.labels["le"]: int(s.value) for s in samples if s.name == "qgjob_start_estimate_error_ratio_bucket"}
    return Compared(buckets["+Inf"], buckets[str(NEAR)])


async def test_installs_and_waits_are_those_of_the_simulator(lab: Stack) -> None:
    """A second try is for a machine that was busy with something else; who misses twice has missed."""
    async with lab.client(0) as client:
        before = await live(client, "taught")
        tried: list[tuple[Figures, Figures]] = []
        while len(tried) < 2 and not (tried and agree(*tried[-1])):
            done = await live(client, f"measured-{len(tried)}")
            tried.append((seen(done), foretold(trace_of(before, done))))
    assert agree(*tried[-1]), f"(live, foretold): {tried}"


async def test_jobs_of_a_matrix_start_about_when_they_are_told_to(lab: Stack) -> None:
    """Each waits for one device, and there for many others of known durations: no matter of luck."""
    jobs = [
        JobSpec(ORG, "matrix", f"matrix/{i}.spec.js", requirements=device, job_id=named(PINNED_SECONDS))
        for i, device in enumerate(PINNED)
    ]
    taught = [replace(job, requirements=None, app_version_id="taught", job_id=named(PINNED_SECONDS)) for job in jobs]
    async with lab.client(0) as client:
        await client.submit_many(taught)
        await client.wait([str(job.job_id) for job in taught], timeout_seconds=60)
        before = await compared(lab)
        for i in range(0, len(jobs), 3):  # of each call one is compared
            await client.submit_many(jobs[i : i + 3])
        await client.wait([str(job.job_id) for job in jobs], timeout_seconds=60)

    async def enough() -> Compared | None:
        now = await compared(lab)
        return now if now.jobs - before.jobs >= FEWEST else None

    now: Compared = await until(enough, "few estimated starts were compared with real ones")
    assert 2 * (now.near - before.near) >= now.jobs - before.jobs, (before, now)
