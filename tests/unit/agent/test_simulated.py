"""Simulated devices and tests: their time is real, their outcome is fixed by seed, job and attempt."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from qgjob_agent.core.events import (
    AttemptFinished,
    AttemptKilled,
    AttemptProgressed,
    AttemptStarted,
    DeviceLost,
    DeviceProbed,
    DeviceSeen,
    InstallEnded,
)
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Health, Outcome, Target
from qgjob_agent.devices.faults import SimulatedFaults
from qgjob_agent.devices.simulated import SimulatedDevices
from qgjob_agent.runners.simulated import SimulatedRunner, SimulatedTests
from tests.fakes.agent_core import assignment

DEVICE = DeviceFacts("d1", "d1", Target.EMULATOR)


class Sink:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.logs: list[tuple[int, bytes]] = []
        self.changed = asyncio.Event()

    def report(self, events: list[Any]) -> None:
        self.events += events
        self.changed.set()

    def device(self, event: Any) -> None:
        self.report([event])

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        del job_id, token
        self.logs.append((offset, data))

    async def last(self, *kinds: type) -> Any:
        async with asyncio.timeout(5):
            while not self.events or not isinstance(self.events[-1], kinds):
                self.changed.clear()
                await self.changed.wait()
        return self.events[-1]


async def outcomes(seed: int, rate: float, count: int = 200) -> list[Outcome]:
    sink = Sink()
    SimulatedRunner(sink, SimulatedTests(0, 0, rate, seed)).start(DEVICE, [assignment(f"t{n}") for n in range(count)])
    return [event.finished.outcome for event in sink.events]


async def test_instant_tests_end_within_start() -> None:
    assert await outcomes(1, 0.0) == [Outcome.PASSED] * 200


async def test_the_seed_fixes_who_fails() -> None:
    first = await outcomes(1, 0.3)
    assert first == await outcomes(1, 0.3)
    assert first != await outcomes(2, 0.3)
    assert 30 < first.count(Outcome.TEST_FAILED) < 90


async def test_another_attempt_is_another_throw() -> None:
    sink = Sink()
    runner = SimulatedRunner(sink, SimulatedTests(0, 0, 0.5, 1))
    again = [Assignment("acme~t1", f"x{n}", n, 1, "d1", "acme", "v1", "t") for n in range(1, 20)]
    runner.start(DEVICE, again)
    assert {event.finished.outcome for event in sink.events} == {Outcome.PASSED, Outcome.TEST_FAILED}


async def test_a_timed_test_starts_progresses_logs_and_ends() -> None:
    sink = Sink()
    runner = SimulatedRunner(sink, SimulatedTests(0.05, 0.05, 0, 1))
    runner.start(DEVICE, [assignment("t1")])
    finished = (await sink.last(AttemptFinished)).finished
    assert [type(event) for event in sink.events] == [AttemptStarted, *[AttemptProgressed] * 3, AttemptFinished]
    assert [event.percent for event in sink.events[1:4]] == [25, 50, 75]
    assert (finished.outcome, finished.duration_ms, finished.result.passed) == (Outcome.PASSED, 50, 1)
    assert sink.logs[1][0] == len(sink.logs[0][1])  # offsets are those of one log


async def test_a_test_longer_than_its_limit_times_out() -> None:
    sink = Sink()
    runner = SimulatedRunner(sink, SimulatedTests(30, 30, 0, 1))
    limited = assignment("t1")
    limited.timeout_ms = 20
    runner.start(DEVICE, [limited])
    finished = (await sink.last(AttemptFinished)).finished
    assert (finished.outcome, finished.duration_ms) == (Outcome.TIMED_OUT, 20)


async def test_a_killed_test_is_dead_and_says_nothing_more() -> None:
    sink = Sink()
    runner = SimulatedRunner(sink, SimulatedTests(0.02, 0.02, 0, 1))
    runner.start(DEVICE, [assignment("t1")])
    runner.kill("t1", DeathCause.REVOKED, 0)
    runner.kill("t1", DeathCause.REVOKED, 0)
    runner.start(DEVICE, [assignment("t2")])
    await sink.last(AttemptFinished)
    assert [event.token for event in sink.events if isinstance(event, AttemptKilled)] == ["t1"]
    assert [event.token for event in sink.events if isinstance(event, AttemptFinished)] == ["t2"]


async def test_installing_takes_its_time() -> None:
    sink = Sink()
    devices = SimulatedDevices(sink, [DEVICE], 0.03)
    started = asyncio.get_running_loop().time()
    devices.install(assignment("t1"))
    ended = await sink.last(InstallEnded)
    assert asyncio.get_running_loop().time() - started >= 0.03
    assert (ended.token, ended.outcome, ended.install_ms, ended.cancelled) == ("t1", Outcome.PASSED, 30, False)


async def test_a_stopped_installation_ends_once() -> None:
    sink = Sink()
    devices = SimulatedDevices(sink, [DEVICE], 0.02)
    devices.install(assignment("t1"))
    devices.cancel_install("t1")
    devices.cancel_install("t1")
    devices.install(assignment("t2"))
    await sink.last(InstallEnded)
    async with asyncio.timeout(5):
        while len(sink.events) < 2:
            sink.changed.clear()
            await sink.changed.wait()
    assert [(event.token, event.cancelled) for event in sink.events] == [("t1", True), ("t2", False)]


async def test_a_device_lost_while_installing_fails_the_installation() -> None:
    sink = Sink()
    devices = SimulatedDevices(sink, [DEVICE], 0.02)
    devices.install(assignment("t1"))
    devices.lose("d1")
    assert devices.devices() == []
    ended = await sink.last(InstallEnded)
    assert (ended.outcome, ended.error) == (Outcome.DEVICE_ERROR, "the device went away")
    devices.restore("d1")
    assert [type(event) for event in sink.events] == [DeviceLost, InstallEnded, DeviceSeen]


@pytest.mark.parametrize(("lost", "health"), [(False, Health.GOOD), (True, Health.BAD)])
async def test_a_probe_sees_whether_the_device_is_there(*, lost: bool, health: Health) -> None:
    sink = Sink()
    devices = SimulatedDevices(sink, [DEVICE], 0)
    if lost:
        devices.lose("d1")
    devices.probe("d1")
    assert (await sink.last(DeviceProbed)).health is health


async def installs_on(devices: SimulatedDevices, sink: Sink, *versions: str) -> list[tuple[Outcome, str | None]]:
    """What came of installing app versions, one after the other."""
    found = []
    for version in versions:
        sink.events.clear()
        devices.install(assignment(version, app=version))
        ended = await sink.last(InstallEnded)
        found.append((ended.outcome, ended.error))
    return found


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_a_device_that_refuses_installations_heals_when_probes_have_found_it(seconds: float) -> None:
    sink = Sink()
    faults = SimulatedFaults(failing_installs=["d1"], heal_after_probes=2)
    devices = SimulatedDevices(sink, [DEVICE], seconds, faults)
    refused = (Outcome.DEVICE_ERROR, "simulated: the device refuses installations")
    assert await installs_on(devices, sink, "v1") == [refused]
    found = []
    for _ in range(3):
        devices.probe("d1")
        probed = await sink.last(DeviceProbed)
        found.append((probed.health, probed.reason))
    assert found == [(Health.BAD, refused[1])] * 2 + [(Health.GOOD, None)]
    assert await installs_on(devices, sink, "v2") == [(Outcome.PASSED, None)]


async def test_a_broken_build_installs_nowhere_and_probes_find_nothing() -> None:
    sink = Sink()
    devices = SimulatedDevices(sink, [DEVICE], 0, SimulatedFaults(broken_builds=["v1"], heal_after_probes=2))
    assert await installs_on(devices, sink, "v1", "v2") == [
        (Outcome.DEVICE_ERROR, "simulated: v1 is broken"),
        (Outcome.PASSED, None),
    ]
    devices.probe("d1")
    assert (await sink.last(DeviceProbed)).health is Health.GOOD


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_every_test_fails_on_a_faulty_device_and_on_no_other(seconds: float) -> None:
    sink = Sink()
    faults = SimulatedFaults(failing_tests=["d2"])
    runner = SimulatedRunner(sink, SimulatedTests(seconds, seconds, 0, 1), faults)
    found = []
    for device in (DEVICE, replace(DEVICE, device_id="d2")):
        runner.start(device, [assignment(device.device_id)])
        found.append((await sink.last(AttemptFinished)).finished.outcome)
    assert found == [Outcome.PASSED, Outcome.TEST_FAILED]
    assert faults.of_probe("d2") is None, "it never heals, and no probe finds it"
