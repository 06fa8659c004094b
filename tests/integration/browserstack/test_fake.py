"""The stand-in answers as BrowserStack documents it or was seen to: shapes, codes, and who has to say who it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import httpx2
import pytest

from tests.fakes.appium.hub import ELEMENT
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.plain_http import NO_TLS

WANTED = {"platformName": "android", "bstack:options": {"deviceName": "Google Pixel 8", "sessionName": "a name"}}


@pytest.fixture
async def http(cloud: BrowserStack) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=cloud.url, auth=(USER, KEY), verify=NO_TLS) as client:
        yield client


async def upload(http: httpx2.AsyncClient, content: bytes = b"an apk", custom_id: str = "qgjob-1") -> str:
    files = {"file": ("app.apk", content, "application/octet-stream")}
    answer = await http.post("/app-automate/upload", files=files, data={"custom_id": custom_id})
    assert answer.status_code == 200
    told = answer.json()
    assert told["custom_id"] == custom_id
    return str(told["app_url"])


async def begin(http: httpx2.AsyncClient, app_url: str) -> httpx2.Response:
    wanted = WANTED | {"appium:app": app_url}
    return await http.post("/wd/hub/session", json={"capabilities": {"alwaysMatch": wanted, "firstMatch": [{}]}})


async def test_the_plan(cloud: BrowserStack, http: httpx2.AsyncClient) -> None:
    cloud.account.control.foreign = 1
    told = (await http.get("/app-automate/plan.json")).json()
    assert (told["parallel_sessions_running"], told["queued_sessions"]) == (1, 0)
    names = ("parallel_sessions_max_allowed", "team_parallel_sessions_max_allowed", "queued_sessions_max_allowed")
    assert [told[name] for name in names] == [2, 2, 2]


async def test_an_upload_and_the_latest_of_an_id(http: httpx2.AsyncClient) -> None:
    one, two = await upload(http), await upload(http, b"another")
    assert re.fullmatch(r"bs://[0-9a-f]{40}", one)
    assert one != two
    told = (await http.get("/app-automate/recent_apps/qgjob-1")).json()
    assert [app["app_url"] for app in told] == [two, one]
    assert (await http.get("/app-automate/recent_apps/none")).json() == {"message": "No results found"}


async def test_an_upload_without_an_id_is_found_by_its_address_alone(
    cloud: BrowserStack, http: httpx2.AsyncClient
) -> None:
    """As AppWright by itself uploads."""
    answer = await http.post("/app-automate/upload", files={"file": ("app.apk", b"an apk", "application/octet-stream")})
    assert list(answer.json()) == ["app_url"]
    assert (await begin(http, answer.json()["app_url"])).status_code == 200
    assert list(cloud.account.uploads.values()) == [1]


async def test_who_does_not_say_who_it_is_gets_nothing_but_commands_of_a_session_and_its_files(
    cloud: BrowserStack, http: httpx2.AsyncClient
) -> None:
    session_id = (await begin(http, await upload(http))).json()["value"]["sessionId"]
    async with httpx2.AsyncClient(base_url=cloud.url, verify=NO_TLS) as nobody:
        for path in ("plan.json", "recent_apps/x", f"sessions/{session_id}.json"):
            answer = await nobody.get(f"/app-automate/{path}")
            assert (answer.status_code, answer.text) == (401, "HTTP Basic: Access denied.\n")
        assert (await begin(nobody, "bs://x")).status_code == 401
        found = await nobody.post(f"/wd/hub/session/{session_id}/elements", json={"using": "x", "value": '"Hello"'})
        assert list(found.json()["value"][0]) == [ELEMENT, "ELEMENT"]
        video = (await http.get(f"/app-automate/sessions/{session_id}.json")).json()["automation_session"]["video_url"]
        cloud.account.control.not_ready = 1
        assert [(await nobody.get(video)).status_code for _ in range(2)] == [403, 200]


async def test_a_session_from_its_begin_to_its_mark(cloud: BrowserStack, http: httpx2.AsyncClient) -> None:
    app_url = await upload(http)
    session_id = (await begin(http, app_url)).json()["value"]["sessionId"]
    path = f"/app-automate/sessions/{session_id}.json"
    told = (await http.get(path)).json()["automation_session"]
    assert (told["status"], told["name"], told["hashed_id"]) == ("running", "a name", session_id)
    assert (await http.delete(f"/wd/hub/session/{session_id}")).json() == {"value": None}
    assert (await http.get(path)).json()["automation_session"]["status"] == "done"
    marked = (await http.put(path, json={"status": "failed", "reason": "why"})).json()["automation_session"]
    assert (marked["status"], marked["reason"]) == ("failed", "why")
    named = (await http.put(path, json={"name": "another name"})).json()["automation_session"]
    assert (named["name"], named["status"]) == ("another name", "failed")
    session_id = (await begin(http, app_url)).json()["value"]["sessionId"]
    cloud.account.drop()
    lost = await http.post(f"/wd/hub/session/{session_id}/elements", json={"using": "x", "value": '"Hello"'})
    assert (lost.status_code, lost.json()["value"]["error"]) == (404, "invalid session id")


async def test_what_is_refused(cloud: BrowserStack, http: httpx2.AsyncClient) -> None:
    app_url, control = await upload(http), cloud.account.control
    control.foreign = 2
    full = await begin(http, app_url)
    assert "All parallel tests are currently in use" in full.json()["value"]["message"]
    control.foreign = 0
    unknown = await begin(http, "bs://none")
    assert (unknown.status_code, unknown.json()["sessionId"]) == (200, "")
    assert "BROWSERSTACK_INVALID_APP_CAP" in unknown.json()["value"]["message"]
    control.refused_as = 422
    assert (await begin(http, "bs://none")).status_code == 422
    control.refuse["plan"], control.retry_after = [429], 5
    busy = await http.get("/app-automate/plan.json")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "5")
    assert (await http.get("/app-automate/sessions/abc.json")).status_code == 404
