"""The coordinator's look ahead: how old it may be, and who shares it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.explain import StartEstimate
from qgjob_coordinator.policy.snapshot import DeviceView, Limits
from qgjob_coordinator.policy.verdict import TAKES
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.looking_ahead import LookAhead
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.waiting import until


class OneDevice:
    """Sessions with one free emulator."""

    def serving(self) -> list[DeviceView]:
        return []

    def wanting(self, refill_at: int, now: int) -> list[DeviceView]:
        return [DeviceView("e1", scenes.AGENT, Target.EMULATOR)]


@pytest.fixture
def ahead(store: Store) -> LookAhead:
    return LookAhead(store, OneDevice(), FleetReader(store), Limits(), {})  # type: ignore[arg-type]


async def start_of(store: Store, ahead: LookAhead, number: int, **how: Any) -> StartEstimate | None:
    job = await scenes.get(store, spec(number, app_version_id=f"v{number}"))
    places = await store.reads.positions("acme", [job.ulid])
    return (await ahead.starts("acme", [job], places, **how))[0]


async def submitted(store: Store, number: int) -> None:
    await scenes.submit(store, spec(number, app_version_id=f"v{number}"))


async def test_a_job_of_a_new_group_has_an_estimate_at_once(store: Store, ahead: LookAhead) -> None:
    await submitted(store, 1)
    assert await start_of(store, ahead, 1) is not None
    await submitted(store, 2)
    assert await start_of(store, ahead, 2) is None  # lists may be a moment behind
    found = await start_of(store, ahead, 2, fresh=True)
    assert found is not None
    assert found.at > wall_ms()
    assert await start_of(store, ahead, 2) == found  # and have it from now on


async def test_all_who_ask_while_a_look_is_under_way_share_the_next_one(
    store: Store, ahead: LookAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submitted(store, 1)
    look, go, looks = store.active_orgs, asyncio.Event(), []

    async def slow() -> set[str]:
        looks.append(wall_ms())
        await go.wait()
        return await look()

    monkeypatch.setattr(store, "active_orgs", slow)
    askers = [asyncio.create_task(start_of(store, ahead, 1, fresh=True))]
    await until(lambda: looks, "nobody looks")
    askers += [asyncio.create_task(start_of(store, ahead, 1, fresh=True)) for _ in range(20)]
    await until(lambda: len(ahead._looking._waiters or ()) == 20, "not all wait")
    go.set()
    found = await asyncio.gather(*askers)
    assert len(looks) == 2
    assert None not in found
    assert len(set(found)) <= 2


async def test_the_plan_is_asked_as_the_scheduler_makes_it(store: Store) -> None:
    """With the quota of orgs: what has no room is not about to be taken."""
    await submitted(store, 1)
    job = await scenes.get(store, spec(1, app_version_id="v1"))
    fleet = FleetReader(store)
    open_ = LookAhead(store, OneDevice(), fleet, Limits(), {})  # type: ignore[arg-type]
    assert (await open_.judge(job))("e1") == TAKES
    assert (await open_.judge(job))("e2") is None
    full = LookAhead(store, OneDevice(), fleet, Limits(), {}, quota=0)  # type: ignore[arg-type]
    verdict = (await full.judge(job))("e1")
    assert verdict is not None
    assert "MAX_RUNNING_PER_ORG" in verdict.why
