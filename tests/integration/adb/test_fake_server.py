"""The real `adb` program against the stand-in of its server: what the stand-in says is what adb understands."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.adb_server import FakeAdbServer, FakeDevice, Fault, make_apk
from tests.fakes.adb_server.control import ControlPort, tell
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("adb") is None, reason="needs the program adb: apt-get install adb")
ROOT = Path(__file__).parents[3]
PHONE = "R5CT1234ABC"


@pytest.fixture
async def fake() -> AsyncIterator[FakeAdbServer]:
    devices = (FakeDevice("emulator-5554"), FakeDevice(PHONE, emulator=False, model="Galaxy S22"))
    async with FakeAdbServer(*devices) as server:
        yield server


class Adb:
    """The real program, with a home of its own."""

    def __init__(self, fake: FakeAdbServer, home: Path) -> None:
        self._fake = fake
        self._home = home

    async def started(self, *words: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "adb", "-H", "127.0.0.1", "-P", str(self._fake.port), *map(str, words),
            env={"PATH": os.environ["PATH"], "HOME": str(self._home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    async def __call__(self, *words: object) -> tuple[int, str]:
        process = await self.started(*words)
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        return process.returncode, (out + err).decode()


@pytest.fixture
def adb(fake: FakeAdbServer, tmp_path: Path) -> Adb:
    return Adb(fake, tmp_path)


async def test_it_lists_devices_in_their_states(fake: FakeAdbServer, adb: Adb) -> None:
    fake.set_state(PHONE, "unauthorized")
    code, said = await adb("devices", "-l")
    lines = said.splitlines()
    assert (code, lines[0]) == (0, "List of devices attached")
    assert lines[1].split()[:2] == ["emulator-5554", "device"]
    assert "model:Pixel_7" in lines[1]
    assert lines[2].split()[:2] == [PHONE, "unauthorized"]


@pytest.mark.parametrize(
    ("options", "features", "how"),
    [((), (), "streamed"), ((), ("abb", "abb_exec"), "abb"), (("--no-streaming",), (), "pushed")],
)
async def test_it_installs_and_counts(
    fake: FakeAdbServer, adb: Adb, tmp_path: Path, options: tuple[str, ...], features: tuple[str, ...], how: str
) -> None:
    device = fake.devices["emulator-5554"]
    device.features += features
    apk = make_apk(tmp_path / "shop.apk", version_code=7, padding_bytes=300_000)
    code, said = await adb("-s", "emulator-5554", "install", "-r", *options, apk)
    assert (code, "Success" in said) == (0, True), said
    assert [(each.how, each.answer) for each in device.tries] == [(how, "Success")]
    digest = hashlib.sha256(apk.read_bytes()).hexdigest()
    assert fake.installs == {("emulator-5554", "com.example.shop", digest): 1}
    assert await adb("-s", "emulator-5554", "shell", "pm", "list", "packages") == (0, "package:com.example.shop\n")
    said = (await adb("-s", "emulator-5554", "shell", "dumpsys", "package", "com.example.shop"))[1]
    assert "versionCode=7 " in said
    assert await adb("-s", "emulator-5554", "uninstall", "com.example.shop") == (0, "Success\n")
    assert (device.packages, device.uninstalled) == ({}, ["com.example.shop"])


@pytest.mark.parametrize("options", [(), ("--no-streaming",)])
async def test_it_refuses_as_a_package_manager_does(
    fake: FakeAdbServer, adb: Adb, tmp_path: Path, options: tuple[str, ...]
) -> None:
    device = fake.devices["emulator-5554"]
    device.faults.append(Fault("INSTALL_FAILED_ABORTED: User rejected permissions"))
    code, said = await adb("-s", "emulator-5554", "install", "-r", *options, make_apk(tmp_path / "a.apk"))
    assert (code, "Failure [INSTALL_FAILED_ABORTED: User rejected permissions]" in said) == (1, True), said
    assert not fake.installs


async def test_a_device_goes_away_in_the_middle_of_an_installation(
    fake: FakeAdbServer, adb: Adb, tmp_path: Path
) -> None:
    device = fake.devices[PHONE]
    device.faults.append(Fault(lose=True))
    code, said = await adb("-s", PHONE, "install", "-r", make_apk(tmp_path / "a.apk"))
    assert (code, "Success" in said) == (1, False)
    assert PHONE not in fake.devices
    fake.plug(device)
    assert (await adb("-s", PHONE, "install", "-r", tmp_path / "a.apk"))[0] == 0
    assert [each.answer for each in device.tries] == ["lost", "Success"]


@pytest.mark.parametrize(("state", "words"), [("offline", "device offline"), ("unauthorized", "device unauthorized")])
async def test_what_is_not_ready_is_refused_with_the_words_of_adb(
    fake: FakeAdbServer, adb: Adb, state: str, words: str
) -> None:
    fake.set_state(PHONE, state)
    code, said = await adb("-s", PHONE, "shell", "true")
    assert (code, words in said) == (1, True), said
    assert (await adb("-s", "nobody", "shell", "true"))[1] == "error: device 'nobody' not found\n"


async def test_a_shell_has_output_and_an_exit_code(fake: FakeAdbServer, adb: Adb) -> None:
    assert await adb("-s", PHONE, "shell", "getprop ro.product.model; exit 3") == (3, "Galaxy S22\n")
    assert await adb("-s", PHONE, "shell", "false || echo no && nonsense") == (
        127,
        "no\n/system/bin/sh: nonsense: inaccessible or not found\n",
    )
    fake.devices[PHONE].features = ("cmd",)
    assert await adb("-s", PHONE, "shell", "getprop", "ro.build.version.release") == (0, "14\n")


async def test_what_it_shows_comes_to_the_byte(fake: FakeAdbServer, adb: Adb) -> None:
    fake.devices[PHONE].picture = bytes(range(256)) + b"\r\n"
    process = await adb.started("-s", PHONE, "exec-out", "screencap", "-p")
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert out == fake.devices[PHONE].picture


async def test_files_go_there_and_back(adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(bytes(range(256)) * 500)
    assert (await adb("-s", PHONE, "push", tmp_path / "there", "/data/local/tmp/x"))[0] == 0
    assert (await adb("-s", PHONE, "pull", "/data/local/tmp/x", tmp_path / "back"))[0] == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "there").read_bytes()


async def test_a_log_streams_until_it_is_ended(fake: FakeAdbServer, adb: Adb) -> None:
    device = fake.devices[PHONE]
    await device.log("first")
    process = await adb.started("-s", PHONE, "logcat", "-v", "threadtime")
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"first\n"
    await device.log("second")
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"second\n"
    process.terminate()
    await asyncio.wait_for(process.wait(), 30)
    assert await adb("-s", PHONE, "logcat", "-d") == (0, "first\nsecond\n")


async def list_of(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdout is not None
    expected = f"{len(text):04x}{text}".encode()
    assert await asyncio.wait_for(process.stdout.readexactly(len(expected)), 30) == expected


async def test_the_list_is_followed_and_a_device_waited_for(fake: FakeAdbServer, adb: Adb) -> None:
    following = await adb.started("track-devices")
    await list_of(following, "emulator-5554\tdevice\n" + f"{PHONE}\tdevice\n")
    device = fake.unplug(PHONE)
    waiting = await adb.started("-s", PHONE, "wait-for-device")
    await until(lambda: fake.asked["host-serial"], "nobody waits")
    fake.plug(device)
    assert await asyncio.wait_for(waiting.wait(), 30) == 0
    await list_of(following, "emulator-5554\tdevice\n")
    for state in ("offline", "device"):
        await list_of(following, "emulator-5554\tdevice\n" + f"{PHONE}\t{state}\n")
    following.terminate()
    await following.wait()


async def test_a_server_that_is_killed_cuts_all_and_keeps_its_devices(
    fake: FakeAdbServer, adb: Adb, tmp_path: Path
) -> None:
    assert (await adb("-s", PHONE, "install", make_apk(tmp_path / "a.apk")))[0] == 0
    following = await adb.started("track-devices")
    await until(lambda: fake.asked["host"] > 1, "nobody follows")
    assert (await adb("kill-server"))[0] == 0
    await asyncio.wait_for(following.wait(), 30)
    await until(lambda: not fake.running, "the server lives")
    code, said = await adb("devices")
    assert (code, "cannot start server on remote host" in said) == (1, True)
    await fake.start()
    assert (await adb("-s", PHONE, "shell", "pm", "path", "com.example.shop"))[0] == 0
    assert sum(fake.installs.values()) == 1


async def test_what_is_no_package_is_no_package(fake: FakeAdbServer, adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "no.apk").write_bytes(b"nothing of the kind")
    code, said = await adb("-s", PHONE, "install", "-r", tmp_path / "no.apk")
    assert (code, "INSTALL_PARSE_FAILED_NOT_APK" in said) == (1, True)
    assert [each.answer for each in fake.devices[PHONE].tries] != ["Success"]


async def test_other_processes_control_it(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.adb_server", "--emulators", "1", "--install-seconds", "0",
        cwd=ROOT, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ports = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        control = ports["control"]
        await asyncio.to_thread(tell, control, "plug", serial="emulator-5558", model="Pixel 8")
        await asyncio.to_thread(tell, control, "fault", serial="emulator-5554", answer="INSTALL_FAILED_ABORTED")
        with pytest.raises(ValueError, match="no fields of a device"):
            await asyncio.to_thread(tell, control, "set", serial="emulator-5554", packages={})
        fake = FakeAdbServer()
        fake.port = ports["port"]
        adb = Adb(fake, tmp_path)
        assert len((await adb("devices"))[1].split()) == 4 + 2 * 2
        apk = make_apk(tmp_path / "a.apk")
        codes = [(await adb("-s", "emulator-5554", "install", apk))[0] for _ in range(2)]
        assert codes == [1, 0]
        (installed,) = await asyncio.to_thread(tell, control, "installs")
        assert (installed[0], installed[1], installed[3]) == ("emulator-5554", "com.example.shop", 1)
    finally:
        process.terminate()
        await process.wait()


async def test_a_control_port_stops_and_starts_the_server(fake: FakeAdbServer) -> None:
    async with ControlPort(fake) as control:
        port = fake.port
        await asyncio.to_thread(tell, control.port, "stop")
        assert not fake.running
        await asyncio.to_thread(tell, control.port, "start")
        assert (fake.running, fake.port, fake.starts) == (True, port, 2)


async def test_devices_on_the_network_are_connected_with_the_words_of_adb(fake: FakeAdbServer, adb: Adb) -> None:
    address = "10.0.0.5:5555"
    assert await adb("connect", address) == (0, f"failed to connect to '{address}': Connection refused\n")
    fake.network[address] = FakeDevice(address, emulator=False, model="Galaxy S22")
    assert await adb("connect", address) == (0, f"connected to {address}\n")
    assert await adb("connect", address) == (0, f"already connected to {address}\n")
    assert await adb("-s", address, "shell", "getprop", "ro.product.model") == (0, "Galaxy S22\n")
    assert await adb("disconnect", address) == (0, f"disconnected {address}\n")
    assert await adb("connect", address) == (0, f"connected to {address}\n")
    await fake.restart()
    assert address not in (await adb("devices"))[1]
