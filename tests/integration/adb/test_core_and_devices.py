"""The agent's core and Android devices together: what the core asks for and what the provider tells fit each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from qgjob_agent.core import events, instructions
from qgjob_agent.core.machine import Machine
from qgjob_agent.core.values import AgentFacts, Assignment, DeathCause, Finished, Limits, Outcome, TreeDead
from qgjob_agent.devices.adb.provider import AdbDevices
from qgjob_agent.devices.adb.settings import AdbSettings
from qgjob_agent.driver import Driver
from qgjob_agent.executions.lease_file import LeaseFile
from qgjob_agent.runners.simulated import SimulatedRunner, SimulatedTests
from qgjob_agent.spool import Spool
from qgjob_agent.transitions import Transitions
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB, Host, host
from tests.fakes.adb_server import FakeDevice
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
PHONE, PHONE_ID = "R5CT1234ABC", "a1.R5CT1234ABC"


class Agent:
    """A driver with the real core, simulated tests, and devices of a host; what it sends is kept."""

    def __init__(self, lab: Host, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        log: Any = structlog.get_logger()
        self.sent: list[Any] = []
        self.spool, self.lease_file = Spool(folder / "spool"), LeaseFile(str(folder / "lease"))
        self.driver = Driver(self.spool, self.lease_file, Transitions(log, enabled=False))
        self.provider = AdbDevices(self.driver, AdbSettings(**lab.settings), lab.builds, log)
        runner = SimulatedRunner(self.driver, SimulatedTests(0, 0, 0, 1))
        machine = Machine(AgentFacts("a1", "i", "0", "h"), self.provider.devices(), Limits(credit=10))
        self.driver.connect(machine, runner, self.provider, self)
        self.driver.dispatch(events.SessionConnecting(1))
        self.driver.dispatch(events.Welcomed(1, 5_000, 15_000, 60_000, 1_000))
        self._lab = lab

    def send(self, told: Any) -> None:
        self.sent.append(told)

    def send_log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """Logs are no matter here."""

    def end_session(self, epoch: int, reason: str) -> None:
        raise AssertionError(reason)

    def assign(self, app: str, *tokens: str) -> None:
        digest = self._lab.builds.builds[app].digest
        work = [Assignment(f"acme~{t}", t, 1, 1, PHONE_ID, "acme", app, "a.js", build_digest=digest) for t in tokens]
        self.driver.dispatch(events.Assigned(1, work))

    def last(self) -> dict[str, Finished | TreeDead]:
        """The last report of each attempt."""
        found = {}
        for sent in self.sent:
            if isinstance(sent, instructions.SendReports):
                for report in sent.reports:
                    if isinstance(report.body, Finished | TreeDead):
                        found[report.lease.token] = report.body
        return found

    async def ended(self, *tokens: str) -> list[Finished | TreeDead]:
        """Waits for the last reports of these attempts."""
        await until(lambda: set(tokens) <= self.last().keys(), lambda: f"{self.last()}", seconds=20)
        return [self.last()[token] for token in tokens]

    async def sees(self, *, gone: bool = False) -> None:
        """Waits until the core has the phone, or has it no more."""
        devices = self.driver._machine.state.devices
        await until(lambda: PHONE_ID in devices and devices[PHONE_ID].gone is gone, "it does not see", seconds=20)


@asynccontextmanager
async def agent(lab: Host, folder: Path) -> AsyncIterator[Agent]:
    made = Agent(lab, folder)
    await made.provider.start()
    try:
        yield made
        assert made.driver.failure is None
    finally:
        await made.provider.close()
        made.driver.close()
        made.spool.close()
        made.lease_file.close()


async def test_the_tests_of_a_build_share_one_installation_across_devices_that_go_and_agents_that_end(
    tmp_path: Path,
) -> None:
    phone = FakeDevice(PHONE, emulator=False)
    async with host(tmp_path, phone) as lab:
        lab.builds.add("v1")
        async with agent(lab, tmp_path / "first") as first:
            await first.sees()
            first.assign("v1", "t1", "t2", "t3", "t4")
            ended = await first.ended("t1", "t2", "t3", "t4")
            assert {body.outcome for body in ended if isinstance(body, Finished)} == {Outcome.PASSED}
            lab.fake.unplug(PHONE)
            await first.sees(gone=True)
            lab.fake.plug(phone)
            await first.sees()
            first.assign("v1", "t5")
            await first.ended("t5")
        async with agent(lab, tmp_path / "second") as second:
            await second.sees()
            second.assign("v1", "t6")
            (body,) = await second.ended("t6")
            assert isinstance(body, Finished)
            assert body.outcome is Outcome.PASSED
        assert sum(phone.installs.values()) == 1


async def test_a_device_that_goes_in_the_middle_gives_its_tests_back_and_serves_when_it_is_back(tmp_path: Path) -> None:
    phone = FakeDevice(PHONE, emulator=False, install_seconds=60)
    async with host(tmp_path, phone) as lab:
        lab.builds.add("v1")
        async with agent(lab, tmp_path / "first") as first:
            await first.sees()
            first.assign("v1", "t1", "t2")
            await asyncio.wait_for(phone.installing.wait(), 20)
            lab.fake.unplug(PHONE)
            ended = await first.ended("t1", "t2")
            assert [body.cause for body in ended if isinstance(body, TreeDead)] == [DeathCause.DEVICE_LOST] * 2
            phone.install_seconds = 0
            lab.fake.plug(phone)
            await first.sees()
            first.assign("v1", "t3")
            (body,) = await first.ended("t3")
            assert isinstance(body, Finished)
            assert body.outcome is Outcome.PASSED
        assert len(phone.tries) == 2
