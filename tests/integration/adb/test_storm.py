"""Devices that are unplugged, refuse, hang and lose their server at random: what is told stays true of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from qgjob_agent.core.events import DeviceLost, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Health, Outcome
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB, Host, Provided, host
from tests.fakes.adb_server import FakeDevice, Fault
from tests.fakes.program import processes_of
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
SERIALS = ("emulator-5554", "R5CT1234ABC", "192.168.1.5:5555")
APPS = ("shop-1", "shop-2", "bank")
STEPS = 60


class Storm:
    """What happens, at random, and what has to be true of it."""

    def __init__(self, seed: int, lab: Host, told: Provided) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._lab = lab
        self._told = told
        self._unplugged: dict[str, FakeDevice] = {}
        self.running: dict[str, str] = {}  # device: token; as in the core there is one at a time
        self.begun = 0

    async def step(self) -> None:
        serial = self._random.choice(SERIALS)
        device_id = f"a1.{serial.replace(':', '-')}"
        device = self._lab.fake.devices.get(serial)
        kinds = [self._install] * 6 + [self._cancel] * 2 + [self._plug] * 2 + [self._state] * 2 + [self._fault]
        kind = self._random.choice([*kinds, self._server])
        await kind(serial, device_id, device)
        await asyncio.sleep(self._random.random() * 0.05)
        self._core()

    def _core(self) -> None:
        """As the core: what runs on a lost device is cancelled, and what ended is done with."""
        ended = {event.token for event in self._told.of(InstallEnded)}
        self.running = {device: token for device, token in self.running.items() if token not in ended}
        for device, token in self.running.items():
            if self._told.now(device) is None:
                self._told.provider.cancel_install(token)

    async def _install(self, serial: str, device_id: str, device: FakeDevice | None) -> None:
        if device_id not in self.running and self._told.now(device_id) is not None:
            self.running[device_id] = self._told.begin(device_id, self._random.choice(APPS))
            self.begun += 1

    async def _cancel(self, serial: str, device_id: str, device: FakeDevice | None) -> None:
        if device_id in self.running:
            self._told.provider.cancel_install(self.running[device_id])

    async def _plug(self, serial: str, device_id: str, device: FakeDevice | None) -> None:
        if device is None:
            self._lab.fake.plug(self._unplugged.pop(serial))
        else:
            self._unplugged[serial] = self._lab.fake.unplug(serial)

    async def _state(self, serial: str, device_id: str, device: FakeDevice | None) -> None:
        if device is not None:
            self._lab.fake.set_state(serial, self._random.choice(["device", "device", "offline", "unauthorized"]))

    async def _fault(self, serial: str, device_id: str, device: FakeDevice | None) -> None:
        if device is not None:
            answer = self._random.choice(["INSTALL_FAILED_ABORTED", "INSTALL_FAILED_OLDER_SDK"])
            device.faults.append(self._random.choice([Fault(answer), Fault(hang=True)]))

    async def _server(self, serial: str, device_id: str, device: FakeDevice | None) -> None:
        await self._lab.fake.stop()

    async def calm(self) -> None:
        """All is plugged in and well again, and nothing is to fail."""
        for serial, device in self._unplugged.items():
            self._lab.fake.plug(device)
            assert serial in self._lab.fake.devices
        for serial, device in self._lab.fake.devices.items():
            device.faults.clear()
            self._lab.fake.set_state(serial, "device")
        for token in self.running.values():
            self._told.provider.cancel_install(token)
        await self._lab.fake.start()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_each_installation_ends_once_and_the_devices_come_back(
    tmp_path: Path, seed: int
) -> None:
    devices = [FakeDevice(serial, emulator=serial.startswith("emulator")) for serial in SERIALS]
    ids = [f"a1.{serial.replace(':', '-')}" for serial in SERIALS]
    for device in devices:
        device.install_seconds = 0.05
    async with host(tmp_path, *devices) as lab:
        for number, app in enumerate(APPS):
            package = "com.example.bank" if app == "bank" else "com.example.shop"
            lab.builds.add(app, package, version_code=1 + number)
        async with lab.provider(look_seconds=0.1) as told:
            for device_id in ids:
                await told.seen(device_id)
            storm = Storm(seed, lab, told)
            for _ in range(STEPS):
                await storm.step()
            await storm.calm()
            await until(lambda: len(told.of(InstallEnded)) == storm.begun, "one does not end", seconds=20)
            assert set(Counter(event.token for event in told.of(InstallEnded)).values()) == {1}
            assert [line for pid, line in processes_of(tmp_path).items() if " install " in line] == []
            for device_id in ids:
                await told.seen(device_id, health=Health.GOOD)
                assert alternating(told, device_id)
            # And each of them serves: twice the same build costs one installation at most.
            for serial, device_id in zip(SERIALS, ids, strict=True):
                before = sum(lab.fake.devices[serial].installs.values())
                for _ in range(2):
                    ended = await told.install(device_id, "shop-2")
                    assert (ended.outcome, ended.error) == (Outcome.PASSED, None)
                assert sum(lab.fake.devices[serial].installs.values()) <= before + 1


def alternating(told: Provided, device_id: str) -> bool:
    """A device is lost only when it was told to be there."""
    there = False
    for event in told.of(DeviceSeen, DeviceLost, device_id=device_id):
        if isinstance(event, DeviceLost) and not there:
            return False
        there = isinstance(event, DeviceSeen)
    return there
