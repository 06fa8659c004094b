"""What is compared after each step of a machine: a step that changes nothing looks at what lies there all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from qgjob_coordinator.store import keys
from tests.fakes.jobs import NOW, spec, ulid
from tests.fakes.store_process import StoreProcess
from tests.integration.store.side_by_side import Call, SideBySide

ORG = keys.org("acme")


@pytest.fixture
def both(store_process: StoreProcess, raw: Redis) -> Iterator[SideBySide]:
    with asyncio.Runner() as runner:
        one = SideBySide(runner, store_process.url, raw, ("acme",))
        yield one
        one.close()


def nothing(both: SideBySide) -> None:
    both.do(Call("acme", "cancel", ([(ulid(99), None)], NOW), (("reason", "by hand"),)))
    both.do(Call(None, "observe", ("agent-1", 1, -1, "closed")))


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.hset(f"{ORG}j:{ulid(1)}", "v", "7"),
        lambda raw: raw.hincrby(f"{ORG}ct", "qe", 1),
        lambda raw: raw.persist(next(iter(raw.keys(f"{ORG}ik:*")))),
        lambda raw: raw.set(next(iter(raw.keys(f"{ORG}ik:*"))), "else", keepttl=True),
        lambda raw: raw.set(f"{ORG}junk", "1"),
        lambda raw: raw.delete(f"{ORG}dd"),
        lambda raw: raw.srem(f"{keys.FLEET}act", "acme"),
    ],
)
def test_what_changed_beside_the_model_is_seen_behind_a_step_that_changed_nothing(
    both: SideBySide, raw: Redis, change: Callable[[Redis], object]
) -> None:
    both.do(Call("acme", "submit", ([spec(1, "acme", ulid=ulid(1), idempotency_key="key 1")], [True], NOW)))
    both.check()
    nothing(both)
    both.check()
    change(raw)
    nothing(both)
    with pytest.raises(AssertionError):
        both.check()


def test_a_model_that_changed_is_seen(both: SideBySide) -> None:
    both.do(Call("acme", "submit", ([spec(1, "acme", ulid=ulid(1))], [True], NOW)))
    both.check()
    both.orgs["acme"].jobs[ulid(1)].version += 1
    nothing(both)
    with pytest.raises(AssertionError):
        both.check()
