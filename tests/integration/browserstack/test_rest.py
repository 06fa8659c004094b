"""The REST client: what it makes of each answer, and what it tells nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qgjob_agent.devices.browserstack.account import Account
from qgjob_agent.devices.browserstack.errors import (
    AccountRefusedError,
    CloudAwayError,
    CloudError,
    NoRoomError,
    RejectedError,
    UnheardError,
)
from qgjob_agent.devices.browserstack.plan import Plan
from qgjob_agent.devices.browserstack.rest import TRIES, Rest
from tests.fakes import waiting
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack
from tests.integration.browserstack.lab import OnItsWay, Waits, rest_of, unsaid

CAPABILITIES = {"platformName": "android", "appium:app": "bs://none", "bstack:options": {"deviceName": "Pixel"}}


async def test_the_plan_is_the_lesser_of_the_users_and_the_teams(cloud: BrowserStack) -> None:
    cloud.account.control.most, cloud.account.control.foreign, cloud.account.control.queued = 5, 2, 1
    rest = rest_of(cloud)
    assert await rest.plan() == Plan(2, 5, 1)
    await rest.close()


async def test_what_passes_by_itself_is_tried_again_and_what_does_not_is_not(cloud: BrowserStack) -> None:
    rest, control = rest_of(cloud), cloud.account.control
    control.refuse["plan"] = [500, 503]
    assert (await rest.plan()).most == 2
    assert cloud.account.asked["plan.json"] == 3
    control.refuse["plan"] = [500] * 20
    with pytest.raises(CloudAwayError, match=r"can't serve the plan now \(HTTP 500: Internal server error\)"):
        await rest.plan()
    assert len(control.refuse["plan"]) == 20 - TRIES
    for status, error in ((401, AccountRefusedError), (403, AccountRefusedError), (422, RejectedError)):
        control.refuse["plan"], before = [status] * 5, cloud.account.asked["plan.json"]
        with pytest.raises(error, match=f"HTTP {status}"):
            await rest.plan()
        assert cloud.account.asked["plan.json"] == before + 1
    await rest.close()


async def test_a_request_for_a_session_is_told_to_be_on_its_way_before_it_is_answered(cloud: BrowserStack) -> None:
    rest, on_its_way = rest_of(cloud), OnItsWay()
    cloud.account.control.session_seconds = 60.0
    beginning = asyncio.create_task(rest.begin_session(f"{cloud.hub}/session", CAPABILITIES, 120.0, on_its_way))
    async with asyncio.timeout(waiting.DEADLINE_SECONDS):
        await on_its_way.out.wait()
    assert not beginning.done()
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    await rest.close()


async def test_a_request_for_a_session_that_may_not_go_out_any_more_does_not(cloud: BrowserStack) -> None:
    rest = rest_of(cloud)
    with pytest.raises(CloudAwayError, match="can't be connected to for a session in 5 s") as failed:
        await rest.begin_session(f"{cloud.hub}/session", CAPABILITIES, 10.0, OnItsWay(may_go=False))
    assert type(failed.value) is CloudAwayError, "none may have begun"
    assert (await rest.plan()).running == 0
    assert cloud.heads == ["GET /app-automate/plan.json"]
    await rest.close()


async def test_what_a_proxy_is_asked_for_is_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT hub.example:443 ")
        asked.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    rest, on_its_way = Rest(Account(USER, KEY), "https://api.example"), OnItsWay(may_go=False)
    beginning = asyncio.create_task(rest.begin_session("https://hub.example/session", CAPABILITIES, 60.0, on_its_way))
    async with asyncio.timeout(waiting.DEADLINE_SECONDS):
        await asked.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not on_its_way.out.is_set()
    assert not beginning.done()
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    await rest.close()
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def one_connection(read: int, says: bytes) -> AsyncIterator[str]:
    """The address of who reads so many bytes of one connection (-1: all), says that, and closes it."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(read)
            writer.write(says)
            writer.close()
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asyncio.timeout(waiting.DEADLINE_SECONDS):
        await over.wait()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("says", [b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n", b"", None])
async def test_a_session_for_which_a_proxy_opens_no_tunnel_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, says: bytes | None
) -> None:
    """It refuses, closes, or says nothing: none can have begun, so that there is none to look for."""
    async with one_connection(-1 if says is None else 9_000, says or b"") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        rest = Rest(Account(USER, KEY), "https://api.example")
        with pytest.raises(CloudAwayError, match="does not answer for a session: ") as failed:
            await rest.begin_session("https://hub.example/session", CAPABILITIES, 0.3, unsaid)
        assert type(failed.value) is CloudAwayError
        await rest.close()


@pytest.mark.parametrize("read", [0, 1, 9_000])
async def test_a_session_may_have_begun_as_soon_as_its_request_goes_out(read: int) -> None:
    rest = Rest(Account(USER, KEY), "https://api.example")
    async with one_connection(read, b"") as hub:
        with pytest.raises(UnheardError):
            await rest.begin_session(f"{hub}/session", CAPABILITIES, 10.0, unsaid)
        await rest.close()


async def test_too_many_requests_makes_all_calls_wait_as_long_as_the_answer_asks(cloud: BrowserStack) -> None:
    waits = Waits()
    rest, control = rest_of(cloud, waits), cloud.account.control
    control.refuse["plan"], control.retry_after = [429], 7
    await rest.plan()
    assert waits.seconds[0] == 7.0
    assert 6.0 < waits.seconds[1] <= 7.0, "the next call waits too"
    control.refuse["recent"], control.retry_after = [429] * 20, 100_000
    with pytest.raises(CloudAwayError, match="429"):
        await rest.app_of("qgjob-x")
    assert max(waits.seconds) <= 60.0
    await rest.close()


async def test_an_answer_that_asks_for_less_shortens_no_pause_of_all_calls(cloud: BrowserStack) -> None:
    """Both were on their way: the later one is of another limit, or says nothing of it."""
    waits = Waits()
    rest, control = rest_of(cloud, waits), cloud.account.control
    for control.retry_after in (50, None):
        control.refuse["session"] = [429]
        with pytest.raises(CloudAwayError, match="429"):
            await rest.begin_session(f"{cloud.hub}/session", CAPABILITIES, 10.0, unsaid)
    await rest.plan()
    assert 40.0 < waits.seconds[0] <= 50.0
    await rest.close()


async def test_a_call_that_waits_waits_longer_if_another_one_is_told_so(cloud: BrowserStack) -> None:
    control, waited = cloud.account.control, []

    async def waits(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            await too_many(50)

    async def too_many(retry_after: int) -> None:
        control.refuse["recent"], control.retry_after = [429], retry_after
        with pytest.raises(CloudAwayError, match="HTTP 429"):
            await rest.apps_of("qgjob-x")

    rest = rest_of(cloud, waits)
    await too_many(3)
    await rest.plan()
    assert [round(seconds, -1) for seconds in waited] == [0.0, 50.0]
    assert rest.held.startswith("BrowserStack can't serve the uploaded apps now (HTTP 429")
    await rest.close()


async def test_an_upload_that_was_taken_and_answered_with_a_failure_is_not_made_twice(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    build = tmp_path / "app.apk"
    build.write_bytes(b"bytes of an app" * 1000)
    cloud.account.control.accepted_then_500 = 1
    rest = rest_of(cloud)
    url = await rest.upload(build, "qgjob-1", 30.0)
    assert url == await rest.app_of("qgjob-1") == cloud.account.apps[0]["app_url"]
    assert list(cloud.account.uploads.values()) == [1]
    assert await rest.app_of("qgjob-2") is None
    await rest.close()


async def test_a_session_is_refused_for_want_of_room_or_for_what_it_wants(cloud: BrowserStack) -> None:
    rest, url = rest_of(cloud), f"{cloud.hub}/session"
    with pytest.raises(RejectedError, match="BROWSERSTACK_INVALID_APP_CAP"):
        await rest.begin_session(url, CAPABILITIES, 10.0, unsaid)
    cloud.account.control.foreign = 2
    with pytest.raises(NoRoomError, match="All parallel tests are currently in use"):
        await rest.begin_session(url, CAPABILITIES, 10.0, unsaid)
    cloud.account.control.refuse["session"] = [401]
    with pytest.raises(AccountRefusedError, match=r"browserstack\.access_key"):
        await rest.begin_session(url, CAPABILITIES, 10.0, unsaid)
    await rest.close()


@pytest.mark.parametrize("status", [408, 502, 504, 520, 522, 524])
async def test_a_session_that_may_have_begun_is_no_full_plan_whatever_the_words_are(
    cloud: BrowserStack, status: int
) -> None:
    """Who takes it for one looks for no session, and the one that had begun would keep its place."""

    async def answer(*_: object) -> tuple[int, list[str], bytes]:
        return status, [], b"the request was too long in the queue for parallel sessions"

    cloud._answer = answer  # type: ignore[method-assign]
    rest = rest_of(cloud)
    with pytest.raises(CloudError, match=f"HTTP {status}: the request was too long in the queue") as failed:
        await rest.begin_session(f"{cloud.hub}/session", CAPABILITIES, 10.0, unsaid)
    assert type(failed.value) is UnheardError
    await rest.close()


@pytest.mark.parametrize("wish", [float("nan"), "half a \ud83d"])
async def test_what_no_json_can_say_is_refused(cloud: BrowserStack, wish: object) -> None:
    """Tests wish for what they like, and the next agent would be asked the same."""
    rest = rest_of(cloud)
    with pytest.raises(RejectedError, match="can't be asked for a session: what is wanted is no JSON"):
        await rest.begin_session(f"{cloud.hub}/session", CAPABILITIES | {"appium:wish": wish}, 10.0, unsaid)
    await rest.close()


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe\x00", b"\x00", b"7" * 5_000])
@pytest.mark.parametrize("status", [200, 500])
async def test_what_no_json_reader_takes_is_no_answer(cloud: BrowserStack, data: bytes, status: int) -> None:
    """Who looks at the plan looks on after that."""

    async def answer(*_: object) -> tuple[int, list[str], bytes]:
        return status, ["content-type: application/json"], data

    cloud._answer = answer  # type: ignore[method-assign]
    rest = rest_of(cloud)
    with pytest.raises(CloudAwayError):
        await rest.plan()
    await rest.close()


async def test_a_host_that_is_away_says_so() -> None:
    cloud = BrowserStack()
    await cloud.start()
    rest = rest_of(cloud)
    await cloud.stop()
    with pytest.raises(CloudAwayError, match="does not answer for the plan: ConnectError"):
        await rest.plan()
    await rest.close()


async def test_a_file_is_waited_for_and_bounded(cloud: BrowserStack, tmp_path: Path) -> None:
    rest = rest_of(cloud)
    cloud.account.control.not_ready = 2
    await rest.fetch(f"{cloud.url}/files/1/video.mp4", tmp_path / "video.mp4", 1_000)
    assert (tmp_path / "video.mp4").read_text() == "the content of /files/1/video.mp4"
    with pytest.raises(RejectedError, match="more than 5 bytes"):
        await rest.fetch(f"{cloud.url}/files/1/a.log", tmp_path / "a.log", 5)
    cloud.account.control.not_ready = 20
    with pytest.raises(CloudAwayError, match=r"no other.mp4 yet \(HTTP 403\)"):
        await rest.fetch(f"{cloud.url}/files/1/other.mp4", tmp_path / "other.mp4", 1_000)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["video.mp4"]
    await rest.close()


@pytest.mark.parametrize("address", ["https://a\x01b/video.mp4", "https://half a \ud83d/", "http://xn--\u2603..a/"])
async def test_an_address_that_is_none_has_no_file(cloud: BrowserStack, tmp_path: Path, address: str) -> None:
    rest = rest_of(cloud)
    with pytest.raises(RejectedError, match=r"video\.mp4 at no address"):
        await rest.fetch(address, tmp_path / "video.mp4", 1_000)
    await rest.close()


async def test_another_host_is_not_shown_who_asks(cloud: BrowserStack, tmp_path: Path) -> None:
    """Here the same host by another name. Files are given to everybody, so what was sent is looked at."""
    elsewhere = cloud.url.replace("127.0.0.1", "localhost")
    rest = rest_of(cloud)
    seen: list[str] = []
    answer = cloud._answer

    async def look(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[str], bytes]:
        seen.append(headers.get("authorization", ""))
        return await answer(method, path, headers, body)

    cloud._answer = look  # type: ignore[method-assign]
    await rest.fetch(f"{elsewhere}/files/1/a.log", tmp_path / "a.log", 1_000)
    assert seen == [""]
    await rest.close()


@pytest.mark.parametrize("api_url", ["http://127.0.0.1:9", "https://127.0.0.1:{port}"])
async def test_another_port_or_scheme_of_the_same_host_is_not_shown_who_asks(tmp_path: Path, api_url: str) -> None:
    """Whoever listens there is somebody else, and what is sent without TLS is read by all on the way."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 -\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    rest = Rest(Account(USER, KEY), api_url.format(port=port), waits=Waits())
    await rest.fetch(f"http://127.0.0.1:{port}/video.mp4", tmp_path / "video.mp4", 1_000)
    await rest.close()
    server.close()
    assert [b"authorization" in head.lower() for head in heads] == [False]


async def test_no_error_and_no_text_of_an_account_has_its_key(cloud: BrowserStack, tmp_path: Path) -> None:
    rest, control = rest_of(cloud), cloud.account.control
    texts = [repr(Account(USER, KEY)), repr(rest)]
    (tmp_path / "a.apk").write_bytes(b"x")
    for status in (401, 403, 422, 500):
        control.refuse["app-automate"] = [status] * 10
        with pytest.raises(CloudError) as found:
            await rest.upload(tmp_path / "a.apk", "qgjob-1", 10.0)
        texts += [str(found.value), repr(found.value.__cause__)]
    echo = Rest(Account("Basic", "denied"), cloud.url, waits=Waits())  # as if the answer held them
    with pytest.raises(CloudError) as echoed:
        await echo.plan()
    assert "HTTP 401: HTTP …: Access …." in str(echoed.value)
    assert not any(USER in text or KEY in text for text in texts)
    await rest.close()
    await echo.close()
