"""A store of an older version is brought along: once, by one coordinator, to its end whoever dies at it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from redis import Redis

from qgjob_coordinator.errors import ConfigError, SchemaOlderError, StoreUnavailableError
from qgjob_coordinator.model.enums import HoldKind
from qgjob_coordinator.model.fleet import Hold
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.migrations import holds, migrator
from qgjob_coordinator.store.migrations.work import Work
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.reply_eater import ReplyEater
from tests.fakes.store_audit import audit
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

F = keys.FLEET
FACTS = json.dumps(
    {
        "udid": "u",
        "target": "emulator",
        "platform": None,
        "os_version": None,
        "model": None,
        "labels": {},
        "health": "good",
        "reason": None,
    }
)
KINDS = ("draining", "reserved", "maintenance", "bad")


def old(kind: str) -> str:
    return json.dumps({"k": kind, "r": f"from before, {kind}", "u": NOW + 500})


@pytest.fixture
def version_4(raw: Redis) -> dict[str, set[Hold]]:
    """Agents and devices as version 4 kept them: some with the field that it understood from before, some with both."""
    wanted: dict[str, set[Hold]] = {}
    raw.set(f"{F}schema", "4")
    for n in range(40):
        agent, kind = f"agent-{n}", KINDS[n % 4]
        raw.sadd(f"{F}agents", agent)
        raw.hset(f"{F}ag:{agent}", mapping={"epoch": 3, "state": "closed", "instance": "i", "hold": old("draining")})
        raw.sadd(f"{F}da:{agent}", f"{agent}.d")
        device = {"agent": agent, "facts": FACTS, "present": "1", "hold": old(kind)}
        if n % 2:  # what stood in its own field is older than that
            device["hold:reserved"] = json.dumps({"k": "reserved", "r": "own", "u": None})
        raw.hset(f"{F}dv:{agent}.d", mapping=device)
        wanted[agent] = {Hold(HoldKind.DRAINING, "from before, draining", NOW + 500)}
        found = Hold(HoldKind(kind), f"from before, {kind}", NOW + 500)
        own = {Hold(HoldKind.RESERVED, "own")} if n % 2 and kind != "reserved" else set()
        wanted[f"{agent}.d"] = {found} | own
    return wanted


async def holds_now(store: Store) -> dict[str, set[Hold]]:
    rows = await store.fleet.read()
    return {r.agent_id: set(r.holds) for r in rows} | {d.info.device_id: set(d.holds) for r in rows for d in r.devices}


async def test_a_store_of_schema_4_is_moved_and_nothing_is_sent_to_it_before(
    store: Store, raw: Redis, version_4: dict[str, set[Hold]]
) -> None:
    with pytest.raises(SchemaOlderError, match="schema 4") as found:
        await store.check()
    with pytest.raises(StoreUnavailableError, match="schema 4"):
        await scenes.submit(store, spec(1))
    with pytest.raises(StoreUnavailableError, match="schema 4"):
        await store.mark_active("acme")
    assert raw.keys("qg:o:*") == []
    assert await store.migrate(found.value.found) == 80
    await store.check()
    assert await holds_now(store) == version_4
    assert raw.get(f"{F}schema") == str(keys.SCHEMA_VERSION) == "6"
    assert audit(raw) == []
    assert [s.word for s in await scenes.submit(store, spec(1))] == ["NEW"]


async def test_a_store_of_schema_5_is_moved_with_the_sets_of_its_agents_as_they_are(store: Store, raw: Redis) -> None:
    raw.set(f"{F}schema", "5")
    raw.sadd(f"{F}orgs", "acme", "globex")
    raw.sadd(f"{F}ao:agent-1", "acme")
    with pytest.raises(SchemaOlderError, match="schema 5") as found:
        await store.check()
    assert await store.migrate(found.value.found) == 0
    await store.check()
    assert await store.agent_orgs("agent-1") == {"acme"}


async def test_of_several_coordinators_each_comes_to_the_end_and_the_work_is_done_once(
    redis_url: str, version_4: dict[str, set[Hold]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrator, "PAUSE_SECONDS", 0.01)
    stores = [Store(redis_url) for _ in range(5)]
    try:
        assert sum(await asyncio.gather(*(s.migrate("4") for s in stores))) == 80
        for s in stores:
            await s.check()
        assert await holds_now(stores[0]) == version_4
    finally:
        for s in stores:
            await s.close()


async def test_one_that_died_in_the_middle_is_followed_and_changes_nothing_when_it_comes_back(
    store: Store,
    store_process: StoreProcess,
    raw: Redis,
    version_4: dict[str, set[Hold]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its script ran and its reply was lost; the next one sees the count stand still, and begins anew."""
    monkeypatch.setattr(migrator, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(migrator, "FOLLOW_SECONDS", 0.1)
    async with ReplyEater(store_process.port) as proxy:

        async def dies(work: Work) -> int:
            """The first one: its replies are eaten after some of its agents; the next one is left to itself."""
            if not proxy.eaten:
                await work.step("migrate_holds", ["agent-1", "agent-2", "agent-3"])
                proxy.eat()
            return await holds.move(work)

        monkeypatch.setattr(migrator, "STEPS", {**migrator.STEPS, 5: dies})
        dying = Store(f"redis://127.0.0.1:{proxy.port}")
        try:
            task = asyncio.create_task(dying.migrate("4"))
            await until(lambda: proxy.eaten, "it does not die")
            assert raw.hexists(f"{F}ag:agent-9", "hold"), "it was done before it died"
            with pytest.raises(SchemaOlderError, match="4>5"):
                await store.check()
            await store.migrate("4>5")
            await store.check()
            assert await holds_now(store) == version_4
            proxy.cut()
            with suppress(StoreUnavailableError):
                await task
            with suppress(StoreUnavailableError):
                await dying.check()  # may be told of the end of another connection
            await dying.check()
        finally:
            await dying.close()
    assert await holds_now(store) == version_4
    assert raw.keys(f"{F}mg") == []


async def test_a_step_of_a_move_that_was_taken_over_changes_nothing(store: Store, raw: Redis) -> None:
    raw.set(f"{F}schema", "4>5")
    raw.hset(f"{F}mg", mapping={"who": "another", "count": 7})
    raw.hset(f"{F}ag:agent-1", "hold", old("draining"))
    outside = store._migrator._runner
    assert await outside.run("migrate_holds", F, ["4>5", "me", "agent-1"]) == -1
    assert await outside.run("migrate", F, [4, 5, "me", "", 0, ""]) == ["OTHER", "another", 7]
    assert await outside.run("migrate", F, [4, 5, "me", "another", 6, ""]) == ["OTHER", "another", 7]
    assert await outside.run("migrate", F, [4, 5, "me", "", 0, "done"]) == ["OTHER", "another", 7]
    assert raw.hgetall(f"{F}ag:agent-1") == {"hold": old("draining")}
    assert await outside.run("migrate", F, [4, 5, "me", "another", 7, ""]) == ["MINE", "me", 8]


@pytest.mark.parametrize(
    ("schema", "todo"),
    [
        ("7", "a newer version wrote it: start that one, or restore the backup"),
        ("6>7", "a newer version wrote it"),
        ("3", "stores of schema 4 and newer"),
        ("2>3", "stores of schema 4"),
        ("x", "schema x"),
    ],
)
async def test_a_schema_without_a_way_is_refused_with_what_to_do_and_left_alone(
    store: Store, raw: Redis, schema: str, todo: str
) -> None:
    await store.check()
    raw.set(f"{F}schema", schema)
    for _ in range(2):
        with pytest.raises(ConfigError, match=todo):
            await store.check()
        with pytest.raises(StoreUnavailableError, match=f"schema {schema}"):
            await scenes.submit(store, spec(1))
    with pytest.raises(ConfigError, match=todo):
        await store.migrate(schema)
    assert raw.get(f"{F}schema") == schema
    assert raw.keys("qg:o:*") == []
    raw.set(f"{F}schema", keys.SCHEMA_VERSION)
    await store.check()
    assert [s.word for s in await scenes.submit(store, spec(1))] == ["NEW"]
