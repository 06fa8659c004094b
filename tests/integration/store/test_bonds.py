"""Runs that are bound to a client: what renews and ends a bond, and when an observer takes the client for gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis import Redis

from qgjob_coordinator.errors import NotFoundError, StoreUnavailableError
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.service.calls.keeping_runs import Keeping
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.runs import Bond
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.submissions import BoundTo, Manner
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_audit import leftovers

AFTER = 30.0
BOUND = Manner(bound_to=BoundTo("c1", 30_000))
GONE = "the client of run r1 has gone: nothing was heard of it for 30 s"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bonds(store: Store, clock: Clock) -> Bonds:
    return Bonds(store, clock)


Watch = Callable[[float], Awaitable[None]]


@pytest.fixture
def watch(bonds: Bonds, clock: Clock) -> Watch:
    """Looks at the org once a second for so long."""

    async def looking(seconds: float) -> None:
        for _ in range(int(seconds)):
            await bonds.look("acme", idle=False)
            clock.now += 1

    return looking


async def submit(store: Store, *numbers: int, run_id: str = "r1", manner: Manner = BOUND) -> None:
    await store.jobs.submit("acme", [spec(n, run_id=run_id) for n in numbers], [True] * len(numbers), NOW, manner)


async def marked(store: Store) -> dict[str, str]:
    return {run.run_id: run.reason for run in await store.runs.to_cancel("acme")}


async def keep(store: Store, client: str = "c1", *, release: bool = False) -> bool:
    return await store.runs.keep("acme", "r1", client, release=release)


async def test_a_client_that_is_not_heard_of_is_given_up_with_its_run(store: Store, bonds: Bonds, clock: Clock) -> None:
    hub, found = Hub(), []
    hub.runs_to_cancel = found.append
    timers = Timers(store, hub, FleetReader(store), Telemetry(), bonds, faults=OrgFaults())

    async def watch(seconds: float) -> None:
        for _ in range(int(seconds)):
            timers._swept = float("-inf")
            await timers.look()
            clock.now += 1

    await submit(store, 1, 2)
    await store.mark_active("acme")
    await watch(AFTER)
    assert (await marked(store), found) == ({}, [])
    await watch(1)
    assert (await marked(store), found) == ({"r1": GONE}, ["acme"])
    assert await store.runs.bonds("acme") == []


async def test_a_client_is_given_up_although_a_job_of_its_org_can_not_be_used(
    store: Store, raw: Redis, bonds: Bonds, clock: Clock
) -> None:
    """A due retry that is damaged rests for up to a minute between two tries, and a bond may be shorter."""
    faults = OrgFaults(now=clock)
    timers = Timers(store, Hub(), FleetReader(store), Telemetry(), bonds, faults=faults)
    await submit(store, 1)
    now = wall_ms()
    late = [spec(2, not_before=now - 1)]
    await store.jobs.submit("acme", late, [True], now - 2)
    await store.mark_active("acme")
    raw.hdel(f"{keys.org('acme')}j:{late[0].ulid}", "i")
    for _ in range(int(AFTER) + 1):
        timers._swept = float("-inf")
        await timers.look()
        clock.now += 1
    assert await marked(store) == {"r1": GONE}
    assert [aside.parts for aside in faults.damaged()] == [("due_jobs",)]


async def test_the_shortest_bond_ends_although_looks_are_a_second_apart(store: Store, watch: Watch) -> None:
    await submit(store, 1, manner=Manner(bound_to=BoundTo("c1", 1000)))
    await watch(1)
    assert await marked(store) == {}
    await watch(1)
    assert list(await marked(store)) == ["r1"]


async def test_a_client_that_shows_itself_is_kept(store: Store, watch: Watch) -> None:
    await submit(store, 1)
    for _ in range(5):
        await watch(AFTER - 1)
        assert await keep(store)
    assert await marked(store) == {}


async def test_what_a_submission_brings_is_a_sign_of_life_and_a_replay_of_it_is_none(
    store: Store, watch: Watch
) -> None:
    await submit(store, 1)
    await watch(AFTER - 1)
    await submit(store, 2)
    await watch(AFTER - 1)
    assert await marked(store) == {}
    await submit(store, 1, 2)
    await watch(3)
    assert await marked(store) == {"r1": GONE}
    await submit(store, 1, 2)
    assert await store.runs.bonds("acme") == []


async def test_a_renewal_between_the_look_and_the_end_wins(store: Store) -> None:
    await submit(store, 1)
    (seen,) = await store.runs.bonds("acme")
    assert await keep(store)
    assert not await store.runs.part("acme", seen, "gone")
    (now,) = await store.runs.bonds("acme")
    assert (now.after_seconds, now.found != seen.found) == (AFTER, True)
    assert await marked(store) == {}


async def test_a_client_that_lets_go_leaves_its_jobs_to_go_on(store: Store, watch: Watch) -> None:
    await submit(store, 1)
    assert await keep(store, release=True)
    assert not await keep(store)  # a renewal that comes late binds nothing
    assert not await keep(store, release=True)
    await watch(2 * AFTER)
    assert await marked(store) == {}


async def test_a_bond_that_is_made_again_is_not_taken_for_the_one_that_ended(
    store: Store, bonds: Bonds, clock: Clock
) -> None:
    """Both within one pause of an observer."""
    await submit(store, 1)
    await bonds.look("acme", idle=False)
    await keep(store, release=True)
    await store.jobs.submit("acme", [spec(2, run_id="r1")], [True], NOW + 1, BOUND)
    for _ in range(int(AFTER) + 1):
        clock.now += 1
        await bonds.look("acme", idle=False)
        if clock.now == 1000 + AFTER:
            assert await marked(store) == {}
    assert await marked(store) == {"r1": GONE}


async def test_two_clients_of_a_run_are_watched_each(store: Store, watch: Watch) -> None:
    await submit(store, 1)
    await submit(store, 2, manner=Manner(bound_to=BoundTo("c2", 30_000)))
    assert await keep(store, "c2", release=True)
    await watch(AFTER - 1)
    assert await keep(store)
    await watch(AFTER - 1)
    assert await marked(store) == {}
    await watch(2)
    assert await marked(store) == {"r1": GONE}


async def test_an_observer_that_could_not_look_takes_nobody_for_gone(
    store: Store, bonds: Bonds, clock: Clock, watch: Watch
) -> None:
    """It was stopped, and its clients with nobody to turn to; or the store was away."""
    await submit(store, 1)
    await watch(AFTER - 1)
    clock.now += AFTER
    await watch(AFTER - 1)
    bonds.blind()
    await watch(AFTER)
    assert await marked(store) == {}
    await watch(1)
    assert await marked(store) == {"r1": GONE}


async def test_a_read_that_took_long_is_a_time_without_a_look(
    store: Store, bonds: Bonds, clock: Clock, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that stands still and then answers: nobody could show himself meanwhile."""
    await submit(store, 1)
    await watch(12)
    read = store.runs.bonds

    async def slow(org_id: str) -> list[Bond]:
        clock.now += 20
        return await read(org_id)

    with monkeypatch.context() as patched:
        patched.setattr(store.runs, "bonds", slow)
        await bonds.look("acme", idle=False)
    await watch(AFTER)
    assert await marked(store) == {}
    await watch(1)
    assert await marked(store) == {"r1": GONE}


async def test_an_org_without_work_is_looked_at_rarely_and_keeps_no_bond(
    store: Store, raw: Redis, bonds: Bonds, clock: Clock
) -> None:
    await submit(store, 1)
    timers = Timers(store, Hub(), FleetReader(store), Telemetry(), bonds, faults=OrgFaults())
    await store.jobs.cancel("acme", [(spec(1).ulid, 1)], NOW, reason="x")
    await store.mark_idle(["acme"])
    for _ in range(2):
        timers._registry = float("-inf")
        await timers.look()
        clock.now += AFTER
    assert await store.runs.bonds("acme") == []
    await store.runs.cancelled("acme", await store.runs.to_cancel("acme"))
    await store.jobs.retire("acme", Status.CANCELLED, NOW + 10**9, 0, 100)
    assert leftovers(raw, "acme") == []


async def test_timers_that_are_blind_let_all_times_begin_anew(
    store: Store, bonds: Bonds, clock: Clock, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(store, 1)
    await watch(AFTER)
    timers = Timers(store, Hub(), FleetReader(store), Telemetry(), bonds, faults=OrgFaults())

    async def away() -> set[str]:
        raise StoreUnavailableError("the store is away")

    class PausedError(Exception):
        pass

    async def paused(_seconds: float) -> None:
        raise PausedError

    monkeypatch.setattr(store, "active_orgs", away)
    monkeypatch.setattr("qgjob_coordinator.loops.timers.asyncio.sleep", paused)
    with pytest.raises(PausedError):
        await timers.run()
    monkeypatch.undo()
    await watch(1)
    assert await marked(store) == {}


async def test_a_renewal_of_nothing_is_told(store: Store) -> None:
    keeping = Keeping(store)
    with pytest.raises(NotFoundError, match="not bound to client c1") as told:
        await keeping.keep(LOCAL_ADMIN, "acme", "r1", "c1", release=False)
    assert told.value.field == "run_id"
    await keeping.keep(LOCAL_ADMIN, "acme", "r1", "c1", release=True)  # as when the answer to it was lost
