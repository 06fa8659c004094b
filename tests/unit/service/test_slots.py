"""When a device is expected to be done with what it holds, and what it is given ahead."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Snapshot
from qgjob_coordinator.policy.work import Books
from qgjob_coordinator.service.slots import Lease, Slot

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
    assert books.free_in(slot.view("agent-1")) == 3570.0


def test_short_ones_come_several_at_once_behind_it() -> None:
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR))
    slot.gain(lease("runs", 30.0), NOW)
    due = NOW + 30_000
    slot.gain(lease("next", 0.5), due)
    assert slot.wants(4, due)
    slot.gain(lease("last", 1.5), due)
    assert not slot.wants(4, due)
