"""The shell around the core: instructions in order, a disk that refuses, a lease that is told."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from qgjob_agent.core import events, instructions
from qgjob_agent.core.machine import Machine
from qgjob_agent.core.values import AgentFacts, Health, Limits, Target, Verdict
from qgjob_agent.devices.defaults import generated_devices
from qgjob_agent.devices.simulated import SimulatedDevices
from qgjob_agent.driver import Driver
from qgjob_agent.executions.lease_file import LeaseFile, read_lease
from qgjob_agent.runners.simulated import SimulatedRunner, SimulatedTests
from qgjob_agent.spool import Spool
from qgjob_agent.transitions import Transitions
from tests.fakes.agent_core import assignment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Upstream:
    """Remembers what was sent, and what the spool held at that moment."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.sent: list[Any] = []
        self.spooled_when_sent: list[list[int]] = []
        self._changed = asyncio.Event()

    async def heard(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def send(self, told: Any) -> None:
        self.sent.append(told)
        self._changed.set()
        if isinstance(told, instructions.SendReports):
            self.spooled_when_sent.append(list(self.spool.pending))

    def send_log(self, job_id: str, token: str, offset: int, data: bytes) -> None: ...

    def end_session(self, epoch: int, reason: str) -> None: ...

    def of(self, kind: type) -> list[Any]:
        return [told for told in self.sent if isinstance(told, kind)]


class Agent:
    """A driver with instant simulated devices, connected."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder / "spool")
        self.lease_path = folder / "lease"
        self.lease_file = LeaseFile(str(self.lease_path))
        self.upstream = Upstream(self.spool)
        self.driver = Driver(self.spool, self.lease_file, Transitions(structlog.get_logger(), enabled=True))
        devices = generated_devices("sim-", 2, Target.EMULATOR)
        provider = SimulatedDevices(self.driver, devices, 0)
        runner = SimulatedRunner(self.driver, SimulatedTests(0, 0, 0, 1))
        limits = Limits(credit=10, attempts_per_execution=8, spool_retry_seconds=0.01)
        machine = Machine(AgentFacts("a", "i", "0", "h"), devices, limits)
        self.driver.connect(machine, runner, provider, self.upstream)
        self.driver.dispatch(events.SessionConnecting(1))
        self.driver.dispatch(events.Welcomed(1, 5_000, 15_000, 60_000, 1_000))

    def assign(self, *tokens: str) -> None:
        self.driver.dispatch(events.Assigned(1, [assignment(token, "sim-1") for token in tokens]))

    async def reports(self, count: int) -> list[Any]:
        """The first `count` reports that were sent."""
        async with asyncio.timeout(5):
            while sum(len(sent.reports) for sent in self.upstream.of(instructions.SendReports)) < count:
                await self.upstream.heard()
        return [report for sent in self.upstream.of(instructions.SendReports) for report in sent.reports]

    def close(self) -> None:
        self.driver.close()
        self.spool.close()
        self.lease_file.close()


@pytest.fixture
async def agent(tmp_path: Path) -> Any:
    made = Agent(tmp_path)
    yield made
    made.close()


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_write", no_space)
        yield patch


async def test_results_are_in_the_spool_when_they_are_sent(agent: Agent) -> None:
    agent.assign("t1", "t2")
    await agent.reports(4)
    assert agent.upstream.spooled_when_sent == [[2, 4]]


async def test_instant_attempts_need_one_message_for_all(agent: Agent) -> None:
    agent.assign("t1", "t2", "t3")
    await agent.reports(6)
    assert len(agent.upstream.of(instructions.SendReports)) == 1


async def test_an_acknowledged_result_leaves_the_spool(agent: Agent) -> None:
    agent.assign("t1")
    reports = await agent.reports(2)
    agent.driver.dispatch(events.ReportsAcknowledged(1, [(report.report_id, Verdict.STALE) for report in reports]))
    assert agent.spool.pending == {}


async def test_the_supervisors_are_told_of_the_lease(agent: Agent) -> None:
    lease = read_lease(str(agent.lease_path))
    assert lease is not None
    assert (lease.window, lease.grace) == (48.0, 1.0)
    assert agent.driver.lease_time() == pytest.approx(lease, abs=1e-5)


async def test_a_full_disk_loses_no_result(agent: Agent, full_disk: pytest.MonkeyPatch) -> None:
    agent.assign("t1")
    await agent.reports(2)
    assert agent.spool.pending == {}
    assert {view.health for view in agent.upstream.of(instructions.SendInventory)[-1].changed} == {Health.BAD}
    full_disk.undo()
    async with asyncio.timeout(5):
        while list(agent.spool.pending) != [2] or len(agent.upstream.of(instructions.SendInventory)) < 2:
            await agent.upstream.heard()
    assert {view.health for view in agent.upstream.of(instructions.SendInventory)[-1].changed} == {Health.GOOD}


async def test_what_is_acknowledged_while_the_disk_is_full_is_not_written_later(
    agent: Agent, full_disk: pytest.MonkeyPatch
) -> None:
    agent.assign("t1")
    reports = await agent.reports(2)
    agent.driver.dispatch(events.ReportsAcknowledged(1, [(report.report_id, Verdict.APPLIED) for report in reports]))
    full_disk.undo()
    async with asyncio.timeout(5):
        while len(agent.upstream.of(instructions.SendInventory)) < 2:
            await agent.upstream.heard()
    assert agent.spool.pending == {}


async def test_what_the_disk_refused_to_forget_is_forgotten_when_it_takes_writes(
    agent: Agent, full_disk: pytest.MonkeyPatch
) -> None:
    full_disk.undo()
    agent.assign("t1", "t2")
    await agent.reports(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "_write", no_space)
        agent.driver.dispatch(events.ReportsAcknowledged(1, [(2, Verdict.APPLIED)]))
        assert list(agent.spool.pending) == [2, 4]
    async with asyncio.timeout(5):
        while len(agent.upstream.of(instructions.SendInventory)) < 2:
            await agent.upstream.heard()
    assert list(agent.spool.pending) == [4]


async def test_the_disk_is_looked_at_before_work_is_taken_again(agent: Agent, full_disk: pytest.MonkeyPatch) -> None:
    agent.driver._machine.state.limits = replace(agent.driver._machine.state.limits, min_free_bytes=100)
    agent.driver._look_at_disk = lambda: agent.driver.dispatch(events.DiskMeasured(50))
    agent.assign("t1")
    await agent.reports(2)
    full_disk.undo()
    async with asyncio.timeout(5):
        while list(agent.spool.pending) != [2] or len(agent.upstream.of(instructions.SendInventory)) < 3:
            await agent.upstream.heard()
    told = [view.health for sent in agent.upstream.of(instructions.SendInventory) for view in sent.changed]
    assert set(told) == {Health.BAD}


async def test_a_few_free_bytes_do_not_open_the_agent_again(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last block of the journal takes a few bytes on a disk that is full."""
    write, refused = Spool._write, asyncio.Event()

    def little(self: Spool, line: bytes) -> None:
        if len(line) > 4_096:
            refused.set()
            no_space()
        write(self, line)

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_write", little)
        agent.driver.not_begun("t1", "No space left on device")
        for _ in range(2):
            refused.clear()
            async with asyncio.timeout(5):
                await refused.wait()
        assert len(agent.upstream.of(instructions.SendInventory)) == 1
    async with asyncio.timeout(5):
        while len(agent.upstream.of(instructions.SendInventory)) < 2:
            await agent.upstream.heard()
    assert {view.health for view in agent.upstream.of(instructions.SendInventory)[-1].changed} == {Health.GOOD}


async def test_what_the_runner_has_no_room_for_keeps_the_agent_closed(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the journal takes writes."""
    tried = asyncio.Event()

    def no_inode() -> None:
        tried.set()
        no_space()

    with monkeypatch.context() as patch:
        patch.setattr(agent.driver._runner, "prove_room", no_inode)
        agent.driver.not_begun("t1", "No space left on device")
        async with asyncio.timeout(3):
            await tried.wait()
        assert len(agent.upstream.of(instructions.SendInventory)) == 1
    async with asyncio.timeout(5):
        while len(agent.upstream.of(instructions.SendInventory)) < 2:
            await agent.upstream.heard()
    assert {view.health for view in agent.upstream.of(instructions.SendInventory)[-1].changed} == {Health.GOOD}


async def test_the_runner_is_told_of_devices_that_go(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[str] = []
    monkeypatch.setattr(agent.driver._runner, "lost", lost.append)
    for event in (events.DeviceProbed("sim-1", Health.BAD), events.DeviceLost("sim-2")):
        agent.driver.device(event)
    assert lost == ["sim-2"]


async def test_a_fault_of_the_program_ends_the_agent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(agent.driver._do, instructions.SendHeartbeat, None)
    agent.driver._machine.state.session.next_heartbeat_at = 0.0
    with pytest.raises(TypeError):
        agent.driver.dispatch(events.Woken())
    assert agent.driver.stopped.is_set()
    assert isinstance(agent.driver.failure, TypeError)


async def test_a_fault_that_a_runner_tells_ends_the_agent(agent: Agent) -> None:
    first = ArithmeticError("a fault of ours")
    agent.driver.failed(first)
    agent.driver.failed(ValueError("what came of it"))
    assert agent.driver.stopped.is_set()
    assert agent.driver.failure is first
