"""Several providers are one: what is asked goes to the one that shows the device, and what each tells is told."""

from __future__ import annotations

from typing import Any

import pytest

from qgjob_agent.core.events import DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, DeviceFacts, Health, Outcome, Target
from qgjob_agent.devices.several import SeveralProviders
from qgjob_agent.devices.simulated import SimulatedDevices

FACTS = [DeviceFacts(f"d{n}", f"u{n}", Target.EMULATOR) for n in range(3)]


class Told:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def device(self, event: Any) -> None:
        self.events.append(event)


def assignment(token: str, device_id: str) -> Assignment:
    return Assignment(f"acme~{token}", token, 1, 1, device_id, "acme", "v1", "a.spec.ts")


async def test_each_device_belongs_to_the_provider_that_shows_it() -> None:
    told = Told()
    made: list[SimulatedDevices] = []

    def provider(*facts: DeviceFacts, seconds: float) -> Any:
        def make(sink: Any) -> SimulatedDevices:
            made.append(SimulatedDevices(sink, list(facts), seconds))
            return made[-1]

        return make

    several = SeveralProviders(told, [provider(FACTS[0], seconds=0), provider(FACTS[1], FACTS[2], seconds=60)])
    assert several.devices() == FACTS
    await several.start()
    several.install(assignment("t0", "d0"))
    assert [(e.device_id, e.outcome) for e in told.events] == [("d0", Outcome.PASSED)]
    several.install(assignment("t1", "d1"))
    assert len(told.events) == 1  # it takes a minute
    several.cancel_install("t1")
    several.cancel_install("t1")
    several.cancel_install("nobody's")
    assert [(e.device_id, e.cancelled) for e in told.events[1:]] == [("d1", True)]
    made[1].lose("d2")
    several.probe("d2")
    several.probe("d0")
    assert [(e.device_id, e.health) for e in told.events if isinstance(e, DeviceProbed)] == [
        ("d2", Health.BAD),
        ("d0", Health.GOOD),
    ]
    made[1].restore("d2")
    assert isinstance(told.events[-1], DeviceSeen)
    await several.close()


async def test_a_device_that_nobody_has_shown_refuses_and_is_not_well() -> None:
    told = Told()
    several = SeveralProviders(told, [lambda sink: SimulatedDevices(sink, FACTS, 0)])
    several.install(assignment("t0", "d0"))  # nothing was asked for yet
    several.probe("d0")
    ended, probed = told.events
    assert isinstance(ended, InstallEnded)
    assert (ended.token, ended.outcome, ended.error) == ("t0", Outcome.DEVICE_ERROR, "the device is not connected")
    assert (probed.health, probed.reason) == (Health.BAD, "the device is not connected")


async def test_what_a_provider_does_not_know_is_asked_of_nobody() -> None:
    several = SeveralProviders(Told(), [lambda sink: SimulatedDevices(sink, FACTS, 0)])
    several.devices()
    assert several.package_of(assignment("t0", "d0")) is None
    assert several.package_of(assignment("t0", "nobody's")) is None
    assert await several.logged("d0", 0, 1) is None
    with pytest.raises(OSError, match="not connected"):
        await several.logged("nobody's", 0, 1)
    assert await several.screen("d0") is None
    with pytest.raises(OSError, match="not connected"):
        await several.screen("nobody's")
