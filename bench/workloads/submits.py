"""Rates of acknowledged submissions while no agent is connected."""

from __future__ import annotations

import json

from bench.figures import Figure
from bench.sizes import BATCH_JOBS, SUBMITTERS, Sizes
from bench.stack import Stack

RUN_SECONDS = 300.0


def _rate(jobs: int, *how: str) -> float:
    """Jobs acknowledged a second, on a stack of its own."""
    with Stack() as stack:
        measured = json.loads(stack.start_load("--jobs", str(jobs), *how).wait(RUN_SECONDS))
    return float(jobs / (measured["ended"] - measured["begun"]))


def measure_submit_jobs(sizes: Sizes) -> dict[str, Figure]:
    """SubmitJobs(500), with one call in flight and with four."""
    calls = {"one_in_flight": "1", "four_in_flight": "4"}
    return {
        "submit_jobs_500_per_s": {
            name: _rate(sizes.submit_jobs, "--batch", str(BATCH_JOBS), "--in-flight", count)
            for name, count in calls.items()
        }
    }


def measure_client_submit(sizes: Sizes) -> dict[str, Figure]:
    """`AsyncClient.submit` with 200 in flight."""
    return {"client_submit_200_per_s": _rate(sizes.client_submit_jobs, "--in-flight", str(SUBMITTERS))}
