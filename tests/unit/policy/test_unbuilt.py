"""Which waiting jobs end since nobody pushed a build for any device that they may have, and what they are told."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, ErrorClass, Outcome, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Attempt, Job, Overflow, Requirements
from qgjob_coordinator.policy.feasible import view
from qgjob_coordinator.policy.reasons.considered import consider, could_be_served
from qgjob_coordinator.policy.reasons.unbuilt import NOTHING_LACKS, KnownDevices, Steady, unbuilt
from qgjob_coordinator.policy.snapshot import DeviceView
from tests.fakes.jobs import NOW
from tests.unit.policy import test_explain
from tests.unit.policy.snapshots import device
from tests.unit.policy.test_explain import job

IPA = frozenset({"ios device"})
EMULATOR = device("emu", platform="android", model="Pixel 8", build_slot="android device")
SIMULATOR = device("sim", platform="ios", build_slot="ios simulator")
IPHONE = device("iphone", target=Target.DEVICE, platform="ios", build_slot="ios device")
CLOUD = device("cloud", target=Target.BROWSERSTACK, platform="android", build_slot="android device")
WITH_TEMPLATE = device("template", platform="android")  # its agent may have builds of its own

SECOND = Overflow(Target.BROWSERSTACK, 60_000)
MOVED = Overflow(Target.BROWSERSTACK, 60_000, None, Target.EMULATOR, NOW)
TRIED = [Attempt(1, 1, "agent-1", "emu", NOW, Outcome.AGENT_LOST)]
CLOUD_WITH_TEMPLATE = CLOUD._replace(device_id="other", build_slot=None)
OF_EMULATOR, OF_CLOUD = ("emu", "android device"), ("cloud", "android device")


def lacking(waiting: Job, *devices: DeviceView, pushed: frozenset[str] = IPA) -> set[tuple[str, str]]:
    return set(KnownDevices(devices).lacking_for(waiting, pushed))


def test_a_job_ends_when_all_devices_that_it_may_have_lack_a_build() -> None:
    both = {OF_EMULATOR, ("sim", "ios simulator")}
    assert lacking(job(), EMULATOR, SIMULATOR, IPHONE) == both
    assert lacking(job(), EMULATOR) == {OF_EMULATOR}


@pytest.mark.parametrize(
    ("waiting", "devices", "pushed"),
    [
        pytest.param(job(), [EMULATOR], frozenset(), id="nothing was pushed: the version may come in another way"),
        pytest.param(job(), [], IPA, id="nothing is known"),
        pytest.param(job(), [IPHONE, CLOUD], IPA, id="no device of the target is known"),
        pytest.param(job(), [EMULATOR, SIMULATOR], IPA | {"ios simulator"}, id="one has a build"),
        pytest.param(job(), [EMULATOR, WITH_TEMPLATE], IPA, id="one may have a build from elsewhere"),
        pytest.param(
            job(requirements=Requirements(device_model="Pixel 9")), [EMULATOR], IPA, id="none meets the requirements"
        ),
        pytest.param(
            job(requirements=Requirements(device_id="iphone")),
            [EMULATOR, IPHONE],
            frozenset({"ios simulator"}),
            id="pinned to one of another target",
        ),
        pytest.param(job(requirements=Requirements(device_id="new")), [EMULATOR], IPA, id="pinned to an unknown one"),
        pytest.param(
            job(requirements=Requirements(device_id="template")), [EMULATOR, WITH_TEMPLATE], IPA, id="pinned to it"
        ),
    ],
)
def test_it_waits_otherwise(waiting: Job, devices: list[DeviceView], pushed: frozenset[str]) -> None:
    assert lacking(waiting, *devices, pushed=pushed) == NOTHING_LACKS


@pytest.mark.parametrize(
    "requirements",
    [Requirements(device_id="emu"), Requirements(platform="android"), Requirements(device_model="Pixel 8")],
)
def test_only_what_meets_the_requirements_counts(requirements: Requirements) -> None:
    assert lacking(job(requirements=requirements), EMULATOR, SIMULATOR, WITH_TEMPLATE._replace(platform="ios"))
    assert lacking(job(requirements=requirements), EMULATOR, SIMULATOR) == {OF_EMULATOR}


@pytest.mark.parametrize(
    ("waiting", "devices", "expected"),
    [
        pytest.param(job(overflow=SECOND), [CLOUD], {OF_EMULATOR, OF_CLOUD}, id="the second target lacks it too"),
        pytest.param(job(overflow=SECOND), [], {OF_EMULATOR}, id="the second target has no device"),
        pytest.param(job(overflow=SECOND), [CLOUD, CLOUD_WITH_TEMPLATE], set(), id="it may go to the second target"),
        pytest.param(
            job(overflow=SECOND, requirements=Requirements(device_model="Pixel 8")),
            [CLOUD_WITH_TEMPLATE],
            {OF_EMULATOR},
            id="nothing there meets the requirements",
        ),
        pytest.param(
            job(overflow=SECOND, attempts=TRIED), [CLOUD_WITH_TEMPLATE], {OF_EMULATOR}, id="a tried one stays"
        ),
        pytest.param(
            job(overflow=MOVED, target=Target.BROWSERSTACK),
            [CLOUD, WITH_TEMPLATE],
            {OF_CLOUD},
            id="one that went there",
        ),
    ],
)
def test_a_second_target_counts_while_the_job_may_go_there(
    waiting: Job, devices: list[DeviceView], expected: set[tuple[str, str]]
) -> None:
    assert lacking(waiting, EMULATOR, *devices) == expected


def test_a_device_that_is_offline_or_held_is_known() -> None:
    simulator = test_explain.device("sim", platform="ios", build_slot="ios simulator")
    emulators = [
        test_explain.device("emu", build_slot="android device", **changes)
        for changes in (
            {"state": DeviceState.OFFLINE},
            {"state": DeviceState.RESERVED},
            {"state": DeviceState.BUSY},
            {"health": DeviceHealth.BAD},
            {"health": DeviceHealth.MAINTENANCE},
        )
    ]
    for emulator in emulators:
        known = [view(simulator), view(emulator)]
        assert not lacking(job(), *known, pushed=frozenset({"android device"}))
        assert lacking(job(), *known, pushed=IPA) == {OF_EMULATOR, ("sim", "ios simulator")}


def test_what_ends_is_what_explanations_say_that_nothing_could_serve_for_want_of_a_build() -> None:
    fleet = [test_explain.device("emu", build_slot="android device"), test_explain.device("any")]
    for devices in (fleet, fleet[:1], fleet[1:], []):
        for pushed in (IPA, frozenset({"android device"}), frozenset[str]()):
            considered = consider(job(), devices, pushed=pushed)
            ends = not could_be_served(considered) and any(c.unmet == ("build",) for c in considered)
            assert bool(lacking(job(), *map(view, devices), pushed=pushed)) is ends


def test_queues_are_asked_by_what_their_jobs_ask_for() -> None:
    known = KnownDevices([EMULATOR, SIMULATOR, IPHONE])
    assert known.lacking(Target.EMULATOR, ANY_DEVICE, IPA) == {OF_EMULATOR, ("sim", "ios simulator")}
    assert known.lacking(Target.EMULATOR, Requirements(platform="ios"), IPA) == {("sim", "ios simulator")}
    assert known.lacking(Target.DEVICE, ANY_DEVICE, IPA) == NOTHING_LACKS
    assert known.lacking(Target.BROWSERSTACK, ANY_DEVICE, IPA) == NOTHING_LACKS


def test_what_devices_lack_is_told_of_all_targets_whatever_others_can_run() -> None:
    known = KnownDevices([EMULATOR, SIMULATOR, WITH_TEMPLATE, IPHONE, CLOUD])
    assert known.all_lacking(ANY_DEVICE, IPA) == {OF_EMULATOR, ("sim", "ios simulator"), OF_CLOUD}
    assert known.all_lacking(Requirements(device_model="Pixel 8"), IPA) == {OF_EMULATOR}
    assert known.all_lacking(ANY_DEVICE, frozenset({"android device"})) == {
        ("sim", "ios simulator"),
        ("iphone", "ios device"),
    }


def test_the_error_names_the_builds_that_are_there_and_the_one_to_push() -> None:
    error = unbuilt(job(), frozenset({OF_EMULATOR}), IPA)
    assert error.error_class is ErrorClass.BUILD
    assert error.message == (
        "no build of v1 was pushed for android (.apk or .aab), which each device of target emulator that could serve "
        "the job needs; there is one for ios (.ipa): push it with "
        "`qgjob builds push FILE.apk --org-id=acme --app-version-id=v1`"
    )


def test_the_error_names_each_build_that_would_do() -> None:
    error = unbuilt(job(overflow=SECOND), frozenset({OF_EMULATOR, OF_CLOUD, ("sim", "ios simulator")}), IPA)
    assert error.message == (
        "no build of v1 was pushed for android (.apk or .aab) or ios simulator (.app in a .zip), one of which each "
        "device of target emulator or browserstack that could serve the job needs; there is one for ios (.ipa): push "
        "one with `qgjob builds push FILE.apk --org-id=acme --app-version-id=v1`, or with FILE.zip"
    )
    phones = unbuilt(job(), frozenset({("iphone", "ios device")}), frozenset({"android device", "ios simulator"}))
    assert (
        "there is one for android (.apk or .aab) and ios simulator (.app in a .zip): push it with "
        "`qgjob builds push FILE.ipa "
    ) in phones.message
    assert "\n" not in phones.message


def test_what_is_the_same_at_enough_looks_in_a_row_is_steady() -> None:
    steady = Steady[str, int](3)
    assert [steady.look({"a": 1}) for _ in range(4)] == [{}, {}, {"a": 1}, {"a": 1}]
    assert steady.look({"a": 2, "b": 1}) == {}  # another device was shown
    assert set(steady.found) == {"a", "b"}
    assert [steady.look({"a": 2, "b": 1}) for _ in range(2)] == [{}, {"a": 2, "b": 1}]
    assert steady.look({"b": 1}) == {"b": 1}
    assert steady.look({"a": 2, "b": 1}) == {"b": 1}  # what was not found at a look begins anew
    steady.forget()
    assert steady.look({"a": 2, "b": 1}) == {}
