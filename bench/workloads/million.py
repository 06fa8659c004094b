"""A long queue: what the coordinator needs while it is there, and how long it plans for one freed device."""

from __future__ import annotations

import json

from bench.figures import Figure, percentile
from bench.sizes import BATCH_JOBS, Sizes
from bench.stack import Stack, wait_until

FILL_SECONDS = 400.0
PLAN_SECONDS = 120.0
# Few devices with short tests: they are freed one at a time, and soon often enough.
DEVICES = 8
TEST_SECONDS = (0.02, 0.06)
_CALLS_IN_FLIGHT = 4
_POLL_SECONDS = 0.25


def measure(sizes: Sizes) -> dict[str, Figure]:
    """Fills the queue, then lets the devices of one agent be freed until enough plans were made."""
    with Stack(coordinator="bench.watched_coordinator") as stack:
        how = ("--batch", str(BATCH_JOBS), "--in-flight", str(_CALLS_IN_FLIGHT))
        stack.start_load("--jobs", str(sizes.queued_jobs), *how).wait(FILL_SECONDS)
        stack.start_agent(DEVICES, TEST_SECONDS)

        def planned() -> bool:
            stack.coordinator.check()
            return stack.client.stats().scheduler.plans > sizes.plans

        wait_until(f"{sizes.plans} plans are made", planned, PLAN_SECONDS, _POLL_SECONDS)
        rss_mb = stack.coordinator.peak_rss_mb()
        stack.coordinator.stop()
        told = json.loads(stack.coordinator.output().splitlines()[-1])
    # The first plan is for all devices at once.
    return {
        "million_queued": {
            "coordinator_rss_mb": rss_mb,
            "plan_ms_p99": percentile(told["plan_ms"][1:], 99),
            "round_ms_p99": percentile(told["round_ms"][1:], 99),
        }
    }
