"""When a device is expected to be done with what it holds, and what it is given ahead."""

from __future__ import annotations

from dataclasses import replace

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.snapshot import Snapshot
from qgjob_coordinator.service.agents.slots import Lease, Slot

NOW = 1_000_000
HOUR = 3_600_000


def lease(token: str, seconds: float) -> Lease:
    return Lease("acme", f"j-{token}", token, "e-v1", "d1", 1, seconds=seconds)


def test_an_attempt_that_takes_too_long_gathers_nothing_behind_it() -> None:
    """Who is late takes as long again; within a moment of when it should be done another one is given ahead."""
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR))
    slot.gain(lease("runs", 30.0), NOW)
    for seconds, expected in ((0, False), (28, False), (29, True), (30, True), (31, True), (32, False), (3600, False)):
        assert slot.wants(4, NOW + 1000 * seconds) is expected
    later = NOW + HOUR
    books = Books(Snapshot((slot.view("agent-1"),), (), now=later))
    assert books.fleet.free_in(slot.view("agent-1")) == 3570.0


def test_short_ones_come_several_at_once_behind_it() -> None:
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR))
    slot.gain(lease("runs", 30.0), NOW)
    due = NOW + 30_000
    slot.gain(lease("next", 0.5), due)
    assert slot.wants(4, due)
    slot.gain(lease("last", 1.5), due)
    assert not slot.wants(4, due)


def holding(*seconds: float, install: float = 0.0) -> Slot:
    """A device that was given attempts `t0`, `t1` and so on at `NOW`."""
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR))
    for n, takes in enumerate(seconds):
        slot.gain(lease(f"t{n}", takes), NOW, 0.0 if n else install)
    return slot


def expected(slot: Slot) -> tuple[float, float]:
    """When what it runs should be done, and all that it holds; in seconds from `NOW`."""
    view = slot.view("agent-1")
    return (view.next_at - NOW) / 1000, (view.free_at - NOW) / 1000


def test_what_runs_does_not_begin_again_when_something_behind_it_is_taken_back() -> None:
    slot = holding(100.0, 30.0, 5.0)
    assert expected(slot) == (100.0, 135.0)
    slot.lose("t1", NOW + 95_000)
    assert expected(slot) == (100.0, 105.0)
    slot.lose("t2", NOW + 110_000)
    assert expected(slot) == (100.0, 100.0)  # it is late, and stays so


def test_what_is_behind_begins_when_what_ran_is_over() -> None:
    slot = holding(100.0, 30.0, 5.0)
    slot.lose("t0", NOW + 40_000)
    assert expected(slot) == (70.0, 75.0)
    slot.lose("t1", NOW + 120_000)
    slot.lose("t2", NOW + 121_000)
    assert not slot.leases
    assert slot.idle_since == NOW + 121_000
    assert (slot.busy_ms, slot.untold_ms) == (121_000, 121_000)


def test_a_device_is_as_worn_as_the_store_knows_and_as_it_was_worn_since() -> None:
    slot = holding(10.0)
    slot.worn(5, 3_600_000)
    slot.lose("t0", NOW + 10_000)
    slot.install(("acme", "v1"), NOW, 1)
    slot.worn(5, 3_600_000)  # what the store was told before
    assert (slot.view("a").installs, slot.view("a").busy_hours) == (6, 1 + 10 / 3600)


def test_an_attempt_takes_its_time_from_when_it_begins_however_long_the_installation_was() -> None:
    for installed_after in (1, 200):
        slot = holding(30.0, 5.0, install=45.0)
        assert expected(slot) == (75.0, 80.0)
        slot.begin("t0", NOW + 1000 * installed_after)
        assert expected(slot) == (installed_after + 30.0, installed_after + 35.0)


def test_only_what_runs_may_begin() -> None:
    slot = holding(30.0, 5.0)
    for token in ("t1", "of another device"):
        slot.begin(token, NOW + 20_000)
        assert expected(slot) == (30.0, 35.0)


def test_the_policy_sees_what_the_next_job_asks_of_the_device() -> None:
    slot = holding(30.0)
    assert slot.view("agent-1").next_asks is None
    slot.gain(replace(lease("pinned", 1.0), asks=(Requirements(device_id="d1"), ("d2",))), NOW)
    assert slot.view("agent-1").next_asks == (Requirements(device_id="d1"), ("d2",))
