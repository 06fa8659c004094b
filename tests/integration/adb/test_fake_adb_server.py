"""The stand-in of adb's server answers as the real one was recorded to, and the real one still does."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB
from tests.fakes.adb_server import FakeAdbServer, FakeDevice
from tests.fakes.adb_server.contract import FEATURES, PICTURE, SAID, SCENES, play
from tests.fakes.adb_server.record import real_lab, recording, version_here

STATES = {"PHONE": "device", "OTHER": "device", "SHY": "unauthorized", "MUTE": "offline", "ROBOT": "device"}


class FakeLab:
    """See contract.Lab."""

    def __init__(self, fake: FakeAdbServer) -> None:
        self.port = fake.port
        self._fake = fake
        self._devices = {
            name: FakeDevice(self.place(name), name == "ROBOT", state, "Fake", features=FEATURES)
            for name, state in STATES.items()
        }
        for name, device in self._devices.items():
            device.picture = SAID[PICTURE] or b""
            if name != "ROBOT":
                fake.network[device.serial] = device

    def place(self, name: str) -> str:
        """See Lab."""
        port = 30_000 + (*STATES, "NOBODY").index(name)
        return f"emulator-{port}" if name == "ROBOT" else f"127.0.0.1:{port}"

    async def begin_emulator(self) -> None:
        """See Lab."""
        self._fake.plug(self._devices["ROBOT"])

    async def cut(self, name: str) -> None:
        """See Lab."""
        if name == "ROBOT":
            self._fake.unplug(self.place(name))
        else:
            self._fake.drop(self.place(name))


@asynccontextmanager
async def fake_lab() -> AsyncIterator[FakeLab]:
    async with FakeAdbServer() as fake:
        yield FakeLab(fake)


@pytest.mark.parametrize("scene", SCENES)
async def test_the_stand_in_answers_as_recorded(scene: str) -> None:
    async with fake_lab() as lab:
        assert await play(scene, lab) == recording()["scenes"][scene]


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
@pytest.mark.parametrize("scene", SCENES)
async def test_the_real_one_answers_as_recorded(scene: str) -> None:
    recorded, here = recording(), version_here()
    if here != recorded["version"]:
        pytest.skip(f"this machine has another adb than was recorded: {here}, and not {recorded['version']}")
    async with real_lab() as lab:
        assert await play(scene, lab) == recorded["scenes"][scene]


@pytest.mark.parametrize("turns", range(8))
def test_a_connection_that_it_has_just_taken_is_closed_with_it(turns: int) -> None:
    """After so many turns of its loop. Else another test would be told of it, whenever what is left is collected."""

    async def met_and_stopped() -> None:
        async with FakeAdbServer() as fake:
            with socket.create_connection(("127.0.0.1", fake.port)):
                for _ in range(turns):
                    await asyncio.sleep(0)
                await fake.stop()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(met_and_stopped())
        gc.collect()
    assert [str(each.message) for each in told if each.category is ResourceWarning] == []
