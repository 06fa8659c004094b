"""What stands among the leases of an agent and is none goes: each session of the agent would be ended over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_audit import audit
from tests.integration.store.test_unbooked import Lab, lab

__all__ = ["lab"]

LEASED = f"{keys.org('acme')}la:{scenes.AGENT}"
GONE = spec(99)


async def sweep(store: Store) -> object:
    return await store.leases.sweep("acme", scenes.AGENT, 1, NOW, 0.0)


async def adopt_nothing(store: Store) -> object:
    return (await store.leases.adopt("acme", scenes.AGENT, 2, [], NOW, 0.0))[0]


@pytest.mark.parametrize("end", [sweep, adopt_nothing])
async def test_what_is_no_lease_of_the_agent_goes_and_nothing_else_does(
    end: Callable[[Store], Awaitable[object]], store: Store, raw: Redis
) -> None:
    """Its job is gone, or waits, or is another agent's, which keeps it."""
    waiting, of_another = spec(1), spec(2)
    await scenes.open_session(store)
    await scenes.open_session(store, "agent-2")
    await scenes.submit(store, waiting)
    await scenes.running(store, of_another, agent_id="agent-2", device_id="d2")
    raw.sadd(LEASED, GONE.ulid, waiting.ulid, of_another.ulid)
    assert await end(store) == []
    assert audit(raw) == []
    assert raw.smembers(f"{keys.org('acme')}la:agent-2") == {of_another.ulid}


@pytest.mark.parametrize("lease", [None, "1 t1 agent-2 d1 1"], ids=["lacks", "names another agent"])
@pytest.mark.parametrize("end", [sweep, adopt_nothing])
async def test_a_running_job_whose_lease_is_damaged_is_no_leftover(
    end: Callable[[Store], Awaitable[object]], lease: str | None, store: Store, raw: Redis
) -> None:
    """Nobody would look for it any more, not even when it is mended."""
    await scenes.open_session(store)
    await scenes.running(store, spec(1))
    record = f"{keys.org('acme')}j:{spec(1).ulid}"
    kept = raw.hget(record, "l")
    raw.hdel(record, "l")
    if lease:
        raw.hset(record, "l", lease)
    told = f"the lease of job {spec(1).ulid} names agent agent-2" if lease else "lacks what each job has"
    with pytest.raises(ResponseError, match=told):
        await end(store)
    assert raw.smembers(LEASED) == {spec(1).ulid}
    raw.hset(record, "l", kept)
    assert await end(store) != []
    assert (await scenes.get(store, spec(1))).status is Status.QUEUED
    assert audit(raw) == []


@pytest.mark.parametrize("end", [sweep, adopt_nothing])
async def test_a_lease_of_a_later_session_is_no_leftover(
    end: Callable[[Store], Awaitable[object]], store: Store, raw: Redis
) -> None:
    await scenes.open_session(store, epoch=3)
    await scenes.running(store, spec(1), epoch=3)
    assert await end(store) == []
    assert audit(raw) == []


async def test_a_session_that_was_ended_over_a_leftover_is_the_last_one(lab: Lab, raw: Redis) -> None:
    live = await lab.given()
    raw.sadd(LEASED, GONE.ulid)
    for _ in range(2):
        await lab.unbooked.look()
    assert live.session.refused is not None
    await lab.sessions.close(live, "refused")
    live = await lab.open(2)
    await live.session.admit(["acme"])
    with capture_logs() as lines:
        for _ in range(2):
            await lab.unbooked.look()
    assert live.session.refused is None
    assert lines == []
