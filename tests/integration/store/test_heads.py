"""How many jobs of a queue a round is shown: few, but near a group's end all among which it looks for a long one."""

from __future__ import annotations

import pytest

from qgjob_coordinator.policy.planning.batch import NEAR_JOBS
from qgjob_coordinator.policy.snapshot import HEADS
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec

FEW = 8


async def shown(store: Store, heads: int = FEW) -> tuple[int, int]:
    """Of the only group: how many jobs wait, and how many are shown."""
    (group,) = (await store.snapshots.org("acme", heads)).groups
    return group.waiting, sum(len(queue.heads) for queue in group.queues)


async def serve(store: Store, devices: int, waiting: int) -> None:
    """A group that so many devices serve, with one attempt each."""
    jobs = [spec(n) for n in range(devices + waiting)]
    await scenes.submit(store, *jobs)
    for n, job in enumerate(jobs[:devices]):
        await scenes.claim(store, job, (job.ulid, f"t{n}"), device_id=f"emulator-{n}")


@pytest.mark.parametrize("devices", [1, 3, 7])
async def test_near_the_end_of_a_group_all_that_is_left_is_shown(store: Store, devices: int) -> None:
    """Also to a device that joins, which counts as one more."""
    near = NEAR_JOBS * (devices + 1)
    await serve(store, devices, near)
    assert await shown(store) == (near, near)


@pytest.mark.parametrize("devices", [0, 1, 3, 8])
async def test_before_that_few_are(store: Store, devices: int) -> None:
    waiting = NEAR_JOBS * (devices + 1) + 1
    await serve(store, devices, waiting)
    assert await shown(store) == (waiting, FEW)


async def test_of_many_devices_no_more_than_are_ever_looked_at(store: Store) -> None:
    devices = HEADS // NEAR_JOBS + 2
    await serve(store, devices, NEAR_JOBS * devices)
    assert await shown(store) == (NEAR_JOBS * devices, HEADS)


async def test_who_asks_for_none_is_shown_none(store: Store) -> None:
    await serve(store, 8, NEAR_JOBS * 8)
    assert await shown(store, 0) == (NEAR_JOBS * 8, 0)


async def test_a_submission_brings_along_as_many(store: Store) -> None:
    await serve(store, 8, NEAR_JOBS * 8 - 1)
    (_, seen) = await store.jobs.submit_and_look("acme", [spec(99)], [True], scenes.NOW, FEW)
    assert seen is not None
    assert [len(queue.heads) for group in seen.groups for queue in group.queues] == [NEAR_JOBS * 8]
