"""Jobs whose app version has builds that were pushed go to devices that one of them is for."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.forecast.forecast import Forecast
from qgjob_coordinator.policy.forecast.overflow import Candidate, judge
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.snapshot import GroupView, Limits, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, score

APK = frozenset({"android device"})
EMULATOR = device("emulator", platform="android", build_slot="android device")
SIMULATOR = device("simulator", platform="ios", build_slot="ios simulator")
UNKNOWN = device("unknown", platform="ios")
"""Its agent may have builds from elsewhere, or does not say."""


def taken(*devices: object, groups: tuple[GroupView, ...], **changes: object) -> dict[str, int]:
    """How many jobs each device is given."""
    made = plan(Snapshot(devices, groups, now=NOW, **changes))  # type: ignore[arg-type]
    return {a.device_id: len(a.ulids) for a in made.assignments}


@pytest.mark.parametrize("requirements", [ANY_DEVICE, ANDROID])
@pytest.mark.parametrize("avoid", [(), ("elsewhere",)])
def test_a_device_without_a_build_takes_nothing(requirements: object, avoid: tuple[str, ...]) -> None:
    waiting = group("v1", queue("a", range(6), requirements=requirements, avoid=avoid), pushed=APK)  # type: ignore[arg-type]
    found = taken(SIMULATOR, EMULATOR, groups=(waiting,))
    assert found.keys() == {"emulator"}
    assert not taken(SIMULATOR, groups=(waiting,))


def test_a_device_that_has_the_version_takes_nothing_either() -> None:
    waiting = group("v1", queue("a", range(6)), pushed=APK, serving={"simulator": 1})
    warm = SIMULATOR._replace(installed=("acme", "v1"))
    assert taken(warm, EMULATOR, groups=(waiting,)).keys() == {"emulator"}


@pytest.mark.parametrize(
    ("pushed", "able"),
    [
        (frozenset(), {"emulator", "simulator", "unknown"}),  # it may come in another way
        (APK, {"emulator", "unknown"}),
        (frozenset({"ios simulator"}), {"simulator", "unknown"}),
        (frozenset({"ios device"}), {"unknown"}),
        (frozenset({"android device", "ios simulator"}), {"emulator", "simulator", "unknown"}),
    ],
)
def test_each_device_needs_a_build_of_its_own_kind(pushed: frozenset[str], able: set[str]) -> None:
    waiting = tuple(group(f"v{n}", queue(f"{n}-", [n]), pushed=pushed) for n in range(4))
    assert taken(EMULATOR, SIMULATOR, UNKNOWN, groups=waiting).keys() == able


def test_a_retry_does_not_wait_for_a_device_that_has_no_build() -> None:
    waiting = group("v1", queue("a", [1], avoid=("emulator",)), pushed=APK)
    assert taken(EMULATOR, SIMULATOR, groups=(waiting,)) == {"emulator": 1}
    elsewhere = {Target.EMULATOR: (EMULATOR, SIMULATOR)}
    assert taken(EMULATOR, groups=(waiting,), candidates=elsewhere) == {"emulator": 1}


def test_the_last_place_is_not_kept_for_a_device_that_has_no_build() -> None:
    old, new = group("v1", queue("a", [1]), pushed=frozenset({"ios device"})), group("v2", queue("b", [900]))
    room = {"acme": 1}
    assert taken(EMULATOR, groups=(old, new), room=room, busy=(SIMULATOR._replace(held=1),)) == {"emulator": 1}


def test_the_forecast_counts_the_devices_that_have_a_build() -> None:
    waiting = group("v1", queue("a", range(4)), pushed=APK)
    key = (waiting.org_id, waiting.gid)
    alone, both = (
        Forecast(Snapshot(devices, (waiting,), now=NOW)).end(key) for devices in ((EMULATOR,), (EMULATOR, SIMULATOR))
    )
    assert alone == both is not None
    look = Forecast(Snapshot((SIMULATOR,), (waiting,), now=NOW))
    assert look.end(key) is None
    assert look.start(key, 0.0, 1) is None


def test_a_job_goes_to_its_second_target_only_where_a_device_has_a_build() -> None:
    first = group("v1", queue("a", [1]), pushed=frozenset({"ios device"}), gid="e-v1")
    waits = Candidate("acme", "a1", "v1", "e-v1", "d-v1", Target.DEVICE, score(1), 1, since=NOW - 60_000, after_ms=1000)
    phones = {slot: device(slot, target=Target.DEVICE, build_slot=slot) for slot in ("android device", "ios device")}
    moved = {
        slot: judge(Snapshot((EMULATOR, phone), (first,), Limits(), now=NOW), [waits])[0].moves
        for slot, phone in phones.items()
    }
    assert moved == {"android device": False, "ios device": True}
