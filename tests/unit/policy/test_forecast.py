"""When waiting jobs are expected to start: exact where it is simple, in order everywhere, near the truth in traces."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bench.scheduling.engine import Simulation
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.policy.forecast import RUNNING_SHARE, Forecast
from qgjob_coordinator.policy.plan import plan
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, Snapshot
from tests.unit.policy.snapshots import NOW, device, group, queue, snapshot, snapshots

V1 = ("acme", "v1")
KEY = ("acme", "e-v1")
JOBS, SECONDS = 10, 60.0
HALF_OF_ONE = RUNNING_SHARE * SECONDS / 2
"""A job is given out when the one before it is, on average, half done."""


def of_one_group(*devices: DeviceView, busy: tuple[DeviceView, ...] = ()) -> Forecast:
    serving = {d.device_id: d.held for d in busy}
    waiting = group("v1", queue("a", range(900, 900 + JOBS)), typical_seconds=SECONDS, serving=serving)
    return Forecast(snapshot(devices, [waiting], busy=busy))


def starts(forecast: Forecast) -> list[float]:
    found = [forecast.start(KEY, SECONDS * (n - 1), n) for n in range(1, JOBS + 1)]
    return [expected.seconds for expected in found if expected is not None]


def test_one_warm_device_and_one_group_is_a_sum() -> None:
    forecast = of_one_group(device("d1", installed=V1))
    assert starts(forecast) == [0.0, *(n * SECONDS - HALF_OF_ONE for n in range(1, JOBS))]
    end = forecast.end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(JOBS * SECONDS)


def test_an_installation_comes_before_the_first_job() -> None:
    cold, warm = (of_one_group(device("d1", installed=has)) for has in (None, V1))
    assert starts(cold)[0] == pytest.approx(INSTALL_SECONDS)
    assert starts(cold)[2:] == pytest.approx([s + INSTALL_SECONDS for s in starts(warm)[2:]])
    end = cold.end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(INSTALL_SECONDS + JOBS * SECONDS)


def test_what_a_device_holds_comes_first() -> None:
    server = device("b0", installed=V1, held=1, holds_for=KEY, free_at=NOW + 200_000)
    end = of_one_group(busy=(server,)).end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(200 + JOBS * SECONDS)


def test_two_warm_devices_halve_it() -> None:
    end = of_one_group(device("d1", installed=V1), device("d2", installed=V1)).end(KEY)
    assert end is not None
    assert end.seconds == pytest.approx(JOBS * SECONDS / 2)


def test_a_second_group_begins_when_the_device_is_done_with_the_first() -> None:
    groups = [group(v, queue(v, range(900, 900 + JOBS)), typical_seconds=SECONDS) for v in ("v1", "v2")]
    forecast = Forecast(snapshot([device("d1", installed=V1)], groups))
    second = forecast.start(("acme", "e-v2"), 0.0, 1)
    assert second is not None
    assert second.seconds == pytest.approx(JOBS * SECONDS + INSTALL_SECONDS)


def test_nothing_is_told_where_nobody_will_serve_it() -> None:
    forecast = Forecast(snapshot([device("d1", target=Target.DEVICE)], [group("v1", queue("a", [900]))]))
    assert forecast.end(KEY) is None
    assert forecast.start(KEY, 60.0, 2) is None
    assert forecast.start(("acme", "gone"), 0.0, 1) is None


@given(snapshots(), st.integers(2, 40))
def test_who_stands_further_back_starts_no_earlier_and_less_surely(s: Snapshot, jobs: int) -> None:
    forecast = Forecast(s)
    for key in forecast.groups():
        work = forecast.work(key)
        assert work is not None
        step = work.seconds / jobs
        told = [forecast.start(key, step * (n - 1), n) for n in range(1, jobs + 1)]
        known = [e for e in told if e is not None]
        assert all(0 <= e.least <= e.seconds <= e.most for e in known)
        assert told[: len(known)] == known, "one whose start is known stands behind one whose start is not"
        assert all(a.seconds <= b.seconds + 1e-6 for a, b in pairwise(known))
        end = forecast.end(key)
        event("ends" if end else "never ends")
        if end is not None:
            assert end.least <= end.seconds <= end.most
            assert all(e.seconds <= end.seconds + 1e-6 for e in known)


@given(snapshots())
def test_looking_ahead_changes_nothing(s: Snapshot) -> None:
    """Two looks at the same see the same; and a plan is the same after them."""
    before = plan(s)
    first, second = Forecast(s), Forecast(s)
    assert [first.end(key) for key in first.groups()] == [second.end(key) for key in second.groups()]
    assert plan(s) == before


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("versions", [1, 6])
def test_expected_starts_of_simulated_jobs_are_near_the_truth(devices: int, versions: int) -> None:
    """All come at once, of one class, and what each takes is known: what is left is that jobs are not a fluid."""
    jobs = tuple(
        TraceJob(0.0, "acme", f"v{n % versions}", Target.EMULATOR, Priority.MEDIUM, f"t{n}.py", 20.0 + 7 * (n % 5))
        for n in range(240)
    )
    history = {(j.org_id, j.test_path, j.target): (j.seconds,) for j in jobs}
    trace = Trace(45.0, tuple(TraceDevice(f"d{n}", Target.EMULATOR) for n in range(devices)), jobs, history)
    outcome = Simulation(trace, plan).run()
    errors = [abs(outcome.estimated_starts[i] - r.began) / max(r.began, 45.0) for i, r in outcome.runs.items()]
    assert len(outcome.estimated_starts) == len(jobs)
    assert median(errors) <= 0.15
    assert sorted(errors)[int(0.9 * len(errors))] <= 0.5
