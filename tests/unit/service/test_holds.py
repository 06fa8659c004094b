"""Several holds on one device: what it takes, and what its readers are shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, HoldKind, PendingCode, Target
from qgjob_coordinator.model.fleet import Device, DeviceInfo, Hold
from qgjob_coordinator.policy.health.record import Record
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.service.agents.slots import Slot
from qgjob_coordinator.service.fleet import agent_of, device_of
from qgjob_coordinator.store.fleet import AgentRow, DeviceRow
from qgjob_coordinator.store.health import Kept
from tests.fakes.jobs import NOW
from tests.unit.policy.test_explain import job

SECOND, HOUR = 1000, 3_600_000
MOVE = Hold(HoldKind.DRAINING, "lab move")
DEMO = Hold(HoldKind.RESERVED, "demo", NOW + HOUR)
BROKEN = Hold(HoldKind.BAD, "screen is broken")
BATTERY = Hold(HoldKind.MAINTENANCE, "battery", NOW + 2 * HOUR)


def shown(
    *holds: Hold,
    agent: Sequence[Hold] = (),
    health: DeviceHealth = DeviceHealth.GOOD,
    reason: str | None = None,
    now: int = NOW,
) -> Device:
    info = DeviceInfo("d1", "u1", Target.EMULATOR, platform="android", health=health, reason=reason)
    row = DeviceRow(info, "a1", True, None, 0, 0, NOW, holds, {}, Kept(1, Record(proven=True)))
    return device_of(AgentRow("a1", 1, "open", {}, "c1", NOW, NOW, tuple(agent), 0, (row,)), row, now)


def facts(d: Device) -> tuple[str, str, str | None, int | None]:
    return d.state.value, d.health.value, d.reason, d.until


@pytest.mark.parametrize(
    ("lasting", "kind"),
    [(hold, kind) for hold in (MOVE, BROKEN, BATTERY) for kind in HoldKind if Hold(kind).slot is not hold.slot],
)
def test_what_is_held_for_a_moment_stays_held_by_what_was_there(lasting: Hold, kind: HoldKind) -> None:
    moment = Hold(kind, "a moment", NOW + 2 * SECOND)
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR), holds=(lasting, moment))
    assert not slot.takes_work(NOW)
    assert not slot.takes_work(NOW + 2 * SECOND)
    assert facts(shown(lasting, moment, now=NOW + 2 * SECOND)) == facts(shown(lasting))


def test_a_device_takes_work_when_all_holds_are_over() -> None:
    slot = Slot(DeviceInfo("d1", "u1", Target.EMULATOR), holds=(DEMO, BATTERY))
    assert [slot.takes_work(NOW + n * HOUR) for n in (0, 1, 2)] == [False, False, True]
    assert facts(shown(DEMO, BATTERY, now=NOW + 2 * HOUR)) == ("idle", "good", None, None)


@pytest.mark.parametrize(
    ("holds", "agent", "wanted", "code"),
    [
        ((DEMO,), (), ("reserved", "good", "demo", NOW + HOUR), PendingCode.RESERVED),
        ((DEMO, BATTERY), (), ("reserved", "maintenance", "battery", NOW + 2 * HOUR), PendingCode.QUARANTINED),
        ((DEMO, BROKEN), (), ("reserved", "bad", "screen is broken", None), PendingCode.QUARANTINED),
        ((MOVE, BATTERY), (), ("draining", "maintenance", "lab move", None), PendingCode.DRAINING),
        ((MOVE, DEMO), (), ("draining", "good", "lab move", None), PendingCode.DRAINING),
        ((DEMO,), (MOVE,), ("draining", "good", "lab move", None), PendingCode.DRAINING),
        ((BROKEN,), (MOVE,), ("draining", "bad", "screen is broken", None), PendingCode.QUARANTINED),
        (
            (Hold(HoldKind.DRAINING, "a while", NOW + SECOND), DEMO),
            (),
            ("reserved", "good", "demo", NOW + HOUR),
            PendingCode.RESERVED,
        ),
        (
            (Hold(HoldKind.DRAINING, "its own"),),
            (MOVE,),
            ("draining", "good", "its own", None),
            PendingCode.DRAINING,
        ),
    ],
)
def test_reason_and_end_are_of_the_hold_that_is_over_last(
    holds: tuple[Hold, ...],
    agent: tuple[Hold, ...],
    wanted: tuple[str, str, str | None, int | None],
    code: PendingCode,
) -> None:
    device = shown(*holds, agent=agent)
    assert facts(device) == wanted
    assert facts(shown(*reversed(holds), agent=agent)) == wanted
    (considered,) = consider(job(), [device])
    assert (considered.code, considered.free_at) == (code, wanted[3])
    assert considered.message.endswith(f": {wanted[2]}")


def test_a_bad_health_that_the_agent_shows_is_over_after_what_has_an_end() -> None:
    device = shown(DEMO, health=DeviceHealth.BAD, reason="5 installs failed")
    assert facts(device) == ("reserved", "bad", "5 installs failed", None)
    assert consider(job(), [device])[0].code is PendingCode.QUARANTINED


def test_an_operators_word_on_health_goes_before_the_agents() -> None:
    device = shown(BATTERY, health=DeviceHealth.BAD, reason="5 installs failed")
    assert facts(device) == ("idle", "maintenance", "battery", NOW + 2 * HOUR)


def test_an_agent_that_drains_is_shown_so_until_its_drain_is_over() -> None:
    row = AgentRow("a1", 1, "open", {}, "c1", NOW, NOW, (Hold(HoldKind.DRAINING, None, NOW + SECOND),), 0, ())
    assert [agent_of(row, NOW + n * SECOND).state.value for n in (0, 1)] == ["draining", "online"]


def test_what_is_away_is_offline_whatever_holds_it() -> None:
    row = DeviceRow(DeviceInfo("d1", "u1", Target.EMULATOR), "a1", False, None, 0, 0, NOW, (BROKEN, DEMO), {})
    agent = AgentRow("a1", 1, "open", {}, "c1", NOW, NOW, (), 0, (row,))
    assert device_of(agent, row, NOW).state is DeviceState.OFFLINE
