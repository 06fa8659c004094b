"""No clock that is wrong ends, removes or begins anything early: a coordinator's own, or the store's."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qgjob import AsyncClient, JobSpec, JobStatus
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.service.clock import STORE_CLOCK, wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes, shifted_clock
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.jobs import spec

HOUR_SECONDS = 3600


def waiting(n: int, **fields: object) -> JobSpec:
    return JobSpec(org_id="acme", app_version_id="v1", test_path=f"t{n}.py", target="emulator", **fields)  # type: ignore[arg-type]


class Shifted(CoordinatorProcess):
    """On a machine whose clock is wrong by `shift` seconds, from the start or from now on."""

    def shift(self, seconds: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "next").write_text(str(seconds))
        (self.folder / "next").rename(self.folder / "shift")

    def command(self) -> list[str]:
        return [sys.executable, "-P", shifted_clock.__file__, str(self.folder / "shift")]


async def test_a_coordinator_whose_clock_is_wrong_ends_begins_and_removes_nothing_early(
    tmp_path: Path, store: Store, redis_url: str
) -> None:
    old = spec(100)
    await scenes.submit(store, old, now=wall_ms())
    await store.jobs.cancel("acme", [(old.ulid, None)], wall_ms(), reason="not needed")
    coordinator = Shifted(tmp_path / "coordinator", redis_url, RETENTION_DAYS=1)
    coordinator.shift(30 * 24 * HOUR_SECONDS)
    await asyncio.to_thread(coordinator.start)
    try:
        async with AsyncClient(coordinator.target) as client:
            later = datetime.now(UTC) + timedelta(minutes=30)
            patient = await client.submit(waiting(1, queue_timeout_seconds=300))
            scheduled = await client.submit(waiting(2, not_before=later))
            assert abs(patient.created_at - datetime.now(UTC)) < timedelta(minutes=1)
            coordinator.shift(-HOUR_SECONDS)
            hasty = await client.submit(waiting(3, queue_timeout_seconds=1))
            lasting = await client.submit(waiting(4, queue_timeout_seconds=300))
            (ended,) = await client.wait(hasty.job_id, timeout_seconds=10)
            assert ended.outcome == "expired"  # what is due is seen
            for job in (patient, scheduled, lasting):
                assert (await client.get(job.job_id)).status is JobStatus.QUEUED
            assert (await store.reads.delayed_count("acme")) == 1
            assert (await store.reads.get("acme", [old.ulid]))[0] is not None
    finally:
        coordinator.stop()


async def test_what_a_step_of_the_store_skipped_ends_nothing(
    store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STORE_CLOCK, "held_ms", 0)
    timers = Timers(store, Hub(), FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())
    job = spec(1, queue_timeout_ms=300_000)
    await scenes.submit(store, job, now=wall_ms() - HOUR_SECONDS * 1000)  # as the clock was before its step
    await store.mark_active("acme")
    STORE_CLOCK.held_ms = HOUR_SECONDS * 1000
    await timers.look()
    assert [j.status for j in await store.reads.get("acme", [job.ulid]) if j] == [Status.QUEUED]
    STORE_CLOCK.held_ms = 0
    timers._swept = float("-inf")
    await timers.look()
    assert [j.status for j in await store.reads.get("acme", [job.ulid]) if j] == [Status.FAILED]
