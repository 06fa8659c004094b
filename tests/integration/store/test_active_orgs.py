"""The fleet's set of orgs with waiting work is a hint, and what makes it safe to be one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec

TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)


@pytest.fixture
def heard() -> list[str]:
    """The orgs of which the loops were told that they have work."""
    return []


@pytest.fixture
def hub(heard: list[str]) -> Hub:
    hub = Hub()
    hub.on_work(lambda org_id, *_: heard.append(org_id))
    return hub


def scheduler(store: Store, hub: Hub) -> Scheduler:
    sessions = Sessions(store, hub, Telemetry(), TIMES, "test", log_transitions=False, faults=OrgFaults())
    return Scheduler(
        store, sessions, hub, FleetReader(store), Telemetry(), Limits(), None, log_transitions=False, faults=OrgFaults()
    )


async def test_a_pruner_looks_again_after_it_removed_an_org(
    store: Store, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found empty, then a whole submission, then removed: without the second look nobody would serve it."""
    await store.mark_active("acme")
    remove = store.mark_idle

    async def submission_comes_between(org_ids: Sequence[str]) -> None:
        await scenes.submit(store, spec())
        await remove(org_ids)

    monkeypatch.setattr(store, "mark_idle", submission_comes_between)
    await scheduler(store, hub)._prune(["acme"])
    assert await store.active_orgs() == {"acme"}


async def test_a_pruner_takes_an_org_without_work_off(store: Store, hub: Hub) -> None:
    await store.mark_active("acme")
    await scheduler(store, hub)._prune(["acme"])
    assert await store.active_orgs() == set()
    assert await store.all_orgs() == {"acme"}


async def test_a_sweep_over_all_orgs_finds_the_work_of_a_submitter_that_died(
    store: Store, hub: Hub, heard: list[str]
) -> None:
    await scenes.submit(store, spec())
    await store.mark_idle(["acme"])  # as a pruner did that looked before the job was written
    timers = Timers(store, hub, FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())
    timers._registry = float("-inf")
    await timers.look()
    assert await store.active_orgs() == {"acme"}
    assert "acme" in heard
