"""What the policy is to reach on the workloads."""

from __future__ import annotations

from collections.abc import Mapping

from bench.scheduling.workloads import LATER_SECONDS, WORKLOADS

HIGH_WAIT_TO_FIFO = 1.25
P95_TO_STICKY, STEADY_P95_TO_STICKY = 1.1, 1.7
"""In a steady flow, and on a farm that is free, sticky FIFO pays for short waits with many installations, so more is
allowed."""
WAIT_TO_FAIR_SHARE = 1.3
START_ESTIMATE_ERROR = 0.30

FAIRNESS = frozenset({"fair_at_once", "fair_late", *LATER_SECONDS})
FREE_FARM = "few_tests"
_INSTALLS_AND_MAKESPAN: Mapping[str, tuple[float | None, float]] = {
    "two_targets": (2.9, 1.07),
    "many_versions": (1.5, 1.05),
    "poisson": (6.0, 1.02),
    "ci_bursts": (5.0, 1.02),
    "ci_bursts_poisson": (5.0, 1.02),
    "one_group": (None, 1.07),
    FREE_FARM: (None, 1.1),
}


def goals(workload: str) -> dict[str, float]:
    """The highest allowed value of each figure that has a goal, by the figure's name."""
    found = {"start_estimate_error": START_ESTIMATE_ERROR}
    if workload in FAIRNESS:
        return {**found, "small_org_wait_to_fair_share": WAIT_TO_FAIR_SHARE}
    found["high_wait_to_fifo"] = HIGH_WAIT_TO_FIFO
    to_spare = WORKLOADS[workload].steady or workload == FREE_FARM
    found["p95_wait_to_sticky"] = STEADY_P95_TO_STICKY if to_spare else P95_TO_STICKY
    installs, makespan = _INSTALLS_AND_MAKESPAN.get(workload, (None, None))
    if installs is not None:
        found["installs_to_bound"] = installs
    if makespan is not None:
        found["makespan_to_bound"] = makespan
    return found
