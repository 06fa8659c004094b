"""No-op jobs from the first submit to the last completion, each of the four transitions written to the store."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from bench.figures import Figure
from bench.processes import MICROSECONDS, Child
from bench.sizes import BATCH_JOBS, DEVICES, Sizes
from bench.stack import Stack, wait_until
from bench.store import Fsync, Reading

RUN_SECONDS = 300.0
SETTLE_SECONDS = 1.0
"""Between the parts being up and the first reading, so that starting is not counted."""
_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run took; times in microseconds of CPU a job, memory in MiB."""

    jobs_per_s: float
    cpu_us_per_job: dict[str, float]
    peak_rss_mb: dict[str, float]
    store_us_per_job: dict[str, float]
    redis_bytes_per_finished_job: float


def run(jobs: int, fsync: Fsync = "everysec") -> Usage:
    """One run on a stack of its own. Raises BenchError when it does not finish."""
    with Stack(fsync) as stack:
        agent = stack.start_agent(DEVICES)
        time.sleep(SETTLE_SECONDS)
        parts = {"coordinator": stack.coordinator, "store": stack.store.child, "agent": agent}
        cpu = {name: part.cpu_seconds() for name, part in parts.items()}
        before = stack.store.read()
        load = stack.start_load("--jobs", str(jobs), "--batch", str(BATCH_JOBS))

        def finished() -> bool:
            for part in parts.values():
                part.check()
            load.check(may_end=True)
            return stack.completed() >= jobs

        wait_until(f"{jobs} jobs are completed", finished, RUN_SECONDS, _POLL_SECONDS)
        ended = time.monotonic()
        submitted = json.loads(load.wait(RUN_SECONDS))
        cpu = {name: part.cpu_seconds() - cpu[name] for name, part in parts.items()}
        cpu["client"] = submitted["cpu_seconds"]
        time.sleep(SETTLE_SECONDS)
        return _usage(jobs, ended - submitted["begun"], cpu, parts, submitted["peak_rss_mb"], stack, before)


def _usage(
    jobs: int,
    seconds: float,
    cpu: dict[str, float],
    parts: dict[str, Child],
    client_rss_mb: float,
    stack: Stack,
    before: Reading,
) -> Usage:
    after = stack.store.read()
    process, scripts = stack.store.us_per_job(before, after, jobs)
    return Usage(
        jobs_per_s=jobs / seconds,
        cpu_us_per_job={name: used * MICROSECONDS / jobs for name, used in cpu.items()},
        peak_rss_mb={**{name: part.peak_rss_mb() for name, part in parts.items()}, "client": client_rss_mb},
        store_us_per_job={"process": process, "scripts": scripts},
        redis_bytes_per_finished_job=(after.used_memory - before.used_memory) / jobs,
    )


def measure(sizes: Sizes) -> dict[str, Figure]:
    """The figures of the run with `appendfsync everysec`."""
    usage = run(sizes.end_to_end_jobs)
    return {
        "end_to_end_jobs_per_s": usage.jobs_per_s,
        "cpu_us_per_job": usage.cpu_us_per_job,
        "peak_rss_mb": usage.peak_rss_mb,
        "redis_bytes_per_finished_job": usage.redis_bytes_per_finished_job,
        "store_us_per_job": usage.store_us_per_job,
    }


def measure_fsync_always(sizes: Sizes) -> dict[str, Figure]:
    """The same run with `appendfsync always`."""
    return {"end_to_end_fsync_always_jobs_per_s": run(sizes.end_to_end_jobs, "always").jobs_per_s}
