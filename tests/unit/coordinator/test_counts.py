"""What several processes counted is added up, and never goes back when one of them ends."""

from __future__ import annotations

import json
from collections import deque

import pytest

from qgjob_coordinator.processes import counts
from qgjob_coordinator.processes.ledger import Ledger
from qgjob_coordinator.telemetry import Histogram, Telemetry


def counted(n: int) -> Telemetry:
    """Everything that there is to count, `n` times."""
    t = Telemetry()
    for _ in range(n):
        t.submitted["device"] += 1
        t.finished["passed", "device"] += 1
        t.attempts["passed"] += 1
        t.installs["installed"] += 1
        t.overflows["browserstack"] += 1
        t.leases_lost += 1
        t.org_faults["timers"] += 1
        t.quarantines["begun"] += 1
        t.probes["good"] += 1
        t.plans += 1
        t.rpc_started["unary", "qgjob.v1.JobService", "GetJob"] += 1
        t.rpc_handled["unary", "qgjob.v1.JobService", "GetJob", "OK"] += 1
        t.process_ends["hung"] += 1
        for histogram in (t.queue_seconds, t.run_seconds, t.start_error, t.plan_ms):
            histogram.observe(0.25)
        t.rpc_seconds.setdefault(("unary", "qgjob.v1.JobService", "GetJob"), Histogram()).observe(0.25)
        t.observe_store("claim", 0.00390625)
        t.recent_plan_ms.append(0.25)
    t.loop_lag_seconds = n / 1000
    t.processes = {"serving": n}
    return t


def values(t: Telemetry) -> dict[str, object]:
    def plain(value: object) -> object:
        if isinstance(value, Histogram):
            return (value.bounds, value.counts, value.sum)
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return list(value) if isinstance(value, deque) else value

    # What has an underscore is for questions about that one process.
    return {name: plain(value) for name, value in vars(t).items() if not name.startswith("_")}


def test_everything_that_is_counted_survives_the_way_through_json() -> None:
    t = counted(3)
    assert values(counts.load(json.loads(json.dumps(counts.dump(t))))) == values(t)
    # A new counter is part of this too. How late a loop was is asked of each process for itself.
    assert {name for name, value in vars(t).items() if not value} <= {"_lags"}


def test_sums_are_what_one_process_would_have_counted() -> None:
    total = counted(2)
    counts.add(total, counted(5))
    expected = values(counted(7)) | {"loop_lag_seconds": 0.005, "processes": {"serving": 2}}
    assert values(total) == expected


def said(n: int) -> counts.Json:
    return json.loads(json.dumps(counts.dump(counted(n))))  # type: ignore[no-any-return]


def test_what_a_process_counted_stays_when_it_ends() -> None:
    ledger = Ledger()
    ledger.heard(1, said(3))
    ledger.heard(1, said(5))
    ledger.heard(2, said(2))
    before = ledger.total({}, {"serving": 2}, 0.0)
    ledger.retire(1)
    after = ledger.total({"hung": 1}, {"serving": 1}, 0.25)
    ledger.heard(3, said(1))
    later = ledger.total({"hung": 1}, {"serving": 2}, 0.25)
    assert (before.plans, after.plans, later.plans) == (7, 7, 8)
    assert [t.store_seconds["claim"].counts[2] for t in (before, after, later)] == [7, 7, 8]
    assert len(after.recent_plan_ms) == 2  # of those that live
    assert (after.processes, after.loop_lag_seconds) == ({"serving": 1}, 0.25)


def test_a_process_that_said_nothing_leaves_nothing() -> None:
    ledger = Ledger()
    ledger.retire(1)
    assert ledger.total({}, {}, 0.0).plans == 0


def test_what_another_version_counted_is_understood() -> None:
    """As after an update in place: it lacks a counter, has one more, and other buckets."""
    foreign = dict(said(2)) | {"naps": 7, "queue_seconds": [[0.2, 0.3], [0, 2, 1], 5.5]}
    del foreign["probes"], foreign["start_error"]
    ledger = Ledger()
    ledger.heard(1, said(1))
    ledger.heard(2, foreign)
    ledger.retire(2)
    total = ledger.total({}, {}, 0.0)
    assert (total.plans, total.probes["good"]) == (3, 1)
    assert (sum(total.start_error.counts), sum(total.queue_seconds.counts)) == (1, 4)
    assert (total.queue_seconds.counts[7], total.queue_seconds.counts[8], total.queue_seconds.counts[-1]) == (1, 2, 1)
    assert total.queue_seconds.sum == 5.75


def test_what_no_version_says_is_refused_and_what_was_heard_before_stays() -> None:
    ledger = Ledger()
    ledger.heard(1, said(1))
    with pytest.raises(ValueError, match="1 buckets for 1 bounds"):
        ledger.heard(1, dict(said(2)) | {"plan_ms": [[1.0], [1], 2.5]})
    assert ledger.total({}, {}, 0.0).plans == 1
