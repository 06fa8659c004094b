"""An observer gives up what it has seen stand still, all of the time that it says; and what one begins another ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import reaper as reaper_module
from qgjob_coordinator.loops import sweeping
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.sweeping import AGENTS_AT_ONCE, CALLS_AT_ONCE
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.service import org_faults
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import SessionRow
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.waiting import until

SESSION_SECONDS = 15.0
GIVE_UP_SECONDS = 62.0
LOOK_SECONDS = 1.5


class Watch:
    """A reaper, and the clock that it looks at."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        patch.setattr(reaper_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.store = store
        self.reaper = Reaper(store, Hub(), Telemetry(), SESSION_SECONDS, GIVE_UP_SECONDS, faults=OrgFaults())

    async def look(self) -> None:
        """One look, and what follows."""
        await self.reaper.look(self.now)
        await self.reaper.settled()

    async def watches(self, seconds: float) -> None:
        """Looks as often as reapers do."""
        await self.look()
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + LOOK_SECONDS)
            await self.look()

    async def state(self) -> str:
        """Of the only session."""
        _, (row,) = await self.store.sessions.watch()
        return row.state


@pytest.fixture
def watch(store: Store, monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(store, monkeypatch)


def renewed_behind_its_back(store: Store, patch: pytest.MonkeyPatch) -> None:
    """A heartbeat comes between a reaper's look and what it does about it."""
    watch = store.sessions.watch

    async def watched() -> tuple[list[tuple[str, int]], list[SessionRow]]:
        seen = await watch()
        await store.sessions.renew("agent-1", 1, NOW)
        return seen

    patch.setattr(store.sessions, "watch", watched)


async def test_a_session_times_out_first_and_is_given_up_when_its_lease_is_over(store: Store, watch: Watch) -> None:
    await scenes.open_session(store)
    job = await scenes.running(store)
    await watch.watches(14)
    assert await watch.state() == "open"
    await watch.watches(2)
    assert await watch.state() == "timed_out"
    await watch.watches(45)
    assert await watch.state() == "timed_out"
    assert (await scenes.get(store, job)).status is Status.RUNNING
    await watch.watches(3)
    assert await watch.state() == "closed"
    assert (await scenes.get(store, job)).status is Status.QUEUED


async def test_a_session_that_is_renewed_is_never_given_up(store: Store, watch: Watch) -> None:
    await scenes.open_session(store)
    for _ in range(20):
        await watch.watches(5)
        assert await watch.state() == "open"
        assert await store.sessions.renew("agent-1", 1, NOW) is not None


async def test_a_reaper_that_stood_still_times_nothing_out_that_was_renewed(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.open_session(store)
    await watch.watches(14.5)
    renewed_behind_its_back(store, monkeypatch)
    watch.now += 1
    await watch.look()
    assert await watch.state() == "open"


async def test_a_reaper_that_stood_still_closes_nothing_that_was_renewed(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.open_session(store)
    job = await scenes.running(store)
    await watch.watches(61.5)
    renewed_behind_its_back(store, monkeypatch)
    watch.now += 1
    await watch.look()
    assert await watch.state() == "open"
    assert (await scenes.get(store, job)).status is Status.RUNNING


async def test_what_a_reaper_saw_before_it_stood_still_proves_nothing(store: Store, watch: Watch) -> None:
    """It was stopped, and so the agent's heartbeats may have found nobody who wrote them down."""
    await scenes.open_session(store)
    await watch.watches(10)
    watch.now += 70
    await watch.look()
    assert await watch.state() == "open"


async def test_a_look_that_took_long_saw_what_it_saw_at_its_end(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reaper was stopped between its clock and the store, and a heartbeat came meanwhile."""
    await scenes.open_session(store)
    real = store.sessions.watch

    async def watched() -> tuple[list[tuple[str, int]], list[SessionRow]]:
        watch.now += 60
        await store.sessions.renew("agent-1", 1, NOW)
        return await real()

    monkeypatch.setattr(store.sessions, "watch", watched)
    await watch.look()
    monkeypatch.setattr(store.sessions, "watch", real)
    await watch.watches(14)
    assert await watch.state() == "open"


async def test_what_a_reaper_saw_before_a_failed_look_proves_nothing(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks each 5 s, and the third time in vain: at 20 s it has begun anew, at 30 s it has seen 10 s."""
    await scenes.open_session(store)
    real, looks, enough = store.sessions.watch, 0, asyncio.Event()

    async def watched() -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise StoreUnavailableError("away")
        if looks == 7:
            enough.set()
            await asyncio.Event().wait()
        return await real()

    async def pause(_seconds: float) -> None:
        watch.now += 5

    monkeypatch.setattr(store.sessions, "watch", watched)
    monkeypatch.setattr(reaper_module, "asyncio", SimpleNamespace(sleep=pause, create_task=asyncio.create_task))
    running = asyncio.create_task(watch.reaper.run())
    await asyncio.wait([running, asyncio.create_task(enough.wait())], return_when=asyncio.FIRST_COMPLETED)
    monkeypatch.setattr(store.sessions, "watch", real)
    assert await watch.state() == "open"
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_what_a_reaper_saw_in_an_older_life_of_the_store_proves_nothing(store: Store, watch: Watch) -> None:
    """The session was renewed after the look, and the store went back to before that."""
    _, store.epoch, _ = await store.sessions.hello("life-1")
    await scenes.open_session(store)
    await watch.watches(10)
    _, store.epoch, _ = await store.sessions.hello("life-2")
    await watch.watches(14)
    assert await watch.state() == "open"
    await watch.watches(2)
    assert await watch.state() == "timed_out"


async def test_a_reaper_goes_on_where_another_one_died(store: Store, watch: Watch) -> None:
    await scenes.open_session(store)
    job = await scenes.running(store)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    await watch.look()
    assert (await scenes.get(store, job)).status is Status.QUEUED
    assert (await store.sessions.watch())[0] == []
    assert await store.agent_orgs("agent-1") == set()


async def test_a_sweep_that_died_in_between_stays_to_be_done(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.open_session(store, orgs=["acme", "globex"])
    jobs = [await scenes.running(store, spec(1)), await scenes.running(store, spec(2, "globex"))]
    real = store.leases.sweep

    async def swept(org_id: str, *rest: Any) -> Any:
        if org_id == "globex":
            raise StoreUnavailableError("away")
        return await real(org_id, *rest)

    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    monkeypatch.setattr(store.leases, "sweep", swept)
    await watch.look()
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]
    assert await store.agent_orgs("agent-1") == {"acme", "globex"}
    monkeypatch.setattr(store.leases, "sweep", real)
    await watch.look()
    assert [(await scenes.get(store, job)).status for job in jobs] == [Status.QUEUED] * 2
    assert (await store.sessions.watch())[0] == []


async def test_a_sweep_that_began_in_an_older_life_is_done_again(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store.epoch, _ = await store.sessions.hello("life-1")
    await scenes.open_session(store)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    real = store.leases.sweep

    async def in_a_new_life(*what: Any) -> Sequence[Any]:
        answer = await real(*what)
        _, store.epoch, _ = await store.sessions.hello("life-2")
        return answer

    monkeypatch.setattr(store.leases, "sweep", in_a_new_life)
    await watch.look()
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]


async def test_a_session_stays_on_the_list_while_an_org_of_it_is_under_way(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.open_session(store, orgs=["acme", "globex"])
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    swept, answers, real = set(), asyncio.Event(), store.leases.sweep

    async def slow(org_id: str, *rest: Any) -> Any:
        if org_id == "globex":
            await answers.wait()
        answer = await real(org_id, *rest)
        swept.add(org_id)
        return answer

    async def noted(*_what: Any) -> bool:
        assert swept == {"acme", "globex"}
        return True

    monkeypatch.setattr(store.leases, "sweep", slow)
    monkeypatch.setattr(store.sessions, "swept", noted)
    await watch.reaper.look(watch.now)
    await until(lambda: bool(swept), "nothing is swept")
    answers.set()
    await watch.reaper.settled()
    await watch.look()


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_fault_of_a_sweep_ends_the_loop_and_is_told(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """It would stay without sweeps for ever, and nobody would know. A fault in an org's own sweep is that org's."""
    await scenes.open_session(store)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")

    async def faulty(*_what: Any) -> Any:
        raise asyncio.CancelledError if cancelled else ValueError("a fault of ours")

    if cancelled:
        monkeypatch.setattr(store.leases, "sweep", faulty)
    else:
        monkeypatch.setattr(store, "agent_orgs", faulty)
    await watch.look()
    with pytest.raises(RuntimeError if cancelled else ValueError):
        await watch.look()


async def test_a_store_that_is_away_is_told_once_and_swept_later(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scenes.open_session(store)
    job = await scenes.running(store)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")

    async def away(*_what: Any) -> Any:
        raise StoreUnavailableError("away")

    with capture_logs() as lines:
        with monkeypatch.context() as patch:
            patch.setattr(store, "agent_orgs", away)
            await watch.look()
            await watch.look()
        await watch.look()
    assert [x["event"] for x in lines if x.get("sweeping")] == ["reaper_blind", "sees_again"]
    assert (await scenes.get(store, job)).status is Status.QUEUED


# ---- beside an org that can't be swept ----


class Beside:
    """A closed session of two orgs, of which one is damaged; which orgs are asked, and how often its set is read."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self.store = store
        self.asked: list[str] = []
        self.reads = 0
        self.mended = False
        sweep, agent_orgs = store.leases.sweep, store.agent_orgs

        async def swept(org_id: str, *rest: Any) -> Any:
            self.asked.append(org_id)
            if org_id == "globex" and not self.mended:
                raise KeyError("a record")
            return await sweep(org_id, *rest)

        async def read(agent_id: str) -> set[str]:
            self.reads += 1
            return await agent_orgs(agent_id)

        patch.setattr(store.leases, "sweep", swept)
        patch.setattr(store, "agent_orgs", read)

    async def close(self) -> None:
        _, self.store.epoch, _ = await self.store.sessions.hello("life-1")
        await scenes.open_session(self.store, orgs=["acme", "globex"])
        assert await self.store.sessions.observe("agent-1", 1, -1, "closed")


@pytest.fixture
async def closed_beside(store: Store, monkeypatch: pytest.MonkeyPatch) -> Beside:
    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(org_faults, "LONGEST_PAUSE_SECONDS", 0.0)
    it = Beside(store, monkeypatch)
    await it.close()
    return it


async def test_an_org_that_stays_damaged_costs_no_sweep_of_the_others_again(
    store: Store, watch: Watch, closed_beside: Beside
) -> None:
    """It may stay so for days, and in a new life of the store each closed session is swept in all orgs there are."""
    for _ in range(3):
        await watch.look()
    assert closed_beside.asked == ["acme", *["globex"] * 3]
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]
    closed_beside.mended = True
    await watch.look()
    assert ((await store.sessions.watch())[0], await store.agent_orgs("agent-1")) == ([], set())


async def test_while_what_is_left_of_a_sweep_rests_nothing_is_read_for_it(
    watch: Watch, closed_beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(org_faults, "LONGEST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 60.0)
    for _ in range(3):
        await watch.look()
    assert (closed_beside.reads, closed_beside.asked) == (1, ["acme", "globex"])


async def test_what_was_swept_in_an_older_life_is_swept_again_beside_a_damaged_org(
    store: Store, watch: Watch, closed_beside: Beside
) -> None:
    await watch.look()
    _, store.epoch, _ = await store.sessions.hello("life-2")
    await watch.look()
    assert closed_beside.asked == ["acme", "globex"] * 2


# ---- after a new life, in which every closed session is swept again ----


async def closed_of_before(store: Store, count: int, orgs: Sequence[str]) -> list[str]:
    """Agents that are closed long since, and that a new life of the store has put on the list to sweep."""
    agents = [f"old-{n:02}" for n in range(count)]
    await store._call("SADD", f"{keys.FLEET}orgs", *orgs)
    for agent_id in agents:
        await scenes.open_session(store, agent_id, orgs=orgs)
        assert await store.sessions.observe(agent_id, 1, -1, "closed")
    _, store.epoch, _ = await store.sessions.hello("life-2")
    return agents


async def test_what_died_last_is_swept_before_what_was_closed_long_ago(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await closed_of_before(store, 20, ["acme"])
    monkeypatch.setattr(sweeping, "AGENTS_AT_ONCE", 1)  # else several are under way, and any may be the first to write
    late = ["fresh-2", "fresh-3", "fresh-1"]  # the last one first; of several, since the store tells them in any order
    jobs = []
    for hours, agent_id in enumerate(reversed(late), 1):
        await scenes.open_session(store, agent_id)
        await store.sessions.renew(agent_id, 1, NOW + hours * 3_600_000)
        jobs.append(await scenes.running(store, spec(hours), f"t{hours}", agent_id=agent_id, device_id=agent_id))
        assert await store.sessions.observe(agent_id, 1, -1, "closed")
    swept, real = [], store.leases.sweep

    async def noted(org_id: str, agent_id: str, *rest: Any) -> Any:
        swept.append(agent_id)
        return await real(org_id, agent_id, *rest)

    monkeypatch.setattr(store.leases, "sweep", noted)
    await watch.look()
    assert swept[: len(late)] == late
    assert len(swept) == 20 + len(late)
    assert [(await scenes.get(store, job)).status for job in jobs] == [Status.QUEUED] * len(late)
    assert (await store.sessions.watch())[0] == []


async def test_what_dies_while_a_slow_org_is_swept_does_not_wait_for_it(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More agents of before than are served at once all wait for an org that hangs."""
    await closed_of_before(store, AGENTS_AT_ONCE + 2, ["globex"])
    await scenes.open_session(store, "fresh")
    await store.sessions.renew("fresh", 1, NOW + 3_600_000)
    job = await scenes.running(store, agent_id="fresh")
    answers, asked, real = asyncio.Event(), asyncio.Event(), store.leases.sweep

    async def slow(org_id: str, *rest: Any) -> Any:
        if org_id == "globex":
            asked.set()
            await answers.wait()
        return await real(org_id, *rest)

    monkeypatch.setattr(store.leases, "sweep", slow)
    await watch.reaper.look(watch.now)
    await asyncio.wait_for(asked.wait(), 10)
    assert await store.sessions.observe("fresh", 1, -1, "closed")
    await watch.reaper.look(watch.now)

    async def released() -> bool:
        return (await scenes.get(store, job)).status is Status.QUEUED

    await until(released, "it waits behind agents that are closed long since")
    answers.set()
    await watch.reaper.settled()
    assert (await store.sessions.watch())[0] == []


async def test_several_agents_are_swept_at_once_and_so_many_calls_are_made_and_no_more(
    store: Store, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(AGENTS_AT_ONCE + 1):
        orgs = ["acme", *(f"org-{n}-{k}" for k in range(CALLS_AT_ONCE // AGENTS_AT_ONCE))]
        await scenes.open_session(store, f"agent-{n}", orgs=orgs)
        assert await store.sessions.observe(f"agent-{n}", 1, -1, "closed")
    going: list[tuple[str, str]] = []
    most, agents, full, real = 0, set(), asyncio.Event(), store.leases.sweep

    async def counted(org_id: str, agent_id: str, *rest: Any) -> Any:
        nonlocal most
        assert org_id not in [o for o, _ in going], "one that hangs would keep more than one call"
        going.append((org_id, agent_id))
        most = max(most, len(going))
        if len(going) == CALLS_AT_ONCE:
            agents.update(a for _, a in going)
            full.set()
        await asyncio.wait_for(full.wait(), 10)
        try:
            return await real(org_id, agent_id, *rest)
        finally:
            going.remove((org_id, agent_id))

    monkeypatch.setattr(store.leases, "sweep", counted)
    await watch.look()
    assert most == CALLS_AT_ONCE
    assert len(agents) == AGENTS_AT_ONCE
    assert (await store.sessions.watch())[0] == []
