"""BrowserStack's REST API for App Automate, as far as it is needed here. An HTTP client is loaded with this module."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from qgjob_agent.devices.browserstack import answers
from qgjob_agent.devices.browserstack.errors import (
    CloudAwayError,
    CloudError,
    NotThereError,
    RejectedError,
    TooManyError,
    UnheardError,
)
from qgjob_agent.host.plain_file import created

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from qgjob_agent.devices.browserstack.account import Account
    from qgjob_agent.devices.browserstack.plan import Plan

TRIES = 4
CONNECT_SECONDS = 5.0
"""To connect for a session: by then what the plan has free is known no more."""
_REASON = 200
_BASE = "/app-automate"
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_NO_JSON = (ValueError, RecursionError)


class OnItsWay(Protocol):
    """Who is told how far a request has come."""

    def may_go(self) -> bool:
        """It is connected. Whether the request may go out."""

    def sent(self) -> None:
        """It is on its way."""


class Rest:
    """One account. Calls raise CloudError; what may pass is tried a few times, and as late as the answer asks for.

    `waits` is how it pauses, and `pause_seconds` the least pause between two tries. `who` is the user agent.
    """

    def __init__(
        self,
        account: Account,
        api_url: str,
        *,
        who: str = "qgjob",
        answer_seconds: float = 30.0,
        pause_seconds: float = 1.0,
        waits: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._account = account
        self._client = httpx2.AsyncClient(
            base_url=api_url,
            auth=(account.user, account.access_key),
            headers={"user-agent": who},
            timeout=answer_seconds,
        )
        self._plain: httpx2.AsyncClient | None = None  # for what lies elsewhere
        self._answer_seconds = answer_seconds
        self._pause = pause_seconds
        self._waits = waits
        self._not_before = 0.0  # all calls wait until then: too many requests are the account's, not one call's
        self._held_for = ""  # what the answer said

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
        if self._plain is not None:
            await self._plain.aclose()

    async def plan(self, look: Callable[[], Awaitable[Plan]] | None = None) -> Plan:
        """What the plan has and uses now. `look` is one try to learn that."""
        plan: Plan = await self._patiently(look or self.plan_now)
        return plan

    async def plan_now(self) -> Plan:
        """What the plan has and uses now. One try."""
        return answers.plan_of(await self._once("GET", f"{_BASE}/plan.json", "the plan"))

    async def app_of(self, custom_id: str) -> str | None:
        """The app that was uploaded last with this id; None if none was."""
        found: list[str] = await self._patiently(lambda: self.apps_of(custom_id))
        return found[0] if found else None

    async def apps_of(self, custom_id: str) -> list[str]:
        """All apps that were uploaded with this id, the latest first. One try."""
        try:
            told = await self._once("GET", f"{_BASE}/recent_apps/{custom_id}", "the uploaded apps")
        except NotThereError:
            return []
        return answers.apps_of(told, custom_id)

    async def upload(self, path: Path, custom_id: str, seconds: float) -> str:
        """Uploads a build and gives its app's address. A try that failed may have been taken: that is looked up."""
        tries = 0

        async def send() -> Any:
            nonlocal tries
            tries += 1
            if tries > 1 and (found := await self.apps_of(custom_id)):
                return {"app_url": found[0]}
            with path.open("rb") as file:
                files = {"file": (path.name, file, "application/octet-stream")}
                return await self._once(
                    "POST", f"{_BASE}/upload", "the upload", files=files, data={"custom_id": custom_id}, timeout=seconds
                )

        return answers.uploaded(await self._patiently(send), self._account)

    async def session(self, session_id: str) -> dict[str, Any]:
        """What BrowserStack says of a session."""
        told = await self._json("GET", f"{_BASE}/sessions/{session_id}.json", what="a session")
        found = told.get("automation_session") if isinstance(told, dict) else None
        return found if isinstance(found, dict) else {}

    async def set_status(self, session_id: str, status: str, reason: str) -> None:
        """Marks a session as `passed` or `failed`."""
        body = {"status": status, "reason": reason[:_REASON]}
        await self._json("PUT", f"{_BASE}/sessions/{session_id}.json", what="a session", json=body)

    async def begin_session(
        self, url: str, capabilities: dict[str, Any], seconds: float, on_its_way: OnItsWay
    ) -> tuple[str, dict[str, Any]]:
        """Begins a session at a hub: its id and what it can do. One try, since each needs room in the plan.

        Raises NoRoomError where the hub has none, UnheardError where one may have begun all the same.
        """
        body = {"capabilities": {"alwaysMatch": capabilities, "firstMatch": [{}]}}
        trace = _Trace(on_its_way)
        try:
            timeout = httpx2.Timeout(seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS, write=CONNECT_SECONDS)
            traced = {"trace": trace}
            told = await self._once("POST", url, "a session", json=body, timeout=timeout, extensions=traced)
            return answers.begun(told, self._account)
        except CloudError as error:
            if isinstance(error, UnheardError) and not trace.went_out:
                raise CloudAwayError(str(error)) from None
            raise answers.not_begun(error) from None

    async def end_session(self, url: str) -> None:
        """Ends a session at its hub, if it runs still."""

        async def end() -> None:
            try:
                await self._once("DELETE", url, "a session")
            except CloudError as error:
                if not answers.is_over(error):
                    raise

        await self._patiently(end)

    async def running_sessions(self, build: str, name: str) -> list[str]:
        """The sessions that run and have this name, in builds of that name."""
        builds = await self._json(
            "GET", f"{_BASE}/builds.json", "the builds", params={"status": "running", "limit": 100}
        )
        ids: list[str] = []
        for build_id in [
            each["hashed_id"] for each in answers.listed(builds, "automation_build") if each.get("name") == build
        ]:
            told = await self._json("GET", f"{_BASE}/builds/{build_id}/sessions.json", "a build", params={"limit": 100})
            sessions = answers.listed(told, "automation_session")
            running = [each for each in sessions if each.get("status") == "running"]
            ids += [each["hashed_id"] for each in running if each.get("name") == name]
        return ids

    async def fetch(self, url: str, path: Path, most_bytes: int) -> None:
        """Writes what lies at an address that BrowserStack gave. Raises CloudError, OSError.

        Only where its API is (scheme, host and port) is shown who asks.
        """
        try:
            ours = _origin(httpx2.URL(url)) == _origin(self._client.base_url)
        except (httpx2.InvalidURL, ValueError):
            raise RejectedError(f"BrowserStack has {path.name} at no address") from None
        if ours:
            client = self._client
        else:
            self._plain = client = self._plain or httpx2.AsyncClient(
                timeout=self._answer_seconds, follow_redirects=True
            )
        draft = path.with_name(path.name + ".part")

        async def take() -> None:
            try:
                async with client.stream("GET", url) as answer:
                    if not answer.is_success:  # a video that is not made yet is answered with 403
                        raise CloudAwayError(f"BrowserStack has no {path.name} yet (HTTP {answer.status_code})")
                    size = 0
                    with created(draft) as file:
                        async for piece in answer.aiter_bytes():
                            size += len(piece)
                            if size > most_bytes:
                                raise RejectedError(f"{path.name} has more than {most_bytes} bytes")
                            file.write(piece)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                raise CloudAwayError(f"{path.name} can't be fetched: {type(error).__name__}") from None
            if not size:
                raise CloudAwayError(f"{path.name} is empty still")

        try:
            await self._patiently(take)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    async def _json(self, method: str, path: str, what: str, **options: Any) -> Any:
        return await self._patiently(lambda: self._once(method, path, what, **options))

    async def _patiently(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Tries again what may pass, a few times."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(CloudAwayError),
            stop=stop_after_attempt(TRIES),
            wait=self._wait,
            sleep=self._waits,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                await self.calm()
                return await call()
        raise AssertionError("unreachable")

    async def calm(self) -> None:
        """Waits as long as answers to too many requests ask for, also those that come meanwhile."""
        waited_for = 0.0
        while self._not_before > max(waited_for, now := time.monotonic()):
            waited_for = self._not_before
            await self._waits(waited_for - now)

    @property
    def held(self) -> str:
        """Why BrowserStack is asked for nothing now, if that is so."""
        left = self._not_before - time.monotonic()
        return f"{self._held_for}; it is to be asked for nothing for {left:.3g} s more" if left > 0 else ""

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_seconds if isinstance(error, CloudAwayError) else None
        usual = wait_random_exponential(multiplier=self._pause, max=answers.LONGEST_PAUSE_SECONDS)(state)
        return usual if asked is None else max(asked, 0.0)

    async def _once(self, method: str, path: str, what: str, **options: Any) -> Any:
        try:
            answer = await self._client.request(method, path, **options)
        except httpx2.HTTPError as error:
            kind = CloudAwayError if isinstance(error, _NOT_SENT) else UnheardError
            raise kind(f"BrowserStack does not answer for {what}: {type(error).__name__}") from None
        except ValueError as error:  # a test may wish for anything
            raise RejectedError(f"BrowserStack can't be asked for {what}: what is wanted is no JSON: {error}") from None
        if answer.is_success:
            try:
                return answer.json()
            except _NO_JSON:
                raise UnheardError(f"BrowserStack answers for {what} with what is no JSON") from None
        retry_after = answer.headers.get("retry-after", "")
        refusal = answers.refusal(what, answer.status_code, retry_after, _told(answer), self._account)
        if isinstance(refusal, TooManyError):
            until = time.monotonic() + (refusal.retry_seconds or self._pause)
            if until > self._not_before:  # an answer that overtook another one shortens nothing
                self._not_before, self._held_for = until, str(refusal)
        raise refusal


class _Trace:
    """Follows a request for a session. A proxy is asked for a tunnel before, with the same trace."""

    def __init__(self, on_its_way: OnItsWay) -> None:
        self._on_its_way = on_its_way
        self.went_out = False  # some of it, so that a session may begin

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".send_request_headers.started") and info["request"].method == b"POST":
            if not self._on_its_way.may_go():
                raise CloudAwayError(f"BrowserStack can't be connected to for a session in {CONNECT_SECONDS:g} s")
            self.went_out = True
        elif self.went_out and event.endswith(".send_request_body.complete"):
            self._on_its_way.sent()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _told(answer: httpx2.Response) -> Any:
    """See answers."""
    try:
        return answer.json()
    except _NO_JSON:
        return answers.words_alone(answer.text)
