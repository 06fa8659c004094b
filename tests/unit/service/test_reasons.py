"""Whether anything could serve jobs of an app version, by the builds that it has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, PendingCode, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import ANY_DEVICE, Overflow
from qgjob_coordinator.service.views.pending import Reasons
from tests.fakes.jobs import NOW
from tests.unit.policy.test_explain import job

APK = frozenset({"android device"})
SIMULATOR = Device(
    "sim", "mac-1", "u", Target.EMULATOR, "ios", None, None, DeviceState.IDLE, DeviceHealth.GOOD, {},
    build_slot="ios simulator",
)  # fmt: skip


@pytest.mark.parametrize(("pushed", "expected"), [(frozenset(), True), (APK, False), (APK | {"ios simulator"}, True)])
def test_a_device_counts_where_the_version_has_a_build_for_it_or_none_at_all(
    pushed: frozenset[str], expected: bool
) -> None:
    reasons = Reasons([SIMULATOR], NOW, over_quota=False)
    assert reasons.could_serve(Target.EMULATOR, ANY_DEVICE, pushed) is expected


def test_jobs_of_versions_with_other_builds_are_not_told_the_same() -> None:
    reasons = Reasons([SIMULATOR], NOW, over_quota=False, pushed={"v1": APK, "v2": frozenset({"ios simulator"})})
    codes = [reasons.of(job(app_version_id=version), 1).code for version in ("v1", "v2", "v3", "v1")]
    none, free = PendingCode.NO_RESOURCE, PendingCode.ALL_BUSY
    assert codes == [none, free, free, none]


def test_a_job_that_may_go_to_a_second_target_is_not_told_that_it_fails() -> None:
    reasons = Reasons([SIMULATOR], NOW, over_quota=False, pushed={"v1": APK})
    waiting = [job(), job(overflow=Overflow(Target.BROWSERSTACK, 60_000)), job()]
    ends = [reasons.of(each, 1).message.endswith(": push one, or the job fails in a moment") for each in waiting]
    assert ends == [True, False, True]


def test_the_fleet_is_considered_once_for_all_who_have_the_same_builds() -> None:
    reasons = Reasons([SIMULATOR], NOW, over_quota=False)
    built = reasons.with_builds({"v1": APK})
    assert reasons.with_builds({"v1": APK}) is built
    other = reasons.with_builds({"v1": APK, "v2": APK})
    assert other is not built
    codes = [each.of(job(app_version_id="v2"), 1).code for each in (built, other)]
    assert codes == [PendingCode.ALL_BUSY, PendingCode.NO_RESOURCE]


def test_builds_matter_where_a_device_can_have_no_others() -> None:
    assert Reasons([SIMULATOR], NOW, over_quota=False).some_need_builds
    assert not Reasons([replace(SIMULATOR, build_slot=None)], NOW, over_quota=False).some_need_builds
