"""What each guard of the scripts that move the store to the next schema keeps out, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.scripts import Arg
from qgjob_coordinator.store.store import Store

F = keys.FLEET
HOLD = '{"k":"bad","r":"from before","u":null}'


async def migrate(store: Store, *args: Arg) -> Any:
    """From schema 4 to 5; `args` are who asks, who stood still at which count, and `done`."""
    return await store._migrator._runner.run("migrate", F, [4, 5, *args])


async def test_a_move_that_nobody_began_is_anybodys(store: Store, raw: Redis) -> None:
    raw.set(f"{F}schema", "4")
    raw.hset(f"{F}mg", mapping={"who": "left over", "count": 7})
    assert await migrate(store, "me", "", 0, "") == ["MINE", "me", 8]
    assert raw.get(f"{F}schema") == "4>5"


@pytest.mark.parametrize("done", ["", "done"])
async def test_a_store_that_was_moved_is_left_alone(store: Store, raw: Redis, done: str) -> None:
    raw.set(f"{F}schema", "5")
    assert await migrate(store, "me", "", 0, done) == ["DONE", "", 0]
    assert raw.keys(f"{F}*") == [f"{F}schema"]


@pytest.mark.parametrize("schema", ["3", "6", "5>6"])
async def test_a_third_schema_is_left_alone(store: Store, raw: Redis, schema: str) -> None:
    raw.set(f"{F}schema", schema)
    assert await migrate(store, "me", "", 0, "") == ["ELSE", schema, 0]
    assert raw.get(f"{F}schema") == schema
    assert raw.keys(f"{F}*") == [f"{F}schema"]


@pytest.fixture
def anothers(store: Store, raw: Redis) -> None:
    """A move that another one carries out, who was seen at the count of 7."""
    del store  # it is opened on an empty one
    raw.set(f"{F}schema", "4>5")
    raw.hset(f"{F}mg", mapping={"who": "another", "count": 7})


@pytest.mark.parametrize(
    "args",
    [("", 0, ""), ("another", 6, ""), ("a third", 7, ""), ("another", 7, "done"), ("", 0, "done")],
    ids=["unseen", "at another count", "somebody else", "done instead of it", "done, unseen"],
)
@pytest.mark.usefixtures("anothers")
async def test_nobody_follows_who_was_not_seen_to_stand_still(store: Store, raw: Redis, args: tuple[Arg, ...]) -> None:
    assert await migrate(store, "me", *args) == ["OTHER", "another", 7]
    assert (raw.get(f"{F}schema"), raw.hget(f"{F}mg", "who")) == ("4>5", "another")


@pytest.mark.usefixtures("anothers")
async def test_who_was_seen_to_stand_still_is_followed(store: Store, raw: Redis) -> None:
    assert await migrate(store, "me", "another", 7, "") == ["MINE", "me", 8]
    assert raw.hget(f"{F}mg", "who") == "me"


@pytest.mark.usefixtures("anothers")
async def test_who_carries_it_out_goes_on_and_ends_it(store: Store, raw: Redis) -> None:
    assert await migrate(store, "another", "", 0, "") == ["MINE", "another", 8]
    assert await migrate(store, "another", "", 0, "done") == ["DONE", "", 0]
    assert raw.get(f"{F}schema") == "5"
    assert raw.keys(f"{F}*") == [f"{F}schema"]


@pytest.mark.parametrize(("schema", "who", "moved"), [("4>5", "me", 1), ("5", "me", -1), ("4>5", "another", -1)])
async def test_a_step_is_of_the_one_who_carries_the_move_out_while_it_goes_on(
    store: Store, raw: Redis, schema: str, who: str, moved: int
) -> None:
    raw.set(f"{F}schema", schema)
    raw.hset(f"{F}mg", mapping={"who": who, "count": 1})
    raw.hset(f"{F}ag:agent-1", mapping={"epoch": 1, "hold": HOLD})
    raw.hset(f"{F}ag:agent-2", mapping={"epoch": 1})
    answer = await store._migrator._runner.run("migrate_holds", F, ["4>5", "me", "agent-1", "agent-2"])
    assert answer == moved
    found = raw.hgetall(f"{F}ag:agent-1")
    assert found == {"epoch": "1", "hold:health" if moved > 0 else "hold": HOLD}
    assert raw.hgetall(f"{F}ag:agent-2") == {"epoch": "1"}
