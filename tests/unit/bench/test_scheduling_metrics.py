from __future__ import annotations

import json

import pytest

from bench.scheduling.metrics import quantile, report, summary
from bench.scheduling.outcome import Install, Outcome, Run
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target

TRACE = Trace(
    10.0,
    (TraceDevice("e1", Target.EMULATOR), TraceDevice("e2", Target.EMULATOR)),
    (
        TraceJob(0.0, "acme", "v1", Target.EMULATOR, Priority.HIGH, "a.py", 20.0),
        TraceJob(5.0, "acme", "v1", Target.EMULATOR, Priority.LOW, "b.py", 30.0),
        TraceJob(5.0, "globex", "v9", Target.EMULATOR, Priority.LOW, "c.py", 40.0),
    ),
)
OUTCOME = Outcome(
    runs={0: Run("e1", 10.0, 30.0), 1: Run("e1", 30.0, 60.0), 2: Run("e2", 15.0, 55.0)},
    installs=[Install("e1", "acme", "v1", 0.0, 10.0), Install("e2", "globex", "v9", 5.0, 15.0)],
    plan_ms=[0.3, 0.1, 0.2],
)


def test_a_report_of_a_run_by_hand() -> None:
    assert report(TRACE, OUTCOME) == {
        "installs": 2,
        "makespan_seconds": 60.0,
        "wait_seconds": {
            "mean": 15.0,
            "p95": 25.0,
            "max": 25.0,
            "by_priority": {
                "high": {"count": 1, "mean": 10.0, "p95": 10.0, "max": 10.0},
                "medium": {"count": 0, "mean": 0.0, "p95": 0.0, "max": 0.0},
                "low": {"count": 2, "mean": 17.5, "p95": 25.0, "max": 25.0},
            },
            "by_org": {
                "acme": {"count": 2, "mean": 17.5, "p95": 25.0, "max": 25.0},
                "globex": {"count": 1, "mean": 10.0, "p95": 10.0, "max": 10.0},
            },
        },
        "start_estimate_error": {
            "count": 0,
            "median": None,
            "p90": None,
            "by_priority": {key: {"count": 0, "median": None, "p90": None} for key in ("high", "medium", "low")},
        },
        "bounds": {"installs": 2, "makespan_seconds": 55.0},
        "plan_ms": {"p50": 0.2, "p99": 0.3, "max": 0.3},
    }


def told(starts: dict[int, float], *at_once: int) -> Outcome:
    return Outcome(OUTCOME.runs, OUTCOME.installs, OUTCOME.plan_ms, estimated_starts=starts, at_once=set(at_once))


def test_errors_of_told_starts_are_shares_of_the_wait() -> None:
    # Job 0 waited 10 s and was told 12 s; job 1 waited 25 s and was told exactly; job 2 waited 10 s and was told 0 s.
    errors = report(TRACE, told({0: 12.0, 1: 30.0, 2: 5.0}))["start_estimate_error"]
    assert (errors["count"], errors["median"], errors["p90"]) == (3, pytest.approx(0.2), pytest.approx(1.0))
    assert errors["by_priority"] == {
        "high": {"count": 1, "median": pytest.approx(0.2), "p90": pytest.approx(0.2)},
        "medium": {"count": 0, "median": None, "p90": None},
        "low": {"count": 2, "median": pytest.approx(0.0), "p90": pytest.approx(1.0)},
    }


def test_a_start_that_was_no_forecast_has_no_error() -> None:
    """Who is told when a device that has just taken the job begins is told what is known."""
    errors = report(TRACE, told({0: 10.0, 1: 30.0, 2: 5.0}, 0, 1))["start_estimate_error"]
    assert (errors["count"], errors["median"]) == (1, pytest.approx(1.0))
    assert errors["by_priority"]["high"]["count"] == 0


def test_a_short_wait_is_measured_by_a_second() -> None:
    short = Outcome({0: Run("e1", 0.0, 20.0)}, [], [0.1], estimated_starts={0: 0.5})
    assert report(Trace(0.0, TRACE.devices, TRACE.jobs[:1]), short)["start_estimate_error"]["median"] == 0.5


def test_nothing_ran() -> None:
    empty = report(Trace(10.0, TRACE.devices, ()), Outcome())
    assert (empty["installs"], empty["makespan_seconds"], empty["wait_seconds"]["mean"]) == (0, 0.0, 0.0)
    json.dumps(empty, allow_nan=False)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 2), (0.51, 3), (0.95, 4), (1.0, 4)])
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert quantile([4, 1, 3, 2], share) == expected


def test_one_long_wait_of_twenty_is_not_the_95th_percentile() -> None:
    assert summary([1.0] * 19 + [500.0])["p95"] == 1.0
    assert summary([1.0] * 18 + [500.0] * 2)["p95"] == 500.0
