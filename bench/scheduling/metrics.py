"""What a simulation showed, as figures.

A job waits from its submission until its test starts; an installation before it is part of the wait. An estimated start
is told at submission, in seconds of the trace; its error is |estimated start - start|, in shares of the wait that the
job had, so that 0.3 reads: off by 30% of the wait.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypedDict

from bench.scheduling.bounds import bounds
from bench.scheduling.engine import Outcome
from bench.scheduling.trace import Trace
from qgjob_coordinator.model.enums import Priority

_CLASSES = (Priority.HIGH, Priority.MEDIUM, Priority.LOW)
SHORTEST_WAIT_SECONDS = 1.0
"""Errors of shorter waits are in shares of this: a job that starts at once has no wait to measure them by."""


class Waits(TypedDict):
    """Waits of some jobs (s)."""

    count: int
    mean: float
    p95: float
    max: float


class AllWaits(TypedDict):
    """Waits of all jobs (s), and of those of each class and org."""

    mean: float
    p95: float
    max: float
    by_priority: dict[str, Waits]
    by_org: dict[str, Waits]


class Errors(TypedDict):
    """Errors of estimated starts, in shares of the wait; null where nothing was estimated."""

    median: float | None
    p90: float | None


class BoundFigures(TypedDict):
    """What no schedule goes below."""

    installs: int
    makespan_seconds: float


class PlanTimes(TypedDict):
    """Times of one call of the plan function (ms)."""

    p50: float
    p99: float
    max: float


class Report(TypedDict):
    """The answer of a simulation, as its JSON has it."""

    installs: int
    makespan_seconds: float
    wait_seconds: AllWaits
    start_estimate_error: Errors
    bounds: BoundFigures
    plan_ms: PlanTimes


def report(trace: Trace, outcome: Outcome) -> Report:
    """All figures of an outcome. Raises KeyError when a job has not run."""
    least = bounds(trace)
    waits = [outcome.runs[i].began - job.at for i, job in enumerate(trace.jobs)]
    priorities = {p.word: [w for w, j in zip(waits, trace.jobs, strict=True) if j.priority is p] for p in _CLASSES}
    orgs: dict[str, list[float]] = defaultdict(list)
    for wait, job in zip(waits, trace.jobs, strict=True):
        orgs[job.org_id].append(wait)
    of_all = summary(waits)
    return {
        "installs": len(outcome.installs),
        "makespan_seconds": max((run.ended for run in outcome.runs.values()), default=0.0),
        "wait_seconds": {
            "mean": of_all["mean"],
            "p95": of_all["p95"],
            "max": of_all["max"],
            "by_priority": {word: summary(some) for word, some in priorities.items()},
            "by_org": {org: summary(orgs[org]) for org in sorted(orgs)},
        },
        "start_estimate_error": _errors(trace, outcome),
        "bounds": {"installs": least.installs, "makespan_seconds": least.makespan_seconds},
        "plan_ms": {
            "p50": quantile(outcome.plan_ms, 0.5),
            "p99": quantile(outcome.plan_ms, 0.99),
            "max": max(outcome.plan_ms, default=0.0),
        },
    }


def summary(waits: Sequence[float]) -> Waits:
    """All are 0 where nothing waited."""
    if not waits:
        return {"count": 0, "mean": 0.0, "p95": 0.0, "max": 0.0}
    return {"count": len(waits), "mean": fmean(waits), "p95": quantile(waits, 0.95), "max": max(waits)}


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _errors(trace: Trace, outcome: Outcome) -> Errors:
    errors = []
    for index, start in outcome.estimated_starts.items():
        began = outcome.runs[index].began
        errors.append(abs(start - began) / max(began - trace.jobs[index].at, SHORTEST_WAIT_SECONDS))
    if not errors:
        return {"median": None, "p90": None}
    return {"median": quantile(errors, 0.5), "p90": quantile(errors, 0.9)}
