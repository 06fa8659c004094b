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

from tests.fakes.adb_server import forwards
from tests.fakes.adb_server.registry import RefusedError, Registry
from tests.fakes.adb_server.shell import Shell
from tests.fakes.adb_server.sync import serve_sync

if TYPE_CHECKING:
    from tests.fakes.adb_server.device import FakeDevice

VERSION = 41
_FEATURES = (  # of the server itself
    "abb,abb_exec,apex,cmd,fixed_push_mkdir,fixed_push_symlink_timestamp,ls_v2,push_sync,remount_shell,shell_v2,stat_v2"
)
_TURNS_TO_SERVE = 4
"""Of the event loop, from when it has taken a connection. One whose server is closed before is never closed itself."""
_WAITED_FOR = frozenset({"any", "bootloader", "device", "disconnect", "recovery", "rescue", "sideload"})


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
        self._registry = Registry(self.devices)
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
        for listening in server.sockets:  # it takes no more; what it has taken comes to `_accepted`, which closes it
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_TURNS_TO_SERVE):
            await asyncio.sleep(0)
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
        self._registry.add(device)

    def unplug(self, serial: str) -> FakeDevice:
        """A device is gone, and every connection to it; plug it in again with what is on it."""
        device = self.devices.pop(serial)
        self._cut(serial)
        self.changed()
        return device

    def drop(self, address: str) -> None:
        """A device on the network is gone. It stays on the list, as offline, and nobody who follows that is told."""
        del self.network[address]
        self.devices[address].state = "offline"
        self._cut(address)

    def _cut(self, serial: str) -> None:
        for task, about in list(self._tasks.items()):
            if about == serial:
                task.cancel()

    def _lose(self, device: FakeDevice) -> None:
        self.unplug(device.serial)

    def set_state(self, serial: str, state: str) -> None:
        """device, offline, unauthorized and so on."""
        self.devices[serial].state = state
        if state != "device":
            self._cut(serial)
        self.changed()

    def changed(self) -> None:
        """Tells who follows the list of devices, and who waits for one."""
        self._registry.changed()

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
            try:
                size = int(await reader.readexactly(4), 16)
            except ValueError:
                return  # it is no question
            service = (await reader.readexactly(size)).decode()
            self.asked[service.partition(":")[0]] += 1
            if self.silent:
                await asyncio.Event().wait()
            try:
                if service.startswith(("host:tport:", "host:transport")):
                    device = self._registry.transport(service)
                    self._tasks[task] = device.serial
                    writer.write(b"OKAY")
                    if service.startswith("host:tport:"):
                        writer.write(struct.pack("<Q", self._registry.id_of(device.serial)))
                    await writer.drain()
                    continue
                if service.startswith("host"):
                    await self._host(service, reader, writer)
                else:
                    await self._local(device, service, reader, writer)
            except RefusedError as refused:
                writer.write(b"FAIL" + _counted(str(refused)))
                await writer.drain()
            return

    # ---- services of the server ----

    async def _host(self, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scope, _, rest = service.partition(":")
        name = None
        if scope in ("host-serial", "host-transport-id"):
            name, rest = self._registry.split_serial(rest)
        if rest.startswith("wait-for-"):
            await self._wait_for(name, rest, writer)
        elif rest in ("track-devices", "track-devices-l"):
            await self._track(reader, writer, long=rest.endswith("-l"))
        elif rest == "kill":
            writer.write(b"OKAY")
            await writer.drain()
            self._ending = asyncio.create_task(self.stop())
        else:
            answer = self._answer(rest)
            writer.write(b"OKAY" + (self._answer_of(scope, name, rest) if answer is None else answer))
            await writer.drain()

    def _answer(self, what: str) -> bytes | None:
        """What is no matter of one device; None: it is."""
        if what == "version":
            return _counted(f"{self.version:04x}")
        if what == "host-features":
            return _counted(_FEATURES)
        if what in ("devices", "devices-l"):
            return _counted(self._registry.list(long=what == "devices-l"))
        if what.startswith("connect:"):
            return _counted(self._connect(what.removeprefix("connect:")))
        if what.startswith("disconnect:"):
            return _counted(self._disconnect(what.removeprefix("disconnect:")))
        if what == "list-forward":
            return _counted(forwards.listed(self.devices.values()))
        return None

    def _answer_of(self, scope: str, name: str | None, what: str) -> bytes:
        """What is asked of one device."""
        word, _, rest = what.partition(":")
        if word not in ("features", "get-state", "get-serialno", "forward", "killforward", "killforward-all"):
            raise RefusedError("unknown host service")
        if name is None:
            device = self._registry.only()
        else:
            device = (self._registry.numbered if scope == "host-transport-id" else self._registry.named)(name)
        if word == "features":
            return _counted(",".join(device.features))
        if word == "get-state":
            return _counted(device.state)
        if word == "get-serialno":
            return _counted(device.serial)
        if word == "forward":
            return b"OKAY" + _counted(forwards.forward(device, rest))
        if word == "killforward":
            forwards.remove(device, rest)
        else:
            device.forwards.clear()
        return b"OKAY"

    def _connect(self, address: str) -> str:
        self.connects.append(time.monotonic())
        if not address:
            return "empty address"
        if address not in self.network:
            return f"failed to connect to '{address}': Connection refused"
        if address in self.devices:
            return f"already connected to {address}"
        device = self.network[address]
        self.plug(device)
        said = {"device": "connected to", "unauthorized": "failed to authenticate to"}
        return f"{said.get(device.state, 'failed to connect to')} {address}"

    def _disconnect(self, address: str) -> str:
        if not address:
            for each in [serial for serial in self.devices if ":" in serial]:
                self.unplug(each)
            return "disconnected everything"
        if address not in self.devices:
            raise RefusedError(f"no such device '{address}'")
        self.unplug(address)
        return f"disconnected {address}"

    async def _track(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, long: bool) -> None:
        writer.write(b"OKAY")
        telling = asyncio.create_task(self._tell(writer, long=long))
        try:
            await reader.read(1)  # it hangs up
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, writer: asyncio.StreamWriter, *, long: bool) -> None:
        queue = self._registry.follow(long=long)
        try:
            told = None
            while True:
                shown = await queue.get()
                if shown != told:
                    writer.write(_counted(shown))
                    await writer.drain()
                told = shown
        finally:
            self._registry.leave(queue)

    async def _wait_for(self, serial: str | None, service: str, writer: asyncio.StreamWriter) -> None:
        wanted = service.rpartition("-")[2]
        if wanted not in _WAITED_FOR:
            raise RefusedError("unknown host service")
        writer.write(b"OKAY")
        await writer.drain()
        while not self._is_there(serial, wanted):
            await self._registry.news.wait()
        writer.write(b"OKAY")
        await writer.drain()

    def _is_there(self, serial: str | None, wanted: str) -> bool:
        found = [each for each in self.devices.values() if serial in (None, each.serial)]
        if wanted == "disconnect":
            return not found
        return any(wanted in ("any", each.state) for each in found)

    # ---- services of a device ----

    async def _local(
        self, device: FakeDevice | None, service: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name, _, rest = service.partition(":")
        if device is None:
            raise RefusedError("device offline (no transport)")
        if name not in ("sync", "exec", "abb_exec", "shell", "reverse") and not name.startswith("shell,"):
            raise RefusedError("closed")
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
