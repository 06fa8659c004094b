"""Loops that can't reach a real store: each says so once, and once that it sees again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import retention, scheduler, timers
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service import beside
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

QUICK = 0.01
TIMES = Times(5_000, 600_000, 60_000, 10_000, 1_800_000, 300_000)
AGENT = Hello(PROTOCOL_VERSION, "agent-1", "h.1", 1, "v", "host", (DeviceInfo("d1", "u1", Target.EMULATOR),), (), 100)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store of the test's own, to be stopped."""
    process = StoreProcess(tmp_path / "store", "--appendonly", "yes")
    process.start()
    yield process
    process.kill()


@pytest.fixture
async def store(own: StoreProcess) -> AsyncIterator[Store]:
    """With an org that has a job."""
    store = Store(own.url)
    await scenes.submit(store, spec(1, target=Target.DEVICE))  # no device here serves it, so each wants work
    await store.mark_active("acme")
    yield store
    await store.close()


@pytest.fixture
async def loop(store: Store, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """The one that says the event, and the name of its look."""
    monkeypatch.setattr(timers, "SWEEP_SECONDS", QUICK)
    monkeypatch.setattr(beside, "PAUSE_SECONDS", QUICK)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", QUICK)
    monkeypatch.setattr(scheduler, "TIMER_SECONDS", QUICK)
    monkeypatch.setattr(scheduler, "STORE_PAUSE_SECONDS", QUICK)
    hub, fleet, telemetry = Hub(), FleetReader(store), Telemetry()
    if request.param == "reaper_blind":
        return Reaper(store, hub, telemetry, 10 * QUICK, 100 * QUICK, faults=OrgFaults(telemetry)), "look"
    if request.param == "timers_blind":
        return Timers(store, hub, fleet, telemetry, Bonds(store), faults=OrgFaults(telemetry)), "look"
    if request.param == "retention_blind":
        return Retention(store, 86_400_000, faults=OrgFaults()), "look"
    sessions = Sessions(store, hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry))
    await sessions.open(AGENT)  # a round without a device asks nobody
    return Scheduler(
        store, sessions, hub, fleet, telemetry, Limits(), None, log_transitions=False, faults=OrgFaults(telemetry)
    ), "round"


class Looks:
    """Counts the looks of a loop, and those that failed."""

    def __init__(self, look: Callable[..., Any]) -> None:
        self._look = look
        self.made = self.failed = 0

    async def __call__(self, *args: Any) -> Any:
        self.made += 1
        try:
            return await self._look(*args)
        except StoreUnavailableError:
            self.failed += 1
            raise


EVENTS = ("reaper_blind", "timers_blind", "retention_blind", "round_failed")


@pytest.mark.parametrize(("loop", "event"), [(event, event) for event in EVENTS], indirect=["loop"], ids=EVENTS)
async def test_a_loop_that_is_blind_says_so_once_and_once_that_it_sees_again(
    own: StoreProcess, loop: tuple[Any, str], event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it, name = loop
    looks = Looks(getattr(it, name))
    monkeypatch.setattr(it, name, looks)
    with capture_logs() as lines:
        running = asyncio.create_task(it.run())
        await until(lambda: looks.made >= 3, "it does not look")
        own.stop()
        await until(lambda: looks.failed >= 5, "it goes on as if it saw")
        own.start()
        await until(lambda: "sees_again" in [line["event"] for line in lines], "it does not see again")
        so_far = looks.made
        await until(lambda: looks.made >= so_far + 5, "it looks no more")
        await end_tasks([running])
    # A look that was under way in an org as the store went has told of that org, before the next one told of all.
    told = [
        (line["event"], line.get("was"))
        for line in lines
        if line["event"] in (event, "sees_again") and not line.get("error", "").startswith("acme: ")
    ]
    assert told == [(event, None), ("sees_again", event)]
