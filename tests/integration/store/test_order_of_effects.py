"""What coordinators do in several steps, with somebody else's step, or their own death, in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError  # noqa: A004 - redis's own

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.loops.store_watch import StoreWatch
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import Phase, Status
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.service.agents.hello import RefusedError
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, HeartbeatAck, Held, Hello, Recall, RefusedReason
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.scripts import Step
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.planner import Planner

AGENT, DEVICE = "agent-1", "agent-1-1"


class DiedError(Exception):
    """The coordinator is gone."""


class Runner:
    """Runs a batch step by step; before one of them something happens."""

    def __init__(self, store: Store, before: int, happens: Any) -> None:
        self._real = store.jobs._runner
        self._before = before
        self._happens = happens

    async def batch(self, steps: Sequence[Step]) -> list[Any]:
        replies = []
        for n, step in enumerate(steps):
            if n == self._before:
                await self._happens()
            replies.append(await self._real._step(step))
        return replies


async def submit(store: Store, job: JobSpec, before: int, happens: Any) -> None:
    """A submission; steps: the active set, the registry, the job, the active set."""
    jobs = copy(store.jobs)
    jobs._runner = Runner(store, before, happens)  # type: ignore[assignment]
    await jobs.submit(job.org_id, [job], [True], NOW)


def live_of(planner: Planner) -> LiveSession:
    (live,) = planner._lives
    return live


def hello(epoch: int, *held: Held) -> Hello:
    return Hello(PROTOCOL_VERSION, AGENT, f"{AGENT}-life", epoch, "v", "host", (), held, 100)


@pytest.fixture
async def planner(store: Store, redis_url: str) -> Any:
    async with Planner(Store(redis_url), "c1") as planner:
        yield planner


# The active set.


async def test_a_submission_adds_its_org_after_the_job_too(store: Store) -> None:
    """A pruner that had looked before removes it, and dies before it looks again."""

    async def pruned() -> None:
        await store.mark_idle(["acme"])

    await submit(store, spec(), 3, pruned)
    assert await store.active_orgs() == {"acme"}


async def test_a_submitter_that_dies_after_the_job_has_registered_its_org(store: Store) -> None:
    async def dies() -> None:
        await store.mark_idle(["acme"])
        raise DiedError

    with pytest.raises(DiedError):
        await submit(store, spec(), 3, dies)
    assert (await scenes.get(store, spec())).status is Status.QUEUED
    await Timers(store, Hub(), FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())._repair(
        EachOrg(faults=OrgFaults())
    )
    assert await store.active_orgs() == {"acme"}


# Claims.


async def test_the_scheduler_claims_only_where_the_reaper_will_look(store: Store, planner: Planner) -> None:
    await planner.connect(AGENT, 1)
    await scenes.submit(store, spec(1))
    await planner.plan("acme")
    assert (await scenes.get(store, spec(1))).status is Status.SCHEDULED
    assert await store.agent_orgs(AGENT) == {"acme"}
    await planner.finish_one(DEVICE)
    assert await store.sessions.observe(AGENT, 1, -1, "closed")
    await scenes.submit(store, spec(2, "globex"))
    await planner.plan("globex")
    assert (await scenes.get(store, spec(2, "globex"))).status is Status.QUEUED


async def test_a_claim_in_doubt_is_repeated_with_its_token(
    store: Store, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tokens = planner.store.leases.claim, []

    async def claim(org_id: str, claims: Any, *rest: Any) -> Any:
        answer = await real(org_id, claims, *rest)
        tokens.append([token for c in claims for _, token in c.jobs])
        if len(tokens) == 1:
            raise StoreUnavailableError("the reply is lost")
        return answer

    monkeypatch.setattr(planner.store.leases, "claim", claim)
    await planner.connect(AGENT, 1)
    await scenes.submit(store, spec())
    try:
        await planner.plan("acme")
    except StoreUnavailableError:
        tokens.append(["given up"])
    assert len(tokens) == 2
    assert tokens[0] == tokens[1]
    assert list(live_of(planner).session.leases) == tokens[0]
    assert len((await scenes.get(store, spec())).attempts) == 1


async def test_a_claim_left_in_doubt_ends_the_session(
    store: Store, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claim(*_: Any) -> Any:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(planner.store.leases, "claim", claim)
    await planner.connect(AGENT, 1)
    await scenes.submit(store, spec())
    with pytest.raises(StoreUnavailableError):
        await planner.plan("acme")
    assert live_of(planner).session.refused is not None


# Connect.


async def test_connect_asks_all_orgs_of_the_agent(store: Store, planner: Planner) -> None:
    await scenes.open_session(store, orgs=["acme", "globex"])
    job = await scenes.running(store)
    planner._lives.append(await planner._sessions.open(hello(2)))
    assert (await scenes.get(store, job)).status is Status.QUEUED
    await scenes.submit(store, other := spec(2, "globex"))
    assert (await scenes.claim(store, other, epoch=1)).word == "STALE"


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1])
async def test_an_agent_of_another_version_is_refused(store: Store, planner: Planner, version: int) -> None:
    with pytest.raises(RefusedError):
        await planner._sessions.open(replace(hello(1), protocol_version=version))
    assert (await store.sessions.watch())[1] == []


async def test_a_connect_that_was_replaced_is_refused(
    store: Store, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = planner.store.agent_orgs

    async def replaced(agent_id: str) -> Any:
        await store.sessions.open(AGENT, f"{AGENT}-life", 9, {}, "c2", [], NOW)
        return await real(agent_id)

    monkeypatch.setattr(planner.store, "agent_orgs", replaced)
    job = await scenes.running(store)
    with pytest.raises(StoreUnavailableError, match="was replaced"):
        await planner._sessions.open(hello(2, Held("acme", job.ulid, "t1", 1, Phase.RUNNING, DEVICE)))


async def test_a_connect_that_was_replaced_elsewhere_is_refused_also_when_nothing_is_shown(
    store: Store, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = planner.store.fleet.inventory

    async def replaced(*what: Any, **options: Any) -> Any:
        await store.sessions.open(AGENT, f"{AGENT}-life", 9, {}, "c2", [], NOW)
        return await real(*what, **options)

    monkeypatch.setattr(planner.store.fleet, "inventory", replaced)
    with pytest.raises(StoreUnavailableError, match="was replaced"):
        await planner._sessions.open(hello(2))


@pytest.mark.parametrize("call", ["sessions.open", "fleet.inventory"])
async def test_an_older_connect_that_ends_later_takes_the_place_of_no_newer_session(
    planner: Planner, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """It would be planned for, and the session that the agent listens to would not."""
    part, name = call.split(".")
    owner = getattr(planner.store, part)
    real = getattr(owner, name)
    overtaken = False

    async def late(*what: Any, **options: Any) -> Any:
        nonlocal overtaken
        answer = await real(*what, **options)
        if not overtaken:
            overtaken = True
            await planner._sessions.open(hello(3))
        return answer

    monkeypatch.setattr(owner, name, late)
    with pytest.raises(StoreUnavailableError, match="was replaced"):
        await planner._sessions.open(hello(2))
    live = planner._sessions.get(AGENT)
    assert live is not None
    assert live.session.epoch == 3
    assert live.session.refused is None
    await live.stop()


async def test_a_session_that_was_opened_while_a_newer_one_was_opened_ends(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on beside the newer one, where nobody finds it."""
    real, reached, newer_comes = planner.store.fleet.inventory, asyncio.Event(), asyncio.Event()

    async def inventory(agent_id: str, epoch: int, *rest: Any, **options: Any) -> Any:
        if epoch == 2:
            answer = await real(agent_id, epoch, *rest, **options)
            reached.set()
            await newer_comes.wait()
            return answer
        newer_comes.set()
        await asyncio.wait([older])
        return await real(agent_id, epoch, *rest, **options)

    monkeypatch.setattr(planner.store.fleet, "inventory", inventory)
    older = asyncio.create_task(planner._sessions.open(hello(2)))
    await reached.wait()
    newer = await planner._sessions.open(hello(3))
    overtaken = await older
    assert overtaken.session.refused is not None
    assert newer.session.refused is None
    assert planner._sessions.get(AGENT) is newer
    await overtaken.stop()
    await newer.stop()


async def test_a_connect_that_met_two_lives_of_the_store_is_refused(
    store: Store, planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = planner.store.leases.adopt

    async def in_a_new_life(*what: Any) -> Any:
        answer = await real(*what)
        planner.store.epoch += 1
        return answer

    monkeypatch.setattr(planner.store.leases, "adopt", in_a_new_life)
    await scenes.open_session(store)
    with pytest.raises(StoreUnavailableError, match="new life"):
        await planner._sessions.open(hello(2))


# Heartbeats and recalls.


async def test_a_heartbeat_of_a_session_that_is_over_is_not_confirmed(store: Store, planner: Planner) -> None:
    await planner.connect(AGENT, 1)
    live = live_of(planner)
    assert await store.sessions.observe(AGENT, 1, -1, "closed")
    await live.heartbeat(1, ())
    assert not [m for m in live.session.outbox if isinstance(m, HeartbeatAck)]
    assert live.session.refused is not None


async def test_a_heartbeat_is_told_what_was_cancelled_elsewhere(store: Store, planner: Planner) -> None:
    await planner.connect(AGENT, 1)
    live = live_of(planner)
    await scenes.submit(store, spec())
    await planner.plan("acme")
    (lease,) = live.session.leases.values()
    await store.jobs.cancel("acme", [(lease.ulid, 1)], NOW, reason="by hand")
    await live.heartbeat(1, [Held("acme", lease.ulid, lease.token, 1, Phase.RUNNING, DEVICE)])
    (ack,) = [m for m in live.session.outbox if isinstance(m, HeartbeatAck)]
    assert ack.revoked == (lease.token,)


async def test_a_recall_that_is_asked_releases_nothing(store: Store, planner: Planner) -> None:
    await planner.connect(AGENT, 1)
    live = live_of(planner)
    for token in ("t1", "t2"):
        live.session.take(Lease("acme", spec().ulid, token, "gid", DEVICE, 1), NOW)
    held = list(live.session.leases)
    live.recalls.ask(DEVICE)
    assert list(live.session.leases) == held
    assert [m.tokens for m in live.session.outbox if isinstance(m, Recall)] == [tuple(held[1:])]


# Replies that are lost, and lives of the store.


async def test_a_call_whose_reply_was_lost_is_repeated_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await scenes.open_session(store)  # the script is loaded
    runner = store.sessions._runner
    real, calls = runner._exchange, 0

    async def loses_the_first(commands: Any) -> Any:
        nonlocal calls
        calls += 1
        replies = await real(commands)
        if calls == 1:
            raise ConnectionError("lost")
        return replies

    monkeypatch.setattr(runner, "_exchange", loses_the_first)
    try:
        opened = (await store.sessions.open(AGENT, f"{AGENT}-life", 2, {}, "c-1", [], NOW)).word
    except StoreUnavailableError as e:
        opened = e.message
    assert (opened, calls) == ("OPENED", 2)


async def test_sessions_of_before_end_in_a_new_life_of_the_store() -> None:
    ended: list[RefusedReason] = []
    store = SimpleNamespace(epoch=1, epoch_before=1)

    async def check() -> None:
        store.epoch = 2

    store.check = check
    sessions: Any = SimpleNamespace(end_all=lambda reason, _why: ended.append(reason))
    watch = StoreWatch(cast(Any, store), sessions, "redis://127.0.0.1", "everysec", asyncio.Event())
    watch._life = 1
    assert await watch.look(None) is None
    assert ended == [RefusedReason.STALE_EPOCH]
    assert await watch.look(None) is None
    assert len(ended) == 1
