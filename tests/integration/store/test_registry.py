"""An org of which nothing is left leaves the registry, and nothing that comes meanwhile is forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.artifacts import ArtifactKind, Bounds, OfferedFile
from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.artifacts import KeptFiles
from qgjob_coordinator.store.registry import IDLE_MS
from qgjob_coordinator.store.runs import RunToCancel
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import builds, scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.store_audit import audit

KEEP = 86_400_000
EMPTY = NOW + 2 * KEEP
"""Jobs of NOW are removed by then."""


async def done(store: Store) -> None:
    """A job that has failed for good."""
    job = await scenes.running(store, spec(1, max_retries=0))
    (ended,) = await store.leases.finish("acme", [ending(job.ulid, "t1", Outcome.TEST_FAILED)], NOW)
    assert ended.status is Status.FAILED


async def emptied(store: Store) -> Retention:
    """An org whose jobs were removed, and that is idle since then."""
    await scenes.open_session(store)
    await done(store)
    retention = Retention(store, KEEP, faults=OrgFaults())
    assert await retention.look(EMPTY) == 1
    await retention.look(EMPTY)
    return retention


async def test_an_org_of_which_nothing_is_left_leaves_the_registry_a_day_later(store: Store, raw: Redis) -> None:
    retention = await emptied(store)
    await retention.look(EMPTY + IDLE_MS)
    assert await store.all_orgs() == {"acme"}
    with capture_logs() as lines:
        await retention.look(EMPTY + IDLE_MS + 1)
    assert [(x["event"], x["org_id"]) for x in lines if x["event"].startswith("org")] == [("org_left", "acme")]
    assert await store.all_orgs() == set()
    assert audit(raw) == []
    await scenes.submit(store, spec(2))
    assert await store.all_orgs() == {"acme"}


async def test_an_org_that_comes_back_is_idle_for_a_day_again(store: Store) -> None:
    retention = await emptied(store)
    await scenes.submit(store, spec(2))
    await store.jobs.cancel("acme", [(spec(2).ulid, None)], NOW, reason="x")
    later = EMPTY + 10 * IDLE_MS
    await retention.look(later)
    await retention.look(later)
    await retention.look(later + IDLE_MS)
    assert await store.all_orgs() == {"acme"}
    await retention.look(later + IDLE_MS + 1)
    assert await store.all_orgs() == set()


async def test_a_submission_after_the_look_keeps_its_org(store: Store) -> None:
    await emptied(store)
    later = EMPTY + IDLE_MS + 1
    assert await store.registry.nothing_left("acme")
    await scenes.submit(store, spec(2))
    assert await store.registry.leave(["acme"], later) == []
    assert await store.all_orgs() == {"acme"}


async def test_a_leaving_whose_reply_was_lost_is_answered_again(store: Store) -> None:
    await emptied(store)
    for _ in range(2):
        assert await store.registry.leave(["acme"], EMPTY + IDLE_MS + 1) == ["acme"]


async def test_what_was_about_to_be_written_is_found_though_its_org_is_idle(store: Store) -> None:
    """Its submitter registered, and dies as soon as the job is written: nobody else says that it waits."""
    await store.mark_known("acme")
    assert await store.registry.nothing_left("acme")
    assert await store.registry.leave(["acme"], NOW) == []
    await scenes.submit(store, spec(2))
    await store._call("SREM", "qg:f:{fleet}:orgs", "acme")  # as if its registration had been the one of before
    await store.mark_idle(["acme"])
    timers = Timers(store, Hub(), FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())
    timers._registry = float("-inf")
    await timers.look()
    assert await store.active_orgs() == {"acme"}
    await Retention(store, KEEP, faults=OrgFaults()).look(NOW + 10 * IDLE_MS)
    assert await store.all_orgs() == {"acme"}


async def waits(store: Store) -> None:
    await scenes.submit(store, spec(1))


async def has_a_build(store: Store) -> None:
    await builds.kept(store, builds.build())


async def has_a_content(store: Store) -> None:
    assert await store.builds.expect("acme", builds.digest("one"), 3, builds.APK, NOW)


async def has_evidence(store: Store) -> None:
    file = OfferedFile("log.txt", ArtifactKind.LOG, builds.digest("log"), 3)
    await store.artifacts.keep("acme", [KeptFiles(spec(1).ulid, 1, [file])], NOW, Bounds(1_000))


async def has_evidence_that_goes(store: Store) -> None:
    await has_evidence(store)
    assert await store.artifacts.leave("acme", spec(1).ulid, NOW, NOW)


async def has_a_run_to_cancel(store: Store) -> None:
    await store._call("HSET", "qg:o:{acme}:rc", "run-1", f"{NOW} superseded")
    assert await store.runs.to_cancel("acme") == [RunToCancel("run-1", f"{NOW} superseded")]


@pytest.mark.parametrize(
    "brings", [waits, done, has_a_build, has_a_content, has_evidence, has_evidence_that_goes, has_a_run_to_cancel]
)
async def test_an_org_stays_while_a_loop_has_something_to_look_for_there(
    store: Store, brings: Callable[[Store], Awaitable[None]]
) -> None:
    await scenes.open_session(store)
    await store.mark_known("acme")
    await brings(store)
    retention = Retention(store, 100 * IDLE_MS, faults=OrgFaults())
    for day in range(3):
        await retention.look(NOW + day * (IDLE_MS + 1))
    assert await store.all_orgs() == {"acme"}


async def test_an_org_that_left_is_asked_for_nothing_in_a_new_life_of_the_store(store: Store) -> None:
    retention = await emptied(store)
    await retention.look(EMPTY + IDLE_MS + 1)
    await store.sessions.hello("life-2")
    assert await store.agent_orgs("agent-1") == {"acme"}, "what it admitted itself"
    await store.sessions.open("agent-1", "agent-1-life", 2, {}, "c-1", [], NOW + 9)
    assert await store.sessions.spare("agent-1", 2, (await store.sessions.hello("life-2"))[1], ["acme"])
    assert await store.agent_orgs("agent-1") == set()


async def test_an_idle_org_is_asked_in_a_new_life_of_the_store(store: Store) -> None:
    await emptied(store)
    await scenes.open_session(store, "agent-2", orgs=())
    await store.sessions.hello("life-2")
    assert await store.agent_orgs("agent-2") == {"acme"}
    assert (await store.reads.page("acme", Status.FAILED, None, 10, None)).jobs == []
