"""A user with few rights in a real store: exactly those that the page names are enough, and each of them is missed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest
from redis import Redis

from qgjob_coordinator.errors import StoreRightsError, StoreUnavailableError
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.rights import DISCARD, HOLD_SECONDS, MULTI, tries
from qgjob_coordinator.store.scripts import LUA
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.jobs import spec
from tests.fakes.limited_store import OPTIONAL, LimitedStore, rules_of_the_page, rules_of_the_user
from tests.fakes.plain_http import NO_TLS
from tests.fakes.store_cluster import ClusterStore
from tests.fakes.store_process import StoreProcess
from tests.fakes.store_sentinel import SentinelStore
from tests.fakes.waiting import until

NEEDED = [rule for rule in rules_of_the_page() if rule.startswith("+") and rule not in OPTIONAL]
SERVES, AWAY = 200, 503
IN_LUA = re.compile(r"(?:call|many)\(\s*'([A-Z]+)'")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LimitedStore]:
    store = LimitedStore(tmp_path / "store")
    store.start()
    yield store
    store.stop()


@pytest.fixture
def admin(own: LimitedStore) -> Iterator[Redis]:
    with own.client() as client:
        yield client


@pytest.fixture
async def opened(own: LimitedStore) -> AsyncIterator[Store]:
    store = Store(own.url)
    yield store
    await store.close()


def test_all_that_scripts_run_is_tried_and_on_the_page() -> None:
    in_scripts = {name for path in LUA.rglob("*.lua") for name in IN_LUA.findall(path.read_text())}
    assert in_scripts
    assert in_scripts <= {str(command[0]) for command in tries("k")}
    assert sorted(NEEDED) == sorted({f"+{command[0]}".lower() for command in (MULTI, DISCARD, *tries("k"))})


async def test_the_rights_of_the_page_are_enough_to_serve(opened: Store, admin: Redis) -> None:
    await opened.check()
    assert list((await opened.lacking(10.0)).values()) == [[]]
    assert await opened.publish("work acme") == 0
    (facts,) = (await opened.look(10.0)).told.values()
    assert None not in (facts.fsync, facts.slow, facts.coordinators)
    assert admin.execute_command("ACL", "LOG") == []


async def test_each_right_of_the_page_is_missed_by_its_name(own: LimitedStore, opened: Store) -> None:
    await opened.check()
    for rule in NEEDED:
        own.rule(rule.replace("+", "-"))
        assert list((await opened.lacking(10.0)).values()) == [[rule]]
        own.rule(rule)
    own.rule("resetkeys", "~other:*")
    assert list((await opened.lacking(10.0)).values()) == [["~qg:*"]]


@pytest.mark.parametrize("spoilt", ["", "-multi", "-discard", "-hset"])
async def test_trying_does_nothing(own: LimitedStore, opened: Store, admin: Redis, spoilt: str) -> None:
    await opened.check()
    admin.delete(keys.PROBE)
    before = {key: admin.dump(key) for key in admin.scan_iter()}
    if spoilt:
        own.rule(spoilt)
    errors = admin.info("errorstats")
    for _ in range(3):
        assert list((await opened.lacking(10.0)).values()) == [[f"+{spoilt[1:]}"] if spoilt else []]
    assert {key: admin.dump(key) for key in admin.scan_iter()} == before
    assert {*admin.info("errorstats")} - {*errors} <= {"errorstat_NOPERM"}


@pytest.mark.parametrize("spoilt", ["-hset", "-zadd", "-evalsha", "-set", "-info", "-time"])
async def test_after_a_refusal_nothing_is_sent_until_all_is_allowed(
    own: LimitedStore, opened: Store, spoilt: str
) -> None:
    await opened.check()
    right = spoilt.replace("-", "+")
    own.rule(spoilt)

    async def refused() -> StoreRightsError | None:
        """A call or the look of a second: whichever meets it."""
        try:
            await scenes.submit(opened, spec(1))
            await opened.check()
        except StoreRightsError as e:
            return e
        return None

    await until(refused, "it was not refused")
    with pytest.raises(StoreRightsError) as e:
        await opened.check()
    assert e.value.rules == (right,)
    with pytest.raises(StoreUnavailableError, match=re.escape(right)):
        await opened.all_orgs()
    own.rule(right)

    async def served() -> bool:
        try:
            return bool(await opened.check())
        except StoreUnavailableError:
            return False

    await until(served, "it stays refused", seconds=HOLD_SECONDS + 5)
    await opened.all_orgs()


@pytest.fixture
def coordinator(tmp_path: Path, own: LimitedStore) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path / "coordinator", own.url)
    yield process
    process.kill()


async def rights_are(coordinator: CoordinatorProcess, level: str) -> str:
    """What the doctor finds of the rights, when that is of this level: who asks at once is told the same again."""

    def look() -> str | None:
        answer = httpx2.get(f"{coordinator.url}/health/detailed", verify=NO_TLS, timeout=20.0).json()
        finding = next(f for f in answer["findings"] if f["check"] == "store.rights")
        return str(finding["found"]) if finding["level"] == level else None

    return str(await until(look, f"the rights are not {level}"))


def submitted(coordinator: CoordinatorProcess, test: str = "a") -> httpx2.Response:
    job = {"org_id": "acme", "app_version_id": "v1", "test_path": f"{test}.spec.ts"}
    return httpx2.post(f"{coordinator.url}/api/jobs", json=job, verify=NO_TLS, timeout=20.0)


async def test_rights_that_are_taken_while_it_runs_make_it_not_ready_until_they_are_back(
    own: LimitedStore, coordinator: CoordinatorProcess
) -> None:
    coordinator.start()
    assert submitted(coordinator).is_success
    await rights_are(coordinator, "ok")
    own.rule("-hset", "-xadd")
    answer = submitted(coordinator, "b")
    assert (answer.status_code, answer.json()["error"]) == (AWAY, "unavailable")
    why = coordinator.wait_for("/health/ready", AWAY).decode()
    assert "+hset +xadd" in why
    assert "ACL SETUSER" in why
    assert "+hset +xadd" in await rights_are(coordinator, "problem")
    own.rule("+hset", "+xadd")
    coordinator.wait_for("/health/ready", SERVES)
    assert submitted(coordinator, "b").is_success
    assert "loop_died" not in coordinator.said()
    assert coordinator.stop() == 0


def test_a_user_without_rights_is_waited_for_at_the_start(own: LimitedStore, coordinator: CoordinatorProcess) -> None:
    own.rule("-eval", "-evalsha", "-hget")
    coordinator.launch()
    coordinator.says("store_away")
    assert "+hget +eval +evalsha" in coordinator.wait_for("/health/ready", AWAY).decode()
    own.rule("+eval", "+evalsha", "+hget")
    coordinator.wait_for("/health/ready", SERVES)
    assert coordinator.stop() == 0


async def test_without_channels_it_serves_says_so_once_and_hears_when_it_may(
    own: LimitedStore, coordinator: CoordinatorProcess
) -> None:
    own.rule("resetchannels")
    coordinator.start()
    coordinator.says("hints_refused")
    assert "hearing: &qg:*" in await rights_are(coordinator, "warning")
    assert submitted(coordinator).is_success
    coordinator.says("way=sending")
    assert coordinator.said().count("hints_refused") == 2, "once for each way"
    coordinator.wait_for("/health/ready", SERVES)
    own.rule("&qg:*")
    coordinator.says("hints_allowed")
    assert coordinator.stop() == 0


async def test_a_password_that_is_changed_makes_it_not_ready_until_it_is_back(
    own: LimitedStore, coordinator: CoordinatorProcess, admin: Redis
) -> None:
    coordinator.start()
    own.rule("resetpass", ">another")
    admin.execute_command("CLIENT", "KILL", "USER", own.user)
    coordinator.says("refuses the credentials of REDIS_URL")

    def says_why() -> bool:  # its connections were closed first, and that may be what it knows yet
        return "refuses the credentials of REDIS_URL" in coordinator.wait_for("/health/ready", AWAY).decode()

    await until(says_why, "it is not ready, and does not say why")
    assert submitted(coordinator).status_code == AWAY
    own.rule(f">{own.password}")
    coordinator.wait_for("/health/ready", SERVES)
    assert submitted(coordinator).is_success
    assert coordinator.stop() == 0


async def test_hints_that_are_refused_shut_nothing(own: LimitedStore, opened: Store) -> None:
    own.rule("resetchannels")
    await opened.check()
    for call in (opened.publish("work acme"), opened.listen(lambda _: None)):
        with pytest.raises(StoreRightsError):
            await call
    assert opened.hints_refused == {"sending": "&qg:*", "hearing": "&qg:*"}
    await opened.check()
    await opened.mark_active("acme")
    own.rule("&qg:*")
    begun = asyncio.Event()
    listening = asyncio.create_task(opened.listen(lambda _: None, begun.set))
    async with asyncio.timeout(10):
        await begun.wait()
    await opened.publish("work acme")
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert opened.hints_refused == {}


def give(processes: list[StoreProcess], *rules: str) -> None:
    """The same user at each server, since none tells the others."""
    for process in processes:
        with process.client() as client:
            client.execute_command("ACL", "SETUSER", LimitedStore.user, *rules)


def with_user(url: str) -> str:
    return url.replace("://", f"://{LimitedStore.user}:{LimitedStore.password}@")


async def test_a_cluster_needs_two_rights_more(tmp_path: Path) -> None:
    cluster = ClusterStore(tmp_path)
    try:
        cluster.start()
        give(cluster.processes, *rules_of_the_user())
        store = Store(with_user(cluster.url))
        try:
            with pytest.raises(StoreRightsError) as e:
                await store.check()
            assert e.value.rules == ("+cluster|info",)
            give(cluster.processes, "+cluster|info", "+cluster|slots")
            await store.check()
            assert list((await store.lacking(10.0)).values()) == [[], [], []]
            await scenes.submit(store, spec(1))
            give(cluster.processes[:1], "-hset")
            assert sorted((await store.lacking(10.0)).values()) == [[], [], ["+hset"]]
        finally:
            await store.close()
    finally:
        cluster.stop()


async def test_sentinels_need_one_right_more_on_the_server_and_one_of_their_own(tmp_path: Path) -> None:
    group = SentinelStore(tmp_path)
    try:
        group.start()
        give(group.servers, *rules_of_the_user())
        give(list(group.sentinels), "reset", "on", f">{LimitedStore.password}", "-@all", "+sentinel|master")
        login = f"?sentinel_username={LimitedStore.user}&sentinel_password={LimitedStore.password}"
        store = Store(with_user(group.url) + login)
        try:
            with pytest.raises(StoreRightsError) as e:
                await store.check()
            assert e.value.rules == ("+role",)
            give(group.servers, "+role")
            await store.check()
            await scenes.submit(store, spec(1))
        finally:
            await store.close()
    finally:
        group.stop()
