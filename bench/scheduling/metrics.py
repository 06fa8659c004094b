"""What a simulation showed, as figures.

A job waits from its submission until its test starts; an installation before it is part of the wait. An estimated start
is told at submission, in seconds of the trace; its error is |estimated start - start|, in shares of the wait that the
job had, so that 0.3 reads: off by 30% of the wait. Only what was a forecast has an error: jobs that a device took and
began as they came are left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import TypedDict

from bench.scheduling.bounds import bounds
from bench.scheduling.outcome import Outcome
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
    """Errors of the estimated starts of some jobs, in shares of the wait; null where nothing was estimated."""

    count: int
    median: float | None
    p90: float | None


class AllErrors(Errors):
    """Those of all jobs that waited, and of those of each class."""

    by_priority: dict[str, Errors]


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
    start_estimate_error: AllErrors
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


def _errors(trace: Trace, outcome: Outcome) -> AllErrors:
    errors: dict[Priority, list[float]] = {p: [] for p in _CLASSES}
    for index, start in outcome.estimated_starts.items():
        if index not in outcome.at_once:
            job, began = trace.jobs[index], outcome.runs[index].began
            errors[job.priority].append(abs(start - began) / max(began - job.at, SHORTEST_WAIT_SECONDS))
    of_all = _errors_of([e for some in errors.values() for e in some])
    return {**of_all, "by_priority": {p.word: _errors_of(some) for p, some in errors.items()}}


def _errors_of(errors: Sequence[float]) -> Errors:
    known = bool(errors)
    return {
        "count": len(errors),
        "median": quantile(errors, 0.5) if known else None,
        "p90": quantile(errors, 0.9) if known else None,
    }
