"""The plan's sessions as devices: how many, which are good, and what an installation on them is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import App, DeviceFacts, Health, Outcome, Target
from qgjob_agent.devices.browserstack import provider as under_test
from qgjob_agent.devices.cloud import Asked, SessionRefusedError
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.waiting import until
from tests.integration.browserstack.lab import DEVICE, DIGEST, OneLock, Told, assignment, provider_of

FULL = "the BrowserStack plan has no session left: {0} of {1} run, those of others included"
NONE = "the BrowserStack plan has no such session any more"


def asked(number: int = 1) -> Asked:
    """What a test on a device of the plan asks for."""
    return Asked(f"run/{number}", 0, DEVICE, assignment(), {})


async def refused(cloud: BrowserStack, provider: under_test.BrowserStackDevices, why: str) -> None:
    """A session for which the account is refused."""
    cloud.account.control.refuse["wd/hub/session"] = [403]
    with pytest.raises(SessionRefusedError, match=why):
        await provider.cloud.begin(asked())


async def seen(provider: under_test.BrowserStackDevices, what: Callable[[], bool]) -> bool:
    """Whether another look shows that."""
    await provider._look()
    return what()


async def looked(provider: under_test.BrowserStackDevices, sink: Told) -> bool:
    """Whether all devices are good after another look."""
    return await seen(provider, lambda: not any(sink.now().values()))


async def test_as_many_devices_are_good_as_the_plan_has_free_and_the_others_say_why(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    sink, control = Told(), cloud.account.control
    control.most = 3
    named = DeviceFacts("pixel", "browserstack-2", Target.BROWSERSTACK, model="Google Pixel 6", labels={"a": "b"})
    provider = provider_of(cloud, sink, tmp_path, named={"browserstack-2": named})
    assert provider.devices() == []
    await provider.start()
    await until(lambda: len(sink.now()) == 3, "the plan's sessions")
    first = [event.facts for event in sink.of(DeviceSeen)]
    assert first[0] == DEVICE
    assert (first[1].device_id, first[1].model, first[1].os_version) == ("pixel", "Google Pixel 6", "14.0")
    control.foreign = 2
    await until(lambda: list(sink.now().values()) == [None, *[FULL.format(2, 3)] * 2], lambda: f"{sink.now()}")
    control.foreign = 0
    await until(lambda: not any(sink.now().values()), lambda: f"{sink.now()}")
    control.most = 2
    await until(lambda: list(sink.now().values()) == [None, None, NONE], lambda: f"{sink.now()}")
    control.queued = 1
    await until(lambda: all("1 wait" in (why or "") for why in list(sink.now().values())[:2]), lambda: f"{sink.now()}")
    await provider.close()


async def test_a_device_whose_session_has_ended_is_good_until_a_look_that_follows_at_once(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look counted that session: by it the device would be bad until the next one, after each test."""
    monkeypatch.setattr(under_test, "COUNTED_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "APART_SECONDS", 0.0)
    sink, control = Told(), cloud.account.control
    control.most = 1
    provider = provider_of(cloud, sink, tmp_path, look_seconds=600.0)
    await provider.start()
    await until(sink.now, "the device")
    begun = await provider.cloud.begin(asked())
    await provider._look()
    await provider.cloud.end([begun.session_id])
    looks = cloud.account.asked["plan.json"]
    provider.cloud.over(asked())
    assert [each.facts.reason for each in sink.of(DeviceSeen)] == [None]
    control.foreign = 1
    await until(lambda: cloud.account.asked["plan.json"] > looks, "the look")
    await until(lambda: sink.now() == {"browserstack-1": FULL.format(1, 1)}, lambda: f"{sink.now()}")
    await provider.close()


class Clock:
    """The provider's clock, which goes on when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(under_test, "monotonic_seconds", lambda: self.now)


async def test_a_session_that_ended_just_before_a_look_is_looked_for_again_and_its_device_is_good_meanwhile(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look that one end causes may count another session, which ended after that one."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(under_test, "COUNTED_SECONDS", 1 / 64)
    monkeypatch.setattr(under_test, "APART_SECONDS", 0.0)
    sink, control = Told(), cloud.account.control
    provider = provider_of(cloud, sink, tmp_path, look_seconds=600.0)
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    ended, later = asked(), replace(asked(2), device=replace(DEVICE, device_id="lab.browserstack-2"))
    for each in (ended, later):
        provider.cloud.found(each)
    control.foreign = 2
    assert await looked(provider, sink)
    control.foreign = 1  # the second one is counted still
    looks = cloud.account.asked["plan.json"]
    provider.cloud.over(ended)
    clock.now += 1 / 64
    provider.cloud.over(later)
    await until(lambda: cloud.account.asked["plan.json"] > looks + 1, "looks")
    assert sink.now() == {"browserstack-1": None, "browserstack-2": None}
    clock.now += 1 / 64
    full = {"browserstack-1": None, "browserstack-2": FULL.format(1, 2)}
    await until(lambda: sink.now() == full, lambda: f"it is somebody else's: {sink.now()}")
    await provider.close()


async def test_a_look_that_the_end_of_a_session_causes_is_some_time_after_the_one_before(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions may end all the time, and others ask with the same account, which may ask so much in all."""
    monkeypatch.setattr(under_test, "COUNTED_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "APART_SECONDS", 0.5)
    sink = Told()
    provider = provider_of(cloud, sink, tmp_path, look_seconds=600.0)
    began = monotonic_seconds()
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    looks = cloud.account.asked["plan.json"]
    provider.cloud.found(asked())
    provider.cloud.over(asked())
    await until(lambda: cloud.account.asked["plan.json"] > looks, "the look")
    assert monotonic_seconds() - began >= 0.5
    await provider.close()


async def test_a_smaller_plan_takes_away_no_device_on_which_a_test_may_run(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs on a device that is lost is killed. A test goes on for a while when its session is over."""
    monkeypatch.setattr(under_test, "COUNTED_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "APART_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "UNUSED_SECONDS", 0.0)
    sink, control = Told(), cloud.account.control
    provider = provider_of(cloud, sink, tmp_path)
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    await provider.cloud.begin(asked())
    control.most = 0
    await until(lambda: sink.now() == {"browserstack-1": NONE}, lambda: f"the other one is lost: {sink.now()}")
    control.most = 1
    await until(lambda: sink.now() == {"browserstack-1": None}, lambda: f"{sink.now()}")
    control.most = 0
    await until(lambda: sink.now() == {"browserstack-1": NONE}, lambda: f"{sink.now()}")
    monkeypatch.setattr(under_test, "UNUSED_SECONDS", 600.0)
    provider.cloud.over(asked())
    for _ in range(2):
        await provider._look()
    assert sink.now() == {"browserstack-1": NONE}
    monkeypatch.setattr(under_test, "UNUSED_SECONDS", 0.0)
    await until(lambda: not sink.now(), lambda: f"{sink.now()}")
    await provider.close()


async def test_a_smaller_plan_takes_away_no_device_in_the_middle_of_its_installation(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload may take longer than a device may be of no use."""
    monkeypatch.setattr(under_test, "UNUSED_SECONDS", 0.0)
    sink, control = Told(), cloud.account.control
    provider = provider_of(cloud, sink, tmp_path)
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    control.upload_seconds = 600.0
    provider.install(assignment())
    control.most = 0
    await until(lambda: sink.now() == {"browserstack-1": NONE}, lambda: f"the other one is lost: {sink.now()}")
    for _ in range(2):
        await provider._look()
    assert sink.now() == {"browserstack-1": NONE}
    provider.cancel_install("t1")
    await until(lambda: not sink.now(), lambda: f"{sink.now()}")
    assert sink.of(InstallEnded)[0].cancelled
    await provider.close()


async def test_an_account_that_is_refused_makes_its_devices_bad_until_it_is_not(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    sink = Told()
    cloud.account.control.refuse["plan"] = [401] * 10_000
    provider = provider_of(cloud, sink, tmp_path, sessions=1)
    await provider.start()
    await until(lambda: "HTTP 401" in (sink.now().get("browserstack-1") or ""), lambda: f"{sink.now()}")
    provider.probe(DEVICE.device_id)
    await until(lambda: sink.of(DeviceProbed), "the probe")
    assert sink.of(DeviceProbed)[0].health is Health.BAD
    cloud.account.control.refuse["plan"] = []
    await until(lambda: sink.now() == {"browserstack-1": None}, lambda: f"{sink.now()}")
    await provider.close()


async def test_an_account_that_is_refused_for_a_session_makes_its_devices_bad_for_a_minute_whatever_a_look_shows(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of that session causes a look, which succeeds: what may not begin sessions may look at the plan."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(under_test, "COUNTED_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "APART_SECONDS", 0.0)
    sink = Told()
    provider = provider_of(cloud, sink, tmp_path, look_seconds=600.0)
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    await refused(cloud, provider, "HTTP 403")
    looks = cloud.account.asked["plan.json"]
    await until(lambda: cloud.account.asked["plan.json"] > looks, "the look")
    clock.now += under_test.REFUSED_SECONDS - 1
    await provider._look()
    assert ["HTTP 403" in (why or "") for why in sink.now().values()] == [True, True]
    clock.now += 1
    await until(lambda: seen(provider, lambda: None in sink.now().values()), lambda: f"{sink.now()}")
    await provider.close()


async def test_a_plan_that_is_used_up_makes_its_devices_bad_for_ten_minutes_whatever_a_look_shows(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look shows sessions that are free, and each job that is given to them is lost."""
    clock = Clock(monkeypatch)
    sink = Told()
    provider = provider_of(cloud, sink, tmp_path, look_seconds=600.0)
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    cloud.account.control.spent = True
    with pytest.raises(SessionRefusedError, match="testing time expired"):
        await provider.cloud.begin(asked())
    cloud.account.control.spent = False
    await refused(cloud, provider, "HTTP 403")  # what came at the same time makes that no shorter
    clock.now += under_test.SPENT_SECONDS - 1
    await provider._look()
    assert ["testing time expired" in (why or "") for why in sink.now().values()] == [True, True]
    clock.now += 1
    await until(lambda: seen(provider, lambda: None in sink.now().values()), lambda: f"{sink.now()}")
    await provider.close()


async def held(cloud: BrowserStack, sink: Told, clock: Clock, folder: Path) -> under_test.BrowserStackDevices:
    """A provider with three devices, at the end of the time for which they were bad since a session was refused."""
    cloud.account.control.most = 3
    provider = provider_of(cloud, sink, folder, look_seconds=600.0)
    await provider.start()
    await until(lambda: len(sink.now()) == 3, "the devices")
    await refused(cloud, provider, "HTTP 403")
    clock.now += under_test.REFUSED_SECONDS
    await until(lambda: seen(provider, lambda: None in sink.now().values()), lambda: f"{sink.now()}")
    return provider


async def test_after_such_a_time_one_device_tries_a_session_and_the_others_are_good_when_that_has_begun(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the account is refused still that costs one job, and not one for each device."""
    sink, clock = Told(), Clock(monkeypatch)
    provider = await held(cloud, sink, clock, tmp_path)
    first, *others = sink.now().values()
    assert first is None
    assert ["one session is tried" in (why or "") and "HTTP 403" in (why or "") for why in others] == [True, True]
    await refused(cloud, provider, "HTTP 403")
    assert ["HTTP 403" in (why or "") for why in sink.now().values()] == [True, True, True]
    clock.now += under_test.REFUSED_SECONDS
    provider.cloud.found(replace(asked(2), device=replace(DEVICE, device_id="lab.browserstack-2")))  # runs since before
    await until(lambda: seen(provider, lambda: not provider._gate.starts.pending), "looks that count all")
    *good, last = sink.now().values()
    assert (good, "one session is tried" in (last or "")) == ([None, None], True)
    cloud.account.control.session_seconds = 600.0
    trial = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: DEVICE.device_id in provider.cloud.busy, "the request")
    assert not await looked(provider, sink)
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    cloud.account.control.session_seconds = 0.0
    await provider.cloud.begin(asked())
    clock.now += 1
    await until(lambda: looked(provider, sink), lambda: f"{sink.now()}")
    await provider.close()


async def test_no_device_waits_for_long_for_a_session_that_nobody_wants_of_the_one_that_tries(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, clock = Told(), Clock(monkeypatch)
    provider = await held(cloud, sink, clock, tmp_path)
    clock.now += under_test.TRIED_SECONDS - 1
    assert not await looked(provider, sink)
    clock.now += 1
    await until(lambda: looked(provider, sink), lambda: f"{sink.now()}")
    await provider.close()


async def test_an_installation_is_one_upload_for_all_devices_and_none_after_a_restart(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    lock = OneLock()
    for restart in range(2):
        sink = Told()
        provider = provider_of(cloud, sink, tmp_path, lock)
        await provider.start()
        await until(lambda: len(sink.now()) == 2, "the devices")  # noqa: B023 - of this turn
        for number in (1, 2):
            provider.install(assignment(f"t{number}", device_id=f"lab.browserstack-{number}"))
        await until(lambda: len(sink.of(InstallEnded)) == 2, "both")  # noqa: B023
        ended = sink.of(InstallEnded)
        assert [each.outcome for each in ended] == [Outcome.PASSED] * 2
        assert sorted(each.was_there for each in ended) == [restart == 1, True]
        cloud.account.control.foreign = 2 - restart
        await until(lambda: sink.of(DeviceSeen)[-1].facts.reason, "news")  # noqa: B023
        assert sink.of(DeviceSeen)[-1].installed == App("acme", "1.0", DIGEST)
        cloud.account.control.foreign = 0
        await provider.close()
    assert dict(cloud.account.uploads) == {DIGEST: 1}


async def test_an_upload_that_is_refused_or_cancelled_ends_the_installation_and_the_device_is_usable(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    sink, control = Told(), cloud.account.control
    provider = provider_of(cloud, sink, tmp_path)
    await provider.start()
    await until(lambda: len(sink.now()) == 2, "the devices")
    control.refuse["upload"] = [422]
    provider.install(assignment("refused"))
    await until(lambda: sink.of(InstallEnded), "the refusal")
    (ended,) = sink.of(InstallEnded)
    assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, True)
    assert "HTTP 422: [BROWSERSTACK_APP_UNZIP_FAILED]" in ended.error
    control.upload_seconds = 30.0
    provider.install(assignment("cancelled"))
    await until(lambda: cloud.heads[-1].startswith("POST") or cloud.heads.count("POST /app-automate/upload") > 1, "it")
    provider.cancel_install("cancelled")
    await until(lambda: len(sink.of(InstallEnded)) == 2, "the cancel")
    assert sink.of(InstallEnded)[1].cancelled
    control.upload_seconds = 0.0
    provider.install(assignment("again"))
    provider.install(assignment("nowhere", device_id="lab.browserstack-9"))
    await until(lambda: len(sink.of(InstallEnded)) == 4, "the others")
    told = {each.token: each.outcome for each in sink.of(InstallEnded)}
    assert (told["again"], told["nowhere"]) == (Outcome.PASSED, Outcome.DEVICE_ERROR)
    await provider.close()
