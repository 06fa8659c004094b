"""The server of the stand-in: it speaks the smart-socket protocol that the `adb` program speaks to its own server."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import struct
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from tests.fakes.adb_server.shell import Shell
from tests.fakes.adb_server.sync import serve_sync

if TYPE_CHECKING:
    from tests.fakes.adb_server.device import FakeDevice

VERSION = 41
_SERVER_FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
_UNAUTHORIZED = (
    "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\nOtherwise check for a confirmation dialog on your device."
)


class _RefusedError(Exception):
    """The server's answer is FAIL, with these words."""


def _counted(text: str) -> bytes:
    data = text.encode()
    return b"%04x" % len(data) + data


class FakeAdbServer:
    """The server, and its devices by serial. `start` and `stop` may follow each other; devices keep what they have."""

    def __init__(self, *devices: FakeDevice) -> None:
        self.devices = {device.serial: device for device in devices}
        self.network: dict[str, FakeDevice] = {}  # what answers at an address, as `adb connect` has it; its serial
        self.port = 0
        self.version = VERSION
        self.silent = False  # takes connections and says nothing
        self.asked: Counter[str] = Counter()  # services, by their first word
        self.starts = 0
        self.connects: list[float] = []  # when it was asked to connect to an address, in monotonic seconds
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._port: socket.socket | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}  # and the serial that each is about
        self._news = asyncio.Event()  # a new one for each change
        self._ids: dict[str, int] = {}
        self._ending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> FakeAdbServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._port is not None:
            self._port.close()
            self._port = None

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self._server is not None

    @property
    def installs(self) -> Counter[tuple[str, str, str]]:
        """Installations that passed, by serial, package and digest of the build."""
        return Counter(
            {(serial, *key): count for serial, each in self.devices.items() for key, count in each.installs.items()}
        )

    async def start(self) -> None:
        """Listens on its port, a free one at first; nothing where it does so already."""
        async with self._starting:
            if self._server is None:
                self._reserve()
                self.starts += 1
                accepted = partial(self._accepted, life=self.starts)
                self._server = await asyncio.start_server(accepted, "127.0.0.1", self.port, reuse_port=True)

    def _reserve(self) -> None:
        """Keeps the port from everybody else while nothing listens on it."""
        if self._port is None:
            self._port = socket.socket()
            self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._port.bind(("127.0.0.1", 0))
            self.port = self._port.getsockname()[1]

    async def stop(self) -> None:
        """Ends as a killed server does: nothing listens, and every connection is cut."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for address in self.network:
            self.devices.pop(address, None)  # it comes back with none that somebody connected

    async def restart(self) -> None:
        """Stops and starts on the same port."""
        await self.stop()
        await self.start()

    # ---- devices ----

    def plug(self, device: FakeDevice) -> None:
        """A device is there, or is there again."""
        self.devices[device.serial] = device
        self._ids.pop(device.serial, None)
        self.changed()

    def unplug(self, serial: str) -> FakeDevice:
        """A device is gone, and every connection to it; plug it in again with what is on it."""
        device = self.devices.pop(serial)
        for task, about in list(self._tasks.items()):
            if about == serial:
                task.cancel()
        self.changed()
        return device

    def _lose(self, device: FakeDevice) -> None:
        self.unplug(device.serial)

    def set_state(self, serial: str, state: str) -> None:
        """device, offline, unauthorized and so on."""
        self.devices[serial].state = state
        if state != "device":
            for task, about in list(self._tasks.items()):
                if about == serial:
                    task.cancel()
        self.changed()

    def changed(self) -> None:
        """Tells who follows the list of devices, and who waits for one."""
        self._news.set()
        self._news = asyncio.Event()

    # ---- connections ----

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, life: int) -> None:
        if not self.running or life != self.starts:
            writer.close()  # it was accepted when the server ended
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = ""
        try:
            await self._serve(reader, writer, task)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # it hung up, or was cut
        finally:
            del self._tasks[task]
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        device: FakeDevice | None = None
        while True:
            service = (await reader.readexactly(int(await reader.readexactly(4), 16))).decode()
            self.asked[service.partition(":")[0]] += 1
            if self.silent:
                await asyncio.Event().wait()
            try:
                if service.startswith(("host:tport:", "host:transport")):
                    device = self._transport(service)
                    self._tasks[task] = device.serial
                    writer.write(b"OKAY")
                    if service.startswith("host:tport:"):
                        writer.write(struct.pack("<Q", self._id(device.serial)))
                    await writer.drain()
                    continue
                if service.startswith("host"):
                    await self._host(service, reader, writer, device)
                else:
                    device = device or self._transport("host:transport-any")
                    await self._local(device, service, reader, writer)
            except _RefusedError as refused:
                writer.write(b"FAIL" + _counted(str(refused)))
                await writer.drain()
            return

    # ---- services of the server ----

    async def _host(
        self,
        service: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        device: FakeDevice | None,
    ) -> None:
        scope, _, rest = service.partition(":")
        if scope in ("host-serial", "host-transport-id"):
            name, rest = self._split_serial(rest)
            if rest.startswith("wait-for-"):
                await self._wait_for(name, rest, writer)
                return
            device = self._find(name, by_id=scope == "host-transport-id", ready=rest != "get-state")
        if rest.startswith("wait-for-"):
            await self._wait_for(None, rest, writer)
        elif rest.startswith("track-devices"):
            await self._track(reader, writer, long=rest.endswith("-l"))
        elif rest == "kill":
            writer.write(b"OKAY")
            await writer.drain()
            self._ending = asyncio.create_task(self.stop())
        else:
            writer.write(b"OKAY" + self._answer(rest, device))
            await writer.drain()

    def _answer(self, what: str, device: FakeDevice | None) -> bytes:
        if what == "version":
            return _counted(f"{self.version:04x}")
        if what == "features":
            return _counted(_SERVER_FEATURES if device is None else ",".join(device.features))
        if what in ("devices", "devices-l"):
            return _counted(self._list(long=what == "devices-l"))
        if what.startswith("connect:"):
            return _counted(self._connect(what.removeprefix("connect:")))
        if what.startswith("disconnect:"):
            return _counted(self._disconnect(what.removeprefix("disconnect:")))
        device = device or self._transport("host:transport-any")
        if what == "get-state":
            return _counted(device.state)
        if what == "get-serialno":
            return _counted(device.serial)
        if what.startswith("forward:"):
            local, _, remote = what.removeprefix("forward:").removeprefix("norebind:").partition(";")
            local = f"tcp:{20_000 + len(device.forwards)}" if local == "tcp:0" else local
            device.forwards[local] = remote
            return b"OKAY" + _counted(local.removeprefix("tcp:"))
        if what.startswith("killforward:"):
            device.forwards.pop(what.removeprefix("killforward:"), None)
            return b"OKAY"
        if what == "list-forward":
            return _counted("".join(f"{device.serial} {a} {b}\n" for a, b in device.forwards.items()))
        raise _RefusedError(f"unknown host service '{what}'")

    def _connect(self, address: str) -> str:
        self.connects.append(time.monotonic())
        if address in self.devices:
            return f"already connected to {address}"
        if address not in self.network:
            return f"failed to connect to '{address}': Connection refused"
        self.plug(self.network[address])
        return f"connected to {address}"

    def _disconnect(self, address: str) -> str:
        if address not in self.devices:
            raise _RefusedError(f"no such device '{address}'")
        self.unplug(address)
        return f"disconnected {address}"

    def _list(self, *, long: bool) -> str:
        lines = []
        for device in self.devices.values():
            if not long:
                lines.append(f"{device.serial}\t{device.state}\n")
                continue
            words = f"{device.serial:<22} {device.state}"
            if device.state == "device":
                model = device.model.replace(" ", "_")
                words += f" product:{model.lower()} model:{model} device:{model.lower()}"
            lines.append(f"{words} transport_id:{self._id(device.serial)}\n")
        return "".join(lines)

    async def _track(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, long: bool) -> None:
        writer.write(b"OKAY")
        telling = asyncio.create_task(self._tell(writer, long=long))
        try:
            await reader.read(1)  # it hangs up
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, writer: asyncio.StreamWriter, *, long: bool) -> None:
        told = None
        while True:
            while (shown := self._list(long=long)) == told:
                await self._news.wait()
            told = shown
            writer.write(_counted(shown))
            await writer.drain()

    async def _wait_for(self, serial: str | None, service: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"OKAY")
        await writer.drain()
        wanted = service.rpartition("-")[2]
        while not self._is_there(serial, wanted):
            await self._news.wait()
        writer.write(b"OKAY")
        await writer.drain()

    def _is_there(self, serial: str | None, wanted: str) -> bool:
        found = [each for each in self.devices.values() if serial in (None, each.serial)]
        if wanted == "disconnect":
            return not found
        return any(wanted in ("any", each.state) for each in found)

    # ---- which device ----

    def _id(self, serial: str) -> int:
        if serial not in self._ids:
            self._ids[serial] = max(self._ids.values(), default=0) + 1
        return self._ids[serial]

    def _split_serial(self, text: str) -> tuple[str, str]:
        """A serial may have a colon in it, as 192.168.1.5:5555 has."""
        for serial in sorted(self.devices, key=len, reverse=True):
            if text.startswith(f"{serial}:"):
                return serial, text[len(serial) + 1 :]
        serial, _, rest = text.partition(":")
        return serial, rest

    def _transport(self, service: str) -> FakeDevice:
        for word in ("host:tport:serial:", "host:transport:"):
            if service.startswith(word):
                return self._find(service.removeprefix(word))
        if service.startswith("host:transport-id:"):
            return self._find(service.removeprefix("host:transport-id:"), by_id=True)
        found = list(self.devices.values())
        if not found:
            raise _RefusedError("no devices/emulators found")
        if len(found) > 1:
            raise _RefusedError("more than one device/emulator")
        return self._find(found[0].serial)

    def _find(self, name: str, *, by_id: bool = False, ready: bool = True) -> FakeDevice:
        for device in self.devices.values():
            if name == (str(self._id(device.serial)) if by_id else device.serial):
                if ready and device.state == "unauthorized":
                    raise _RefusedError(_UNAUTHORIZED)
                if ready and device.state != "device":
                    raise _RefusedError(f"device {device.state}")
                return device
        raise _RefusedError(f"device '{name}' not found")

    # ---- services of a device ----

    async def _local(
        self, device: FakeDevice, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name, _, rest = service.partition(":")
        writer.write(b"OKAY")
        await writer.drain()
        if name == "sync":
            await serve_sync(device, reader, writer)
        elif name in ("exec", "abb_exec"):
            words = rest.split("\0") if name == "abb_exec" else shlex.split(rest)
            words = words[1:] if words[:1] == ["cmd"] else words
            if words[:2] == ["package", "install"] and "-S" in words:
                await self._streamed(device, words, reader, writer, "abb" if name == "abb_exec" else "streamed")
            elif words == ["screencap", "-p"]:
                device.commands.append(rest)
                await asyncio.sleep(device.slow.get(rest, device.answers_seconds))
                writer.write(device.picture)
                await writer.drain()
            else:
                await self._shell(device, shlex.join(words), writer, framed=False)
        elif name == "shell" or name.startswith("shell,"):
            await self._until_hung_up(device, rest, reader, writer, framed=",v2" in name)
        elif name == "reverse":
            writer.write(b"OKAY")
            await writer.drain()

    async def _streamed(
        self,
        device: FakeDevice,
        words: list[str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        how: str,
    ) -> None:
        data = await reader.readexactly(int(words[words.index("-S") + 1]))
        installing = asyncio.create_task(device.install(data, words, how))
        hung_up = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait([installing, hung_up], return_when=asyncio.FIRST_COMPLETED)
            if installing.done():
                answer, lost = installing.result()
                if lost:
                    self.unplug(device.serial)
                    return
                writer.write(answer.encode())
                await writer.drain()
        finally:
            for task in (installing, hung_up):
                task.cancel()
            await asyncio.gather(installing, hung_up, return_exceptions=True)

    async def _until_hung_up(
        self,
        device: FakeDevice,
        line: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        framed: bool,
    ) -> None:
        """A command ends when its caller hangs up."""
        running = asyncio.create_task(self._shell(device, line, writer, framed=framed))
        hung_up = asyncio.create_task(_drained(reader))
        try:
            await asyncio.wait([running, hung_up], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            for task in (running, hung_up):
                task.cancel()
            await asyncio.gather(running, hung_up, return_exceptions=True)

    async def _shell(self, device: FakeDevice, line: str, writer: asyncio.StreamWriter, *, framed: bool) -> None:
        async def write(text: str) -> None:
            data = text.encode()
            writer.write(b"\x01" + struct.pack("<I", len(data)) + data if framed else data)
            await writer.drain()

        code = await Shell(device, write, lambda: self._lose(device)).run(line)
        if framed:
            writer.write(b"\x03" + struct.pack("<IB", 1, code & 0xFF))
            await writer.drain()


async def _drained(reader: asyncio.StreamReader) -> None:
    """Returns when the other side hangs up; what it writes meanwhile is no matter."""
    while await reader.read(4096):
        pass
