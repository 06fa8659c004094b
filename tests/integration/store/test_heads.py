"""How many jobs of a queue a round is shown: few, but near a group's end all among which it looks for a long one."""

from __future__ import annotations

import pytest
from redis import Redis

from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.planning.batch import NEAR_JOBS
from qgjob_coordinator.policy.snapshot import HEADS, Limits
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec

FEW = 8
TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)


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


async def test_jobs_that_are_gone_do_not_hold_the_head_of_their_queue(store: Store, raw: Redis) -> None:
    """As many as are ever looked at, in front of one that waits."""
    hub, telemetry = Hub(), Telemetry()
    sessions = Sessions(store, hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry))
    scheduler = Scheduler(
        store,
        sessions,
        hub,
        FleetReader(store),
        telemetry,
        Limits(),
        None,
        log_transitions=False,
        faults=OrgFaults(telemetry),
    )
    device = DeviceInfo("d1", "u1", Target.EMULATOR)
    live = await sessions.open(Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", (device,), (), 100))
    await scenes.submit(store, spec(1))
    queue = f"{keys.org('acme')}q:{names.group_id('v1', Target.EMULATOR)}:"
    raw.zadd(queue, {spec(100 + n).ulid: n for n in range(HEADS)})
    for _ in range(HEADS + 1):
        hub.work("acme")
        await scheduler.round()
        if live.session.leases:
            break
    assert [lease.ulid for lease in live.session.leases.values()] == [spec(1).ulid]
    assert raw.zcard(queue) == 0
    await sessions.close(live, "the test ends")
