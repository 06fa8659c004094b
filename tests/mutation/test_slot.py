"""The store that forks have one after the other is to each as one that has just begun."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from tests.mutation.slot import Slot


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    opened = Slot(tmp_path)
    yield opened
    opened.end()


@pytest.fixture
def first(slot: Slot) -> Iterator[Redis]:
    with closing(slot.store().client()) as client:
        yield client


def test_the_next_has_the_same_store_without_keys_and_scripts(slot: Slot, first: Redis) -> None:
    before = slot.store().pid
    first.set("a", 1)
    sha = first.script_load("return 1")
    first.close()
    store = slot.store()
    with closing(store.client()) as client:
        assert client.keys() == []
        assert client.script_exists(sha) == [False]
        assert "cmdstat_set" not in client.info("commandstats")
    assert store.pid == before


@pytest.mark.parametrize(
    "command",
    ["CONFIG SET maxmemory-policy allkeys-lru", "ACL SETUSER default -hgetall", "REPLICAOF 127.0.0.1 1"],
    ids=lambda c: c.split()[0].lower(),
)
def test_one_that_was_changed_is_replaced(slot: Slot, first: Redis, command: str) -> None:
    before = first.info()["process_id"]
    first.execute_command(*command.split())
    first.close()
    assert slot.store().pid != before


def test_one_that_somebody_is_connected_to_is_replaced(slot: Slot, first: Redis) -> None:
    before = first.info()["process_id"]
    assert slot.store().pid != before


def test_one_that_has_ended_is_replaced(slot: Slot, first: Redis) -> None:
    first.close()
    before = slot.store().pid
    with closing(slot.store().client()) as client:
        client.shutdown(nosave=True)
    assert slot.store().pid != before
