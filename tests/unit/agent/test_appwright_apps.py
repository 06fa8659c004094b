"""What tests are told of the build that was installed on their device."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from qgjob_agent.builds.base import Build, BuildAwayError, BuildUnresolvedError
from qgjob_agent.core.values import Assignment, DeviceFacts, Target
from qgjob_agent.devices.app import App, AppUnknownError
from qgjob_agent.runners.appwright.apps import InstalledApps

DEVICE = DeviceFacts("a1.emulator-5554", "emulator-5554", Target.EMULATOR, platform="android")
JOB = Assignment("acme~1", "t1", 1, 0, DEVICE.device_id, "acme", "1.0", "a.spec.ts", Target.EMULATOR)


class OneBuild:
    """Gives a build, or raises, or never answers."""

    def __init__(self, answer: Build | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, str]] = []

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        self.asked.append((assignment.app_version_id, platform, kind))
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await asyncio.Event().wait()
        assert isinstance(self.answer, Build)
        return self.answer


@pytest.mark.parametrize(("said", "expected"), [("com.example.shop", "com.example.shop"), (None, "com.found.on.it")])
async def test_the_build_is_told_and_its_package_by_who_knows_it(said: str | None, expected: str) -> None:
    builds = OneBuild(Build(Path("/builds/one.apk"), "d1", "apk", said))
    apps = InstalledApps(builds, lambda _: "com.found.on.it", 5.0)
    assert await apps(JOB, DEVICE) == App(Path("/builds/one.apk"), expected)
    assert builds.asked == [("1.0", "android", "device")]


@pytest.mark.parametrize(
    ("answer", "text", "unresolvable"),
    [
        (BuildUnresolvedError("no build of 1.0 was pushed"), "no build of 1.0 was pushed", True),
        (BuildAwayError("the coordinator is away"), "the coordinator is away", False),
        (None, "did not come to this host in 0.01 s", False),
    ],
    ids=["unresolved", "away", "late"],
)
async def test_a_build_that_can_not_be_had_is_said_to_be(
    answer: Exception | None, text: str, unresolvable: bool
) -> None:
    apps = InstalledApps(OneBuild(answer), lambda _: None, 0.01)
    with pytest.raises(AppUnknownError, match=text) as caught:
        await apps(JOB, DEVICE)
    assert caught.value.unresolvable is unresolvable


@pytest.mark.parametrize(("target", "kind"), [(Target.EMULATOR, "simulator"), (Target.DEVICE, "device")])
async def test_a_simulator_and_an_iphone_have_builds_of_their_own(target: Target, kind: str) -> None:
    builds = OneBuild(Build(Path("/builds/Shop.app"), "d1", "app", "com.example.shop"))
    phone = DeviceFacts("a1.F00D", "F00D", target, platform="ios")
    await InstalledApps(builds, lambda _: None, 5.0)(JOB, phone)
    assert builds.asked == [("1.0", "ios", kind)]
