"""The stand-in answers as the real BrowserStack was seen to in public, and the agent reads that as what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from qgjob_agent.devices.browserstack.errors import (
    AccountRefusedError,
    CloudAwayError,
    CloudError,
    NoRoomError,
    RejectedError,
    SpentError,
)
from qgjob_agent.devices.browserstack.plan import Plan
from qgjob_agent.devices.browserstack.rest import TRIES, Rest
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.plain_http import NO_TLS
from tests.integration.browserstack.lab import Waits, rest_of, unsaid

SEEN: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "fakes" / "browserstack" / "seen.json").read_text("utf-8")
)
FILE = {"file": ("app.apk", b"an apk", "application/octet-stream")}
CAPABILITIES = {
    "platformName": "android",
    "bstack:options": {"deviceName": "Pixel", "buildName": "b", "sessionName": "s"},
}


class Asking:
    """The questions of `seen.json`, put to the stand-in."""

    def __init__(self, cloud: BrowserStack, http: httpx2.AsyncClient) -> None:
        self._cloud = cloud
        self._control = cloud.account.control
        self._http = http

    async def plan(self) -> httpx2.Response:
        return await self._http.get("/app-automate/plan.json")

    async def recent_none(self) -> httpx2.Response:
        return await self._http.get("/app-automate/recent_apps/none")

    async def recent(self) -> httpx2.Response:
        await self._upload()
        return await self._http.get("/app-automate/recent_apps/an-id")

    async def upload_refused(self) -> httpx2.Response:
        self._control.refuse["upload"] = [422]
        return await self._upload()

    async def upload_failed(self) -> httpx2.Response:
        self._control.refuse["upload"] = [500]
        return await self._upload()

    async def not_allowed(self) -> httpx2.Response:
        self._control.refuse["upload"] = [403]
        return await self._upload()

    async def wrong_key(self) -> httpx2.Response:
        return await self._http.get("/app-automate/plan.json", auth=(USER, "wrong"))

    async def wrong_key_hub(self) -> httpx2.Response:
        return await self._http.post("/wd/hub/session", json={}, auth=(USER, "wrong"))

    async def too_many(self) -> httpx2.Response:
        self._control.refuse["plan"], self._control.limited_as = [429], 403
        return await self.plan()

    async def full(self) -> httpx2.Response:
        self._control.foreign = self._control.most
        return await self._begin((await self._upload()).json()["app_url"])

    async def spent(self) -> httpx2.Response:
        self._control.spent = True
        return await self._begin((await self._upload()).json()["app_url"])

    async def no_app(self) -> httpx2.Response:
        return await self._begin("bs://none")

    async def end_ended(self) -> httpx2.Response:
        path = f"/wd/hub/session/{await self._begun()}"
        await self._http.delete(path)
        return await self._http.delete(path)

    async def session(self) -> httpx2.Response:
        path = f"/app-automate/sessions/{await self._begun()}.json"
        return await self._http.put(path, json={"status": "passed", "reason": "a reason"})

    async def dropped(self) -> httpx2.Response:
        session_id = await self._begun()
        self._cloud.account.drop()
        return await self._http.get(f"/app-automate/sessions/{session_id}.json")

    async def builds(self) -> httpx2.Response:
        await self._begun()
        return await self._http.get("/app-automate/builds.json", params={"status": "running"})

    async def sessions(self) -> httpx2.Response:
        (build,) = (await self.builds()).json()
        session_id = next(iter(self._cloud.account.sessions))
        await self._http.delete(f"/wd/hub/session/{session_id}")
        return await self._http.get(f"/app-automate/builds/{build['automation_build']['hashed_id']}/sessions.json")

    async def _upload(self) -> httpx2.Response:
        return await self._http.post("/app-automate/upload", files=FILE, data={"custom_id": "an-id"})

    async def _begin(self, app_url: str) -> httpx2.Response:
        wanted = CAPABILITIES | {"appium:app": app_url}
        return await self._http.post(
            "/wd/hub/session", json={"capabilities": {"alwaysMatch": wanted, "firstMatch": [{}]}}
        )

    async def _begun(self) -> str:
        began = await self._begin((await self._upload()).json()["app_url"])
        return str(began.json()["value"]["sessionId"])


def alike(seen: Any, told: Any, where: str = "") -> list[str]:
    """What was seen and is missing, or of another kind. What is not known yet (null) is of each."""
    if isinstance(seen, dict) and isinstance(told, dict):
        lacks = [f"{where}.{name} is missing" for name in seen if name not in told]
        return lacks + [x for name in seen if name in told for x in alike(seen[name], told[name], f"{where}.{name}")]
    if isinstance(seen, list) and isinstance(told, list):
        return [x for one, other in zip(seen, told, strict=False) for x in alike(one, other, f"{where}[]")]
    if seen is None or told is None or type(seen) is type(told):
        return []
    return [f"{where} is {type(told).__name__}, and was seen as {type(seen).__name__}"]


@pytest.mark.parametrize("name", SEEN)
async def test_the_stand_in_answers_as_the_real_one_was_seen_to(cloud: BrowserStack, name: str) -> None:
    seen = SEEN[name]
    async with httpx2.AsyncClient(base_url=cloud.url, auth=(USER, KEY), verify=NO_TLS) as http:
        answer = await getattr(Asking(cloud, http), seen["asked"])()
    assert answer.status_code == seen.get("status", answer.status_code)
    assert [text for text in seen.get("says", ()) if text not in answer.text] == []
    if isinstance(seen["body"], str):
        assert answer.text == seen["body"]
    else:
        assert alike(seen["body"], answer.json()) == []


def test_who_compares_sees_what_is_missing_and_of_another_kind() -> None:
    seen = [{"a": 1, "b": {"c": "x"}, "d": None, "e": "x"}]
    told = [{"a": "1", "b": {}, "d": 3, "e": None}]
    assert alike(seen, told) == ["[].a is str, and was seen as int", "[].b.c is missing"]


def as_seen(cloud: BrowserStack, name: str, status: int | None = None, waits: Waits | None = None) -> Rest:
    """A client for which the answer to whatever it asks is this one, word for word. `status` where none was seen."""
    seen = SEEN[name]
    body = seen["body"]
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    kind = "text/html; charset=utf-8" if isinstance(body, str) else "application/json"

    async def answer(*_: Any) -> tuple[int, list[str], bytes]:
        return seen.get("status", status or 200), [f"content-type: {kind}"], data

    cloud._answer = answer  # type: ignore[method-assign]
    return rest_of(cloud, waits or Waits())


async def begin(rest: Rest, cloud: BrowserStack) -> Any:
    return await rest.begin_session(f"{cloud.hub}/session", CAPABILITIES, 10.0, unsaid)


READ: dict[str, tuple[type[CloudError], int, str]] = {
    "a session when the plan is full": (NoRoomError, 200, "All parallel tests are currently in use"),
    "a session when the plan is used up": (SpentError, 200, r"testing time expired.*what the plan allows"),
    "a session of an app that is not there": (RejectedError, 200, "BROWSERSTACK_INVALID_APP_CAP"),
    "a wrong key at the hub": (AccountRefusedError, 401, "Authorization required"),
}


@pytest.mark.parametrize("name", READ)
async def test_what_a_hub_refuses_is_no_session_that_may_have_begun(cloud: BrowserStack, name: str) -> None:
    """It was seen to refuse with a status of success. Nobody is to look for a session that is none."""
    kind, status, says = READ[name]
    rest = as_seen(cloud, name, status)
    with pytest.raises(CloudError) as refused:
        await begin(rest, cloud)
    assert type(refused.value) is kind
    assert re.search(says, str(refused.value))
    await rest.close()


async def test_a_refusal_is_read_whatever_its_status(cloud: BrowserStack) -> None:
    rest = rest_of(cloud)
    await cloud_answers(
        cloud, 400, {"value": {"error": "session not created", "message": "Automate testing time expired."}}
    )
    with pytest.raises(AccountRefusedError, match=r"HTTP 400: Automate testing time expired\.\); check"):
        await begin(rest, cloud)
    await cloud_answers(
        cloud,
        200,
        {"status": 13, "value": "1 session is currently being used. Please upgrade to add more parallel sessions."},
    )
    with pytest.raises(NoRoomError, match="1 session is currently being used"):
        await begin(rest, cloud)
    for nothing in ({}, [], {"value": {"sessionId": "", "capabilities": {}}}, {"value": None, "status": 0}):
        await cloud_answers(cloud, 200, nothing)
        with pytest.raises(CloudAwayError, match="without an id"):
            await begin(rest, cloud)
    await rest.close()


async def cloud_answers(cloud: BrowserStack, status: int, body: Any) -> None:
    async def answer(*_: Any) -> tuple[int, list[str], bytes]:
        return status, ["content-type: application/json"], json.dumps(body).encode()

    cloud._answer = answer  # type: ignore[method-assign]


async def test_a_session_that_is_over_is_ended_with_one_question(cloud: BrowserStack) -> None:
    """Its test may have ended it before. The answer has the status of a fault of theirs."""
    rest = as_seen(cloud, "a session that is over is ended")
    await rest.end_session(f"{cloud.hub}/session/abc")
    assert len(cloud.heads) == 1
    await rest.close()


async def test_too_many_requests_are_no_fault_of_the_account(cloud: BrowserStack) -> None:
    """They were seen to be refused with 403, as is an account that may not."""
    waits = Waits()
    rest = as_seen(cloud, "too many requests", waits=waits)
    with pytest.raises(CloudAwayError, match="Rate Limit Exceeded"):
        await rest.plan()
    assert len(cloud.heads) == TRIES
    assert len(waits.seconds) >= TRIES - 1
    await rest.close()


@pytest.mark.parametrize(
    ("name", "status", "kind", "says"),
    [
        ("a wrong key", 401, AccountRefusedError, r"HTTP 401: HTTP Basic: Access denied\."),
        ("an account that may not", 403, AccountRefusedError, "Access to API denied"),
        ("an upload that is no app", 422, RejectedError, "BROWSERSTACK_APP_UNZIP_FAILED"),
        ("an upload that is no app", 200, RejectedError, "BROWSERSTACK_APP_UNZIP_FAILED"),
        ("an upload that is refused", 422, RejectedError, "BROWSERSTACK_INCORRECT_URL"),
        ("an upload that fails there", 500, CloudAwayError, "Internal server error"),
    ],
)
async def test_an_upload_that_fails_says_what_the_real_one_said(
    cloud: BrowserStack, tmp_path: Path, name: str, status: int, kind: type[CloudError], says: str
) -> None:
    (tmp_path / "app.apk").write_bytes(b"an apk")
    rest = as_seen(cloud, name, status)
    with pytest.raises(kind, match=says):
        await rest.upload(tmp_path / "app.apk", "an-id", 10.0)
    await rest.close()


async def test_what_is_there_is_read(cloud: BrowserStack) -> None:
    asked: dict[str, tuple[Callable[[Rest], Awaitable[Any]], Any]] = {
        "plan": (lambda rest: rest.plan(), Plan(3, 50, 0)),
        "no recent app": (lambda rest: rest.app_of("an-id"), None),
        "a recent app": (lambda rest: rest.app_of("an-id"), "bs://0000"),
        "what a session is": (
            lambda rest: rest.session("0000"),
            SEEN["what a session is"]["body"]["automation_session"],
        ),
    }
    for name, (ask, expected) in asked.items():
        rest = as_seen(cloud, name)
        assert await ask(rest) == expected
        await rest.close()
