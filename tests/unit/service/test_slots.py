"""What a device is given ahead, when what it runs takes longer than anybody expected."""

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


def test_an_attempt_that_takes_too_long_gathers_no_more_than_a_moments_work_behind_it() -> None:
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR))
    slot.gain(lease("runs", 30.0), NOW)
    later = NOW + HOUR
    assert slot.wants(4, later)
    slot.gain(lease("next", 30.0), later)
    assert not slot.wants(4, later)
    books = Books(Snapshot((slot.view("agent-1"),), (), now=later))
    assert books.free_in(slot.view("agent-1")) == 30.0


def test_short_ones_come_several_at_once_behind_it() -> None:
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR))
    slot.gain(lease("runs", 30.0), NOW)
    later = NOW + HOUR
    slot.gain(lease("next", 0.5), later)
    assert slot.wants(4, later)
