"""Sessions that a run asks for: when they begin, with what, why not, and what becomes of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.core.values import Finished, Outcome
from qgjob_agent.devices.app import AppUnknownError
from qgjob_agent.devices.browserstack import gate as gate_module
from qgjob_agent.devices.browserstack import sessions as sessions_module
from qgjob_agent.devices.browserstack import unheard as unheard_module
from qgjob_agent.devices.browserstack.errors import CloudAwayError, UnheardError
from qgjob_agent.devices.browserstack.sessions import wanted
from qgjob_agent.devices.cloud import Asked, SessionRefusedError
from qgjob_agent.runners.appwright.cloud import Desk
from tests.fakes import waiting
from tests.fakes.browserstack import account
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.waiting import until
from tests.integration.browserstack.lab import DEVICE, Told, Waits, assignment, provider_of

PASSED, FAILED = (Finished(x, 1, 2, 1, error=None) for x in (Outcome.PASSED, Outcome.TEST_FAILED))


def asked(key: str = "run/1", **capabilities: Any) -> Asked:
    return Asked(key, 0, DEVICE, assignment(), capabilities)


def test_a_sessions_capabilities_are_the_projects_but_for_what_the_agent_knows() -> None:
    theirs = {
        "appium:udid": "browserstack-1",
        "appium:fullReset": True,
        "appium:autoAcceptAlerts": True,
        "appium:app": "bs://other",
        "bstack:options": {"deviceName": "other", "networkLogs": True},
    }
    told = wanted(asked(**theirs), "bs://app", "3fa9c1")
    assert wanted(asked(alwaysMatch=theirs), "bs://app", "3fa9c1") == told
    options = told.pop("bstack:options")
    assert told == {"appium:autoAcceptAlerts": True, "platformName": "android", "appium:app": "bs://app"}
    assert options == {
        "networkLogs": True,
        "deviceName": "Google Pixel 8",
        "osVersion": "14.0",
        "projectName": "qgjob",
        "buildName": "acme 1.0",
        "sessionName": "tests/a.spec.ts (acme~t1, attempt 1, 3fa9c1)",
    }
    assert wanted(asked(alwaysMatch=7, **{"bstack:options": 3}), "bs://app", "")["platformName"] == "android"


def test_a_long_path_leaves_a_sessions_name_its_end() -> None:
    long = asked()
    long.assignment.test_path = "x" * 500
    name = wanted(long, "bs://app", "3fa9c1")["bstack:options"]["sessionName"]
    assert len(name) == 250
    assert name.endswith("x (acme~t1, attempt 1, 3fa9c1)")


async def test_a_build_that_is_refused_is_not_tried_again_and_one_that_can_not_be_had_now_is(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    """It was installed once: since then BrowserStack has forgotten the app, and takes the build no more."""
    provider = provider_of(cloud, Told(), tmp_path)
    found = []
    for status in (422, 403):
        cloud.account.control.refuse["upload"] = [status]
        with pytest.raises(AppUnknownError) as refused:
            await provider.cloud.app(assignment(), DEVICE)
        found.append(refused.value.unresolvable)
    assert found == [True, False]
    await provider.close()


async def test_a_session_that_nobody_was_told_of_is_found_by_its_name_and_ended(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    cloud.account.control.unheard, cloud.account.control.most = 1, 1
    cloud.account.control.refuse["builds.json"] = [404]
    provider = provider_of(cloud, Told(), tmp_path)
    begun = await provider.cloud.begin(asked())
    (left,) = set(cloud.account.sessions) - {begun.session_id}
    assert [cloud.account.sessions[each].status for each in (left, begun.session_id)] == ["done", "running"]
    assert cloud.account.violations == 0
    await provider.close()


async def test_a_session_that_takes_too_long_is_ended_when_it_shows(cloud: BrowserStack, tmp_path: Path) -> None:
    cloud.account.control.session_seconds = 30.0
    provider = provider_of(cloud, Told(), tmp_path, session_seconds=0.8)
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: cloud.account.running, "the session")
    cloud.account.control.session_seconds = 0.0
    begun = await beginning
    await until(lambda: cloud.account.running == 1, "the first one is ended")
    assert cloud.account.sessions[begun.session_id].status == "running"
    await provider.close()


async def test_who_could_not_even_ask_looks_for_nothing(cloud: BrowserStack, tmp_path: Path) -> None:
    provider = provider_of(cloud, Told(), tmp_path, hub_url="http://127.0.0.1:9/wd/hub")
    with pytest.raises(SessionRefusedError, match="does not answer for a session: ConnectError"):
        await provider.cloud.begin(asked())
    assert not [head for head in cloud.heads if "builds" in head]
    await provider.close()


async def test_a_refusal_for_want_of_room_waits_and_another_one_does_not(cloud: BrowserStack, tmp_path: Path) -> None:
    provider, control = provider_of(cloud, Told(), tmp_path), cloud.account.control
    control.refuse["wd/hub/session"] = [500, 429]
    assert (await provider.cloud.begin(asked())).session_id in cloud.account.sessions
    control.refuse["wd/hub/session"] = [403]
    with pytest.raises(SessionRefusedError, match=r"HTTP 403: Access to API denied.*browserstack\.access_key"):
        await provider.cloud.begin(asked("run/2"))
    control.refuse["wd/hub/session"] = [500] * 10
    with pytest.raises(SessionRefusedError, match="HTTP 500"):
        await provider.cloud.begin(asked("run/3"))
    assert len(control.refuse["wd/hub/session"]) == 7
    assert provider.cloud.busy == {DEVICE.device_id}, "only the first one runs"
    await provider.close()


async def test_a_session_waits_as_long_as_the_answer_to_too_many_asks(cloud: BrowserStack, tmp_path: Path) -> None:
    """The next try would only be one request more, against a plan that was seen a moment before."""
    cloud.account.control.most = 20
    provider, control = provider_of(cloud, Told(), tmp_path), cloud.account.control
    waits = provider._rest._waits = Waits()
    control.refuse["wd/hub/session"], control.retry_after = [429], 7
    await provider.cloud.begin(asked())
    assert [6.0 < seconds <= 7.0 for seconds in waits.seconds][:1] == [True]
    await provider.close()


async def test_a_session_waits_no_longer_for_that_than_for_room(cloud: BrowserStack, tmp_path: Path) -> None:
    provider, control = provider_of(cloud, Told(), tmp_path, wait_seconds=0.3), cloud.account.control
    control.refuse["wd/hub/session"], control.retry_after = [429] * 3, 50
    with pytest.raises(SessionRefusedError, match=r"HTTP 429.*; it is to be asked for nothing for \d") as refused:
        await provider.cloud.begin(asked())
    assert str(refused.value).count("HTTP 429") == 1
    assert cloud.heads.count("POST /wd/hub/session") == 1
    await provider.close()


async def test_too_many_requests_hold_back_a_session_that_waits_for_room_and_are_the_cause_that_is_told(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    """Another call had the answer, while nobody was asked for anything but the plan."""
    provider, control = provider_of(cloud, Told(), tmp_path, wait_seconds=2.0), cloud.account.control
    await provider.cloud.app(assignment(), DEVICE)
    control.foreign = 2
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: cloud.account.asked["plan.json"] > 1, "it waits for room")
    control.refuse["recent_apps"], control.retry_after = [429], 50
    with pytest.raises(CloudAwayError, match="HTTP 429"):
        await provider._rest.apps_of("qgjob-x")
    control.foreign = 0
    with pytest.raises(SessionRefusedError, match=r"HTTP 429.*; it is to be asked for nothing for 4\d(\.\d)? s more$"):
        await beginning
    assert "POST /wd/hub/session" not in cloud.heads
    await provider.close()


async def test_a_start_that_takes_longer_than_a_session_waits_is_tried_again(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    """Patience is for room in the plan: here there is enough of it."""
    cloud.account.control.session_seconds, cloud.account.control.most = 30.0, 20
    provider = provider_of(cloud, Told(), tmp_path, session_seconds=2.2, wait_seconds=0.8)
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: cloud.account.running, "the session")
    cloud.account.control.session_seconds = 0.0
    assert (await beginning).session_id in cloud.account.sessions
    assert cloud.heads.count("POST /wd/hub/session") == 2
    await provider.close()


async def test_who_has_waited_too_long_after_a_try_is_told_why_that_failed_too(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    provider, control = provider_of(cloud, Told(), tmp_path, wait_seconds=0.5), cloud.account.control
    await provider.cloud.app(assignment(), DEVICE)
    answer = cloud._answer

    async def fails(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[str], bytes]:
        if path == "/wd/hub/session":
            control.foreign = 20
            return 500, [], b"a fault of theirs"
        return await answer(method, path, headers, body)

    cloud._answer = fails  # type: ignore[method-assign]
    with pytest.raises(SessionRefusedError) as refused:
        await provider.cloud.begin(asked())
    assert "no free session for 0.5 s" in str(refused.value)
    assert "; the last try: BrowserStack can't serve a session now (HTTP 500: a fault of theirs)" in str(refused.value)
    await provider.close()


async def test_no_session_is_asked_for_when_the_plan_was_seen_full_while_it_was_connected(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "SEND_SECONDS", 0.2)
    elsewhere = cloud.hub.replace("127.0.0.1", "localhost")  # the hub is another host, which is not connected yet
    provider = provider_of(cloud, Told(), tmp_path, hub_url=elsewhere, wait_seconds=0.5)
    await provider.cloud.app(assignment(), DEVICE)
    backend = provider._rest._client._transport._pool._network_backend  # type: ignore[attr-defined]
    connect_tcp, waits, connected = backend.connect_tcp, asyncio.Event(), asyncio.Event()

    async def connect(host: str, *args: Any, **options: Any) -> Any:
        if host == "localhost":
            waits.set()
            await connected.wait()
        return await connect_tcp(host, *args, **options)

    monkeypatch.setattr(backend, "connect_tcp", connect)
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await waits.wait()
    cloud.account.control.foreign = 2
    assert (await provider._gate.look()).free == 0
    connected.set()
    with pytest.raises(SessionRefusedError, match=r"no free session .*; the last try: .* can't be connected to"):
        await beginning
    assert "POST /wd/hub/session" not in cloud.heads
    assert cloud.account.violations == 0
    assert not [head for head in cloud.heads if "builds" in head], "none may have begun, so none is looked for"
    await provider.close()


async def test_a_look_waits_for_no_answer_of_a_start(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "SEND_SECONDS", 600.0)
    provider = provider_of(cloud, Told(), tmp_path)
    cloud.account.control.session_seconds = 60.0
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: cloud.account.running, "the session")
    async with asyncio.timeout(waiting.DEADLINE_SECONDS):
        await provider._gate.look()
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    await provider.close()


async def test_a_start_that_is_lost_on_its_way_keeps_nobody_out(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke before all of it was out."""
    monkeypatch.setattr(gate_module, "SEND_SECONDS", 600.0)
    provider = provider_of(cloud, Told(), tmp_path, wait_seconds=0.0)
    await provider.cloud.app(assignment(), DEVICE)
    await provider._gate.look()

    async def breaks(*_: object) -> Any:
        raise UnheardError("a broken connection")

    monkeypatch.setattr(provider._rest, "begin_session", breaks)
    with pytest.raises(SessionRefusedError, match="a broken connection"):
        await provider.cloud.begin(asked())
    async with asyncio.timeout(waiting.DEADLINE_SECONDS):
        await provider._gate.look()
    await provider.close()


async def test_a_start_whose_answer_is_lost_counts_until_it_is_known_what_became_of_it(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    """BrowserStack counts a session when it runs, which may be long after the connection broke."""
    cloud.account.control.most, tries, answer = 1, 0, cloud._answer
    begins = asyncio.Event()
    late: list[asyncio.Task[Any]] = []

    async def later(*what: Any) -> None:
        await begins.wait()
        await answer(*what)

    async def lost(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[str], bytes]:
        nonlocal tries
        if path == "/wd/hub/session":
            tries += 1
            if tries == 1:
                late.append(asyncio.create_task(later(method, path, headers, body)))
                raise ConnectionResetError
        return await answer(method, path, headers, body)

    cloud._answer = lost  # type: ignore[method-assign]
    provider = provider_of(cloud, Told(), tmp_path)
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: tries, "the first try")
    looks = cloud.account.asked["plan.json"]
    await until(lambda: cloud.account.asked["plan.json"] > looks + 20, "looks for over two seconds")
    assert tries == 1, "there would have been no room for both"
    begins.set()
    begun = await beginning
    assert (tries, cloud.account.refused_full, cloud.account.violations) == (2, 0, 0)
    assert [id_ for id_, each in cloud.account.sessions.items() if each.status == "running"] == [begun.session_id]
    await asyncio.gather(*late)
    await provider.close()


async def test_a_start_whose_answer_is_lost_counts_no_longer_than_one_may_take(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    cloud.account.control.most, left, answer = 1, [ConnectionResetError()], cloud._answer

    async def lost(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[str], bytes]:
        if path == "/wd/hub/session" and left:
            raise left.pop()
        return await answer(method, path, headers, body)

    cloud._answer = lost  # type: ignore[method-assign]
    provider = provider_of(cloud, Told(), tmp_path, session_seconds=1.0)
    assert (await provider.cloud.begin(asked())).session_id in cloud.account.sessions
    await provider.close()


async def test_answers_that_are_lost_in_one_moment_leave_each_session_its_next_try(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them began, which only the end of the search would tell: that is later than a session waits for room."""
    monkeypatch.setattr(unheard_module, "UNHEARD_COUNT_SECONDS", 0.5)
    provider = provider_of(cloud, Told(), tmp_path, wait_seconds=10.0, session_seconds=600.0)
    control = cloud.account.control
    await provider.cloud.app(assignment(), DEVICE)
    control.most, control.refuse["wd/hub/session"] = 3, [502] * 3
    begun = await asyncio.gather(*(provider.cloud.begin(asked(f"run/{n}")) for n in range(3)))
    assert {each.session_id for each in begun} == set(cloud.account.sessions)
    assert cloud.heads.count("POST /wd/hub/session") == 6
    assert cloud.account.violations == 0
    await provider.close()


async def test_a_start_that_fails_inside_leaves_its_device_and_its_place_free(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.account.control.most = 1
    provider = provider_of(cloud, Told(), tmp_path)

    def fails() -> None:
        monkeypatch.setattr(provider.cloud, "_changed", lambda: None)
        raise ZeroDivisionError

    monkeypatch.setattr(provider.cloud, "_changed", fails)
    with pytest.raises(ZeroDivisionError):
        await provider.cloud.begin(asked())
    assert provider.cloud.busy == set()
    assert (await provider.cloud.begin(asked("run/2"))).session_id in cloud.account.sessions
    await provider.close()


async def test_a_plan_that_stays_full_is_an_answer_and_begins_nothing(cloud: BrowserStack, tmp_path: Path) -> None:
    cloud.account.control.foreign = 2
    provider = provider_of(cloud, Told(), tmp_path, wait_seconds=1.0)
    with pytest.raises(SessionRefusedError, match=r"no free session for 1 s \(2 of 2 run\)"):
        await provider.cloud.begin(asked())
    assert "POST /wd/hub/session" not in cloud.heads
    await provider.close()


async def test_a_plan_that_is_used_up_is_told_and_is_asked_for_nothing_more(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    """The hub says it with a status of success. No session has begun, and another question has the same answer."""
    cloud.account.control.spent = True
    provider = provider_of(cloud, Told(), tmp_path)
    with pytest.raises(SessionRefusedError, match=r"testing time expired.*what the plan allows"):
        await provider.cloud.begin(asked())
    assert cloud.heads.count("POST /wd/hub/session") == 1
    assert not [head for head in cloud.heads if "builds" in head]
    await provider.close()


async def test_a_plan_that_others_fill_is_waited_for_however_often_the_hub_says_so(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    """And that uses up none of the tries: after it, a fault of theirs is one as ever."""
    cloud.account.control.most = 20
    full = {"status": 13, "value": {"message": account.ALL_BUSY}}
    left, answer = [(500, {"value": {"message": "a fault of theirs"}}), *[(200, full)] * 5], cloud._answer

    async def refuse(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[str], bytes]:
        if path == "/wd/hub/session" and left:
            status, said = left.pop()
            return status, [], json.dumps(said).encode()
        return await answer(method, path, headers, body)

    cloud._answer = refuse  # type: ignore[method-assign]
    provider = provider_of(cloud, Told(), tmp_path)
    assert (await provider.cloud.begin(asked())).session_id in cloud.account.sessions
    assert (left, cloud.account.running) == ([], 1)
    assert not [head for head in cloud.heads if "builds" in head], "none may have begun, so none is looked for"
    await provider.close()


def refuses_for_room(cloud: BrowserStack) -> None:
    """The hub says that it has no room, whatever the plan shows."""
    answer = cloud._answer

    async def refuse(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[str], bytes]:
        if path == "/wd/hub/session":
            return 400, [], json.dumps({"value": {"message": "parallelism is no capability"}}).encode()
        return await answer(method, path, headers, body)

    cloud._answer = refuse  # type: ignore[method-assign]


async def test_a_hub_that_refuses_for_want_of_room_is_asked_ever_more_rarely(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    provider = provider_of(cloud, Told(), tmp_path, wait_seconds=2.0, pause_seconds=0.05)
    await provider.cloud.app(assignment(), DEVICE)
    cloud.account.control.most = 100
    refuses_for_room(cloud)
    with pytest.raises(SessionRefusedError, match="parallelism is no capability"):
        await provider.cloud.begin(asked())
    assert 3 <= cloud.heads.count("POST /wd/hub/session") <= 15, "not every 0.05 s"
    await provider.close()


async def test_the_pause_between_refusals_for_want_of_room_has_a_bound(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the plan has free by then is another's soon."""
    monkeypatch.setattr(sessions_module, "LONGEST_PAUSE_SECONDS", 0.01)
    provider = provider_of(cloud, Told(), tmp_path, wait_seconds=600.0, pause_seconds=0.01)
    await provider.cloud.app(assignment(), DEVICE)
    cloud.account.control.most = 100
    refuses_for_room(cloud)
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: cloud.heads.count("POST /wd/hub/session") > 20, "many tries")
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    await provider.close()


async def test_who_was_alone_and_refused_for_want_of_room_is_told_of_no_other_session_and_of_no_full_plan(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last look showed room: another one of this agent, in a pause of this session."""
    monkeypatch.setattr(sessions_module, "LONGEST_PAUSE_SECONDS", 0.0)
    provider = provider_of(cloud, Told(), tmp_path, wait_seconds=2.0, pause_seconds=1.2)
    await provider.cloud.app(assignment(), DEVICE)
    cloud.account.control.most = 100
    refuses_for_room(cloud)
    beginning = asyncio.create_task(provider.cloud.begin(asked()))
    await until(lambda: cloud.heads.count("POST /wd/hub/session") == 2, "its last try")
    await until(lambda: provider._gate.starts.room == 0, "the refusal")
    while not beginning.done():
        await provider._gate.look()
        await asyncio.sleep(0.01)
    with pytest.raises(SessionRefusedError) as refused:
        await beginning
    assert str(refused.value) == "BrowserStack refuses a session (HTTP 400: parallelism is no capability)"
    await provider.close()


@pytest.mark.parametrize("code", ["BROWSERSTACK_INVALID_APP_CAP", "BROWSERSTACK_APP_DELETED"])
async def test_an_app_that_was_removed_there_is_uploaded_again(
    cloud: BrowserStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    said = account.NO_APP if code in account.NO_APP else f"[{code}] What was uploaded was removed after 30 days."
    monkeypatch.setattr(account, "NO_APP", said)
    provider = provider_of(cloud, Told(), tmp_path)
    await provider.cloud.app(assignment(), DEVICE)
    cloud.account.apps.clear()
    with pytest.raises(SessionRefusedError, match=code):
        await provider.cloud.begin(asked())
    provider._apps._uploads.known.clear()  # type: ignore[attr-defined]  # the coordinators forget it after ten minutes
    await provider.cloud.begin(asked())
    assert list(cloud.account.uploads.values()) == [2]
    await provider.close()


async def test_a_passed_attempt_is_marked_and_nothing_is_fetched(cloud: BrowserStack, tmp_path: Path) -> None:
    provider = provider_of(cloud, Told(), tmp_path)
    begun = await provider.cloud.begin(asked())
    cloud.account.control.answer_seconds = 0.3
    assert await provider.cloud.conclude([begun.session_id], PASSED, tmp_path / "out") == PASSED
    assert cloud.account.sessions[begun.session_id].status == "running", "the verdict does not wait"
    await provider.close()
    assert cloud.account.sessions[begun.session_id].status == "passed"
    assert not (tmp_path / "out").exists()


async def test_a_failed_one_has_its_video_and_logs_and_a_lost_one_is_the_providers(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    provider, out = provider_of(cloud, Told(), tmp_path, evidence_seconds=20.0), tmp_path / "out"
    begun = [await provider.cloud.begin(asked(f"run/{n}")) for n in (1, 2)]
    cloud.account.control.not_ready = 2
    ids = [each.session_id for each in begun]
    assert await provider.cloud.conclude(ids, FAILED, out) == FAILED
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"browserstack{x}{y}" for x in ("", "-2") for y in (".json", "-appium.log", "-device.log", "-video.mp4")
    )
    facts = json.loads((out / "browserstack.json").read_text())
    assert facts["hashed_id"] == ids[0]
    assert facts == {
        "hashed_id": ids[0],
        "name": facts["name"],
        "build_name": "acme 1.0",
        "project_name": "qgjob",
        "status": "running",
        "reason": "",
        "device": "Google Pixel 8",
        "os": "android",
        "os_version": "14.0",
    }, "what is not known to be harmless may open the session for whoever has it"
    cloud.account.sessions[ids[1]].status = "timeout"
    lost = await provider.cloud.conclude(ids, replace(FAILED, error="signs in: it was not there"), out)
    assert lost.outcome is Outcome.PROVIDER_ERROR
    assert lost.error == "BrowserStack ended the session: timeout; signs in: it was not there"
    await provider.close()


async def test_a_provider_that_hangs_or_fails_keeps_no_verdict_back(cloud: BrowserStack, tmp_path: Path) -> None:
    provider = provider_of(cloud, Told(), tmp_path, evidence_seconds=0.3)
    begun = await provider.cloud.begin(asked())
    cloud.account.control.answer_seconds = 30.0
    assert await provider.cloud.conclude([begun.session_id], FAILED, tmp_path / "out") == FAILED
    cloud.account.control.answer_seconds = 0.0
    cloud.account.control.refuse["sessions"] = [404] * 10
    assert await provider.cloud.conclude([begun.session_id, "0" * 40], FAILED, tmp_path / "out") == FAILED
    await provider.close()


async def test_a_run_that_dies_while_it_asks_leaves_no_session(cloud: BrowserStack, tmp_path: Path) -> None:
    provider = provider_of(cloud, Told(), tmp_path)
    cloud.account.control.session_seconds = 0.2
    (tmp_path / "run").mkdir()
    desk = Desk(tmp_path / "run" / "sessions", DEVICE, provider.cloud)
    desk.take({"event": "asks", "number": 5, "capabilities": {}}, 0, assignment())
    ((number, question),) = desk.open
    answering = asyncio.create_task(desk.answer(number, question))
    await until(lambda: cloud.account.running, "the session")
    assert desk.close() == []
    await answering
    assert cloud.account.running == 0
    assert provider.cloud.busy == set()
    assert not desk.folder.exists()
    await provider.close()


async def test_another_daemon_finds_what_was_asked_and_what_runs(cloud: BrowserStack, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    events: list[dict[str, Any]] = [{"event": "asks", "number": n, "capabilities": {}} for n in (1, 2)]
    first = provider_of(cloud, Told(), tmp_path)
    desk = Desk(tmp_path / "run" / "sessions", DEVICE, first.cloud)
    desk.take(events[0], 0, assignment())
    for number, question in desk.open:
        await desk.answer(number, question)
    (session_id,) = desk.had(0)
    text = (desk.folder / "1.json").read_text()
    assert KEY not in text
    assert USER not in text
    await first.close()

    second = provider_of(cloud, Told(), tmp_path)
    again = Desk(tmp_path / "run" / "sessions", DEVICE, second.cloud)
    again.take(events[0], 0, assignment())
    assert again.open == [], "it has its answer, and has not read it yet"
    again.take({"event": "session", "number": 1, "session_id": session_id}, 0, assignment())
    assert second.cloud.busy == {DEVICE.device_id}
    again.take(events[1], 0, assignment())
    assert [number for number, _ in again.open] == [2]
    assert again.open == [], "it is being answered"
    assert again.close() == [session_id]
    await second.close()


async def test_who_asks_again_has_done_with_the_session_and_the_question_before(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    provider = provider_of(cloud, Told(), tmp_path)
    (tmp_path / "run").mkdir()
    desk = Desk(tmp_path / "run" / "sessions", DEVICE, provider.cloud)
    desk.take({"event": "asks", "number": 1, "capabilities": {}}, 0, assignment())
    for number, question in desk.open:
        await desk.answer(number, question)
    cloud.account.control.foreign = 2
    desk.take({"event": "asks", "number": 2}, 0, assignment())
    ((number, late),) = desk.open
    waiting = asyncio.create_task(desk.answer(number, late))
    await until(lambda: cloud.account.refused_full, "a try to begin another one")
    assert cloud.account.running == 2, "the first one was ended before"
    desk.take({"event": "asks", "number": 3}, 1, assignment("t2"))
    assert [number for number, _ in desk.open] == [3]
    cloud.account.control.foreign = 0
    await waiting
    assert not (desk.folder / "2.json").exists()
    assert len(cloud.account.sessions) == 1, "it was not even begun"
    assert cloud.account.running == 0
    assert desk.leave(1) == []
    assert (desk.open, provider.cloud.busy, len(desk.had(0))) == ([], set(), 1)
    await provider.close()


@pytest.mark.parametrize(
    "event",
    [
        {"event": "asks"},
        {"event": "asks", "number": -1},
        {"event": "asks", "number": "../1"},
        {"event": "asks", "number": True},
        {"event": "session", "number": 1, "session_id": "x"},
        {"event": "session_over", "number": 7},
    ],
)
async def test_what_a_test_writes_there_is_not_taken_on_trust(
    cloud: BrowserStack, tmp_path: Path, event: dict[str, Any]
) -> None:
    provider = provider_of(cloud, Told(), tmp_path)
    desk = Desk(tmp_path / "run" / "sessions", DEVICE, provider.cloud)
    desk.take(event, 0, assignment())
    assert (desk.open, desk.had(0)) == ([], [])
    await provider.close()
