"""A content comes to BrowserStack once, whoever uploads it and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.devices.browserstack import apps as under_test
from qgjob_agent.devices.browserstack.apps import Answer, SharingAwayError
from qgjob_agent.devices.browserstack.errors import AccountRefusedError, CloudAwayError
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.waiting import until
from tests.integration.browserstack.lab import APK, DIGEST, Builds, OneLock, apps_of, assignment, rest_of


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_LOOK_SECONDS", 0.01)


async def test_one_upload_over_five_runs_of_two_agents_with_four_devices_each(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    cloud.account.control.upload_seconds = 0.1
    lock = OneLock()
    rest, builds = rest_of(cloud), Builds(tmp_path)
    urls, uploaded = set(), 0
    for _ in range(5):
        agents = [apps_of(rest, builds, lock) for _ in range(2)]  # a run finds agents that remember nothing
        found = await asyncio.gather(
            *(agent.url_of(assignment(f"t{n}"), "android") for agent in agents for n in range(4))
        )
        urls |= {url for url, _ in found}
        uploaded += sum(new for _, new in found)
    assert dict(cloud.account.uploads) == {DIGEST: 1}
    assert urls == {cloud.account.apps[0]["app_url"]}
    assert (uploaded, builds.fetched) == (1, 1), "what is there is not even fetched to this host"
    await rest.close()


async def test_without_a_pushed_build_the_files_content_is_what_counts(cloud: BrowserStack, tmp_path: Path) -> None:
    rest = rest_of(cloud)
    apps = apps_of(rest, Builds(tmp_path), OneLock())
    for token in ("t1", "t2"):
        await apps.url_of(assignment(token, build_digest=None, build_format=""), "android")
    assert dict(cloud.account.uploads) == {DIGEST: 1}
    await rest.close()


async def test_an_upload_that_fails_is_the_next_ones(cloud: BrowserStack, tmp_path: Path) -> None:
    rest, lock = rest_of(cloud), OneLock()
    one, two = (apps_of(rest, Builds(tmp_path), lock) for _ in range(2))
    for status, error in ((422, BuildUnresolvedError), (401, AccountRefusedError), (500, CloudAwayError)):
        cloud.account.control.refuse["upload"] = [status] * 4
        with pytest.raises(error):
            await one.url_of(assignment(), "android")
        cloud.account.control.refuse["upload"] = []
        assert not lock.held
    assert (await two.url_of(assignment(), "android"))[1]
    await rest.close()


async def test_an_upload_that_is_cancelled_is_the_next_ones(cloud: BrowserStack, tmp_path: Path) -> None:
    cloud.account.control.upload_seconds = 30.0
    rest, lock = rest_of(cloud), OneLock()
    uploading = asyncio.create_task(apps_of(rest, Builds(tmp_path), lock).url_of(assignment(), "android"))
    waiting = asyncio.create_task(apps_of(rest, Builds(tmp_path), lock).url_of(assignment(), "android"))
    await until(lambda: any(head.startswith("POST") for head in cloud.heads), "the upload")
    cloud.account.control.upload_seconds = 0.0
    uploading.cancel()
    assert (await waiting)[1]
    assert dict(cloud.account.uploads) == {DIGEST: 1}
    await asyncio.gather(uploading, return_exceptions=True)
    await rest.close()


async def test_who_takes_over_looks_whether_the_one_before_came_to_an_end(cloud: BrowserStack, tmp_path: Path) -> None:
    rest = rest_of(cloud)
    apps = apps_of(rest, Builds(tmp_path), OneLock())
    looked = iter([None, "bs://was-there"])

    async def app_of(custom_id: str) -> str | None:
        assert custom_id == f"qgjob-{DIGEST}"
        return next(looked)

    rest.app_of = app_of  # type: ignore[method-assign]
    assert await apps.url_of(assignment(), "android") == ("bs://was-there", False)
    assert not cloud.account.uploads
    await rest.close()


class Cut(OneLock):
    """The lock as one agent has it whose way to the coordinators may break."""

    def __init__(self, lock: OneLock) -> None:
        super().__init__()
        self.held, self.known = lock.held, lock.known
        self.broken = False

    async def ask(self, account: str, digest: str, token: str, held_seconds: float) -> Answer:
        if self.broken:
            raise SharingAwayError("no coordinator answers")
        return await super().ask(account, digest, token, held_seconds)


async def test_an_upload_ends_before_another_agent_may_take_its_place(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "HELD_SECONDS", 0.4)
    monkeypatch.setattr(under_test, "SPARE_SECONDS", 0.1)
    cloud.account.control.upload_seconds = 1.0
    rest, lock = rest_of(cloud), OneLock()
    cut = Cut(lock)
    first = asyncio.create_task(apps_of(rest, Builds(tmp_path), cut).url_of(assignment(), "android"))
    await until(lambda: any(head.startswith("POST") for head in cloud.heads), "the upload")
    cut.broken = True
    second = asyncio.create_task(apps_of(rest, Builds(tmp_path), lock).url_of(assignment(), "android"))
    with pytest.raises(BuildAwayError, match="no coordinator answers"):
        await first
    assert (await second)[1]
    assert dict(cloud.account.uploads) == {DIGEST: 1}
    await rest.close()


async def test_an_upload_ends_in_that_time_also_where_the_host_slept(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's clock stands still meanwhile, and the coordinators' goes on."""
    slept = 0.0
    monkeypatch.setattr(under_test, "monotonic_seconds", lambda: monotonic_seconds() + slept)
    cloud.account.control.upload_seconds = 600.0
    rest, cut = rest_of(cloud), Cut(OneLock())
    uploading = asyncio.create_task(apps_of(rest, Builds(tmp_path), cut).url_of(assignment(), "android"))
    await until(lambda: any(head.startswith("POST") for head in cloud.heads), "the upload")
    cut.broken, slept = True, 56.0
    await until(uploading.done, "the end of it")
    with pytest.raises(BuildAwayError, match="no coordinator answers"):
        await uploading
    await rest.close()


async def test_who_lets_go_of_an_upload_asks_for_it_no_more(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to a question that was on its way would give it what it has let go of, for a minute."""
    asking, answered = asyncio.Event(), asyncio.Event()

    class Slow(OneLock):
        async def ask(self, account: str, digest: str, token: str, held_seconds: float) -> Answer:
            if not self.held:
                return await super().ask(account, digest, token, held_seconds)
            asking.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                answered.set()
            raise AssertionError("unreachable")

        async def give_up(self, account: str, digest: str, token: str) -> Answer:
            assert answered.is_set()
            return await super().give_up(account, digest, token)

    monkeypatch.setattr(under_test, "HELD_SECONDS", 3.0)
    monkeypatch.setattr(under_test, "SPARE_SECONDS", 0.5)
    cloud.account.control.upload_seconds = 600.0
    rest, lock = rest_of(cloud), Slow()
    uploading = asyncio.create_task(apps_of(rest, Builds(tmp_path), lock).url_of(assignment(), "android"))
    await asking.wait()
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert not lock.held
    await rest.close()


async def test_who_is_told_that_the_upload_is_another_ones_breaks_it_off_and_waits(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "HELD_SECONDS", 1.5)
    monkeypatch.setattr(under_test, "SPARE_SECONDS", 0.1)
    cloud.account.control.upload_seconds = 30.0
    rest, lock = rest_of(cloud), OneLock()
    uploading = asyncio.create_task(apps_of(rest, Builds(tmp_path), lock).url_of(assignment(), "android"))
    await until(lambda: any(head.startswith("POST") for head in cloud.heads), "the upload")
    (key,) = lock.held
    lock.held[key] = "another", time.monotonic() + 600  # a store that lost it, and gave it away
    with capture_logs() as lines:
        await until(lambda: [x for x in lines if x["event"] == "browserstack_upload_broken_off"], "the end of it")
    lock.known[DIGEST] = "bs://of-the-other"
    assert await uploading == ("bs://of-the-other", False)
    assert not cloud.account.uploads
    await rest.close()


async def test_an_upload_that_takes_longer_than_its_lock_is_held_keeps_it(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "HELD_SECONDS", 0.4)
    monkeypatch.setattr(under_test, "SPARE_SECONDS", 0.1)
    cloud.account.control.upload_seconds = 1.0
    rest, lock = rest_of(cloud), OneLock()
    agents = [apps_of(rest, Builds(tmp_path), lock) for _ in range(2)]
    found = await asyncio.gather(*(agent.url_of(assignment(), "android") for agent in agents))
    assert sorted(uploaded for _, uploaded in found) == [False, True]
    assert dict(cloud.account.uploads) == {DIGEST: 1}
    await rest.close()


async def test_two_uploads_of_one_content_are_told(cloud: BrowserStack, tmp_path: Path) -> None:
    """What no lock prevents: the other one was taken after this one had looked."""
    cloud.account.control.upload_seconds = 0.2
    rest, lock = rest_of(cloud), OneLock()
    uploading = asyncio.create_task(apps_of(rest, Builds(tmp_path), lock).url_of(assignment(), "android"))
    await until(lambda: any(head.startswith("POST") for head in cloud.heads), "the upload")
    cloud.account.upload(APK, f"qgjob-{DIGEST}")
    with capture_logs() as lines:
        assert (await uploading)[1]
    (told,) = [line for line in lines if line["event"] == "browserstack_uploaded_twice"]
    assert (told["digest"], told["log_level"]) == (DIGEST, "warning")
    assert sorted(told["app_urls"]) == sorted(app["app_url"] for app in cloud.account.apps)
    await rest.close()


async def test_nothing_is_uploaded_while_nobody_can_say_who_does(cloud: BrowserStack, tmp_path: Path) -> None:
    class Away(OneLock):
        async def ask(self, account: str, digest: str, token: str, held_seconds: float) -> Answer:
            raise SharingAwayError("no coordinator answers")

    rest = rest_of(cloud)
    with pytest.raises(BuildAwayError, match="no coordinator answers"):
        await apps_of(rest, Builds(tmp_path), Away()).url_of(assignment(), "android")
    assert not cloud.account.uploads
    await rest.close()


async def test_what_no_such_device_takes_is_refused_before_anything_is_asked(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    rest = rest_of(cloud)
    apps = apps_of(rest, Builds(tmp_path), OneLock())
    for form, platform, says in (("app", "ios", r"take \.ipa"), ("ipa", "android", r"take \.apk or \.aab")):
        with pytest.raises(BuildUnresolvedError, match=says):
            await apps.url_of(assignment(build_format=form), platform)
    assert not cloud.heads
    await rest.close()
