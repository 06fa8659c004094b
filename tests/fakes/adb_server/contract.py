"""What the server of adb and its stand-in are asked, one like the other, and how their answers are written down.

A scene is played on a lab: a server without devices, and a few of them that it can be made to find. An answer is
written to the byte, but for what no two servers have in common: an address has the same number of letters in place of
its port, transport ids and the ports of forwards are signs, and lists of features, which have no order, have one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias

ECHO, PICTURE, STAYS = "shell,v2,raw:echo hello", "exec:screencap -p", "shell,v2,raw:sleep 1000"
"""The services that the lab's devices have."""
FEATURES = ("shell_v2", "cmd")
SAID = {ECHO: b"\x01\x06\0\0\0hello\n\x03\x01\0\0\0\0", PICTURE: b"\x89PNG\r\n\x1a\n\0\xff", STAYS: None}
_ANSWER_SECONDS = 60.0
_FEATURE_LIST = re.compile(rb"(?<=[0-9a-f]{4})[a-z_0-9]+(,[a-z_0-9]+)+$")
_TRANSPORT_ID = re.compile(rb"(?<=transport_id:)\d")
_LOCAL_PORT = re.compile(rb"(?<=tcp:)\d{5}|(?<=OKAYOKAY0005)\d{5}")
Scene: TypeAlias = "Callable[[Lab, Notes], Awaitable[None]]"


class Lab(Protocol):
    """A server, real or not, and the devices that there are: PHONE and OTHER on the network, SHY, which has not allowed
    this host, and MUTE, which answers nothing. ROBOT is an emulator.
    """

    port: int

    def place(self, name: str) -> str:
        """The address of a device on the network, of which the port has five digits; the serial of the emulator."""

    async def begin_emulator(self) -> None:
        """The emulator runs, and the server finds it."""

    async def cut(self, name: str) -> None:
        """A device is gone, and does not come again."""


class Notes:
    """What was asked in a scene, and answered. `lines` are pairs of both."""

    def __init__(self, lab: Lab) -> None:
        self.lines: list[tuple[str, str]] = []
        self._lab = lab

    async def ask(self, *services: str) -> None:
        """Asks for services on one connection, until one is refused; notes all that is answered until its end."""
        async with self._connection() as (reader, writer):
            said = b""
            for service in services:
                writer.write(_request(self._placed(service)))
                said += await reader.read(4) if service.startswith("host:t") else await reader.read()
                if not said.endswith(b"OKAY"):
                    break
                if service.startswith("host:tport:"):
                    said += b"<" + bytes(str(int.from_bytes(await reader.readexactly(8), "little")), "ascii") + b">"
            said += await reader.read()
        self.note(" + ".join(services), said)

    async def send(self, data: bytes) -> None:
        """Sends what is no question."""
        async with self._connection() as (reader, writer):
            writer.write(data)
            self.note(f"({data.decode()})", await reader.read())

    @asynccontextmanager
    async def following(self, service: str, count: int) -> AsyncIterator[None]:
        """Notes how an answer begins that has no end: OKAY, a text, and those that tell of what is done within."""
        async with self._connection() as (reader, writer):
            writer.write(_request(service))
            said = await reader.readexactly(4)
            said += await _counted(reader)
            yield
            for _ in range(count - 1):
                said += b"|" + await _counted(reader)
        self.note(service, said)

    @asynccontextmanager
    async def waiting(self, *services: str) -> AsyncIterator[None]:
        """Notes all that is answered until the end, where that comes of what is done meanwhile."""
        async with self._connection() as (reader, writer):
            said = b""
            for service in services:
                writer.write(_request(self._placed(service)))
                said += await reader.readexactly(4)
            yield
            said += await reader.read()
        self.note(" + ".join(services), said)

    def note(self, asked: str, said: bytes) -> None:
        """Writes an answer down, with signs for what no two servers have in common."""
        for name in ("PHONE", "OTHER", "SHY", "MUTE", "ROBOT", "NOBODY"):
            place = self._lab.place(name)
            before, sign, port = place.rpartition(":" if ":" in place else "-")
            said = said.replace(place.encode(), f"{before}{sign}{name:.<{len(port)}}".encode())
        said = _FEATURE_LIST.sub(lambda found: b",".join(sorted(found[0].split(b","))), said)
        said = _LOCAL_PORT.sub(b"LOCAL", _TRANSPORT_ID.sub(b"#", said))
        said = re.sub(rb"<\d+>", b"<########>", said)
        self.lines.append((asked, said.decode("latin-1")))

    def _placed(self, service: str) -> str:
        return re.sub(r"\b(PHONE|OTHER|SHY|MUTE|ROBOT|NOBODY)\b", lambda found: self._lab.place(found[0]), service)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._lab.port)
            try:
                yield reader, writer
            finally:
                writer.close()


def _request(service: str) -> bytes:
    return b"%04x" % len(service) + service.encode()


async def _counted(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int(head, 16))


# ---- scenes ----


async def nothing_there(lab: Lab, notes: Notes) -> None:
    """A server without devices."""
    del lab
    for service in (
        "host:version", "host:devices", "host:devices-l", "host:features", "host:host-features", "host:get-state",
        "host:get-serialno", "host:transport-any", "host:transport-usb", "host:transport-local",
        "host:transport:nobody", "host:transport-id:99", "host:tport:any", "host:tport:serial:nobody",
        "host-serial:nobody:get-state", "host-serial:nobody:features", "host-serial:nobody:get-serialno",
        "host-transport-id:99:features", "host-serial:nobody:list-forward", "host:list-forward", "host:connect:NOBODY",
        "host:connect:", "host:disconnect:NOBODY", "host:disconnect:", "host:nonsense", "host-serial:nobody:nonsense",
        "host-serial:nobody:wait-for-any-nonsense", "nonsense", "shell:true", "sync:",
    ):  # fmt: skip
        await notes.ask(service)
    await notes.send(b"zzzz")


async def one_device(lab: Lab, notes: Notes) -> None:
    """A device on the network, from its first connection on."""
    del lab
    await notes.ask("host:connect:PHONE")
    for service in (
        "host:connect:PHONE", "host:devices", "host:devices-l", "host:features", "host:get-state", "host:get-serialno",
        "host-serial:PHONE:get-state", "host-serial:PHONE:get-serialno", "host-serial:PHONE:features",
        "host-serial:PHONE:nonsense", "host-transport-id:1:features", "host-serial:PHONE:wait-for-any-device",
        "host-serial:PHONE:forward:tcp:0;tcp:1", "host:list-forward", "host-serial:PHONE:list-forward",
        "host-serial:PHONE:killforward:tcp:7", "host-serial:PHONE:killforward-all", "host:list-forward", "shell:true",
    ):  # fmt: skip
        await notes.ask(service)
    for service in (ECHO, PICTURE, "nonsense"):
        await notes.ask("host:transport:PHONE", service)
    for way in ("host:transport-any", "host:transport-local", "host:transport-usb", "host:transport-id:1"):
        await notes.ask(way, PICTURE)
    for way in ("host:tport:any", "host:tport:serial:PHONE"):
        await notes.ask(way, PICTURE)
    await notes.ask("host:disconnect:PHONE")
    await notes.ask("host:devices")


async def several_devices(lab: Lab, notes: Notes) -> None:
    """Two devices, of which none is named."""
    await notes.ask("host:connect:PHONE")
    await notes.ask("host:connect:OTHER")
    for service in ("host:features", "host:get-state", "host:transport-any", "host:tport:any", "shell:true"):
        await notes.ask(service)
    async with notes.waiting("host-serial:ROBOT:wait-for-any-device"):
        await lab.begin_emulator()
    await notes.ask("host-serial:ROBOT:features")
    await notes.ask("host:disconnect:")


async def not_allowed(lab: Lab, notes: Notes) -> None:
    """A device that has not allowed this host."""
    del lab
    await notes.ask("host:connect:SHY")
    for service in (
        "host:connect:SHY", "host:devices", "host:devices-l", "host:get-state", "host-serial:SHY:get-state",
        "host-serial:SHY:features", "host-serial:SHY:get-serialno", "host:transport:SHY", "host:transport-any",
    ):  # fmt: skip
        await notes.ask(service)


async def no_answer(lab: Lab, notes: Notes) -> None:
    """A device that takes a connection and says nothing: the server waits ten seconds for it."""
    del lab
    await notes.ask("host:connect:MUTE")
    for service in (
        "host:connect:MUTE", "host:devices", "host:devices-l", "host-serial:MUTE:get-state",
        "host-serial:MUTE:features", "host:transport:MUTE", "host:transport-any", "host:disconnect:MUTE",
    ):  # fmt: skip
        await notes.ask(service)


async def an_emulator_comes_and_goes(lab: Lab, notes: Notes) -> None:
    """What is told of it to those who follow the list."""
    async with notes.following("host:track-devices", 4), notes.following("host:track-devices-l", 4):
        async with notes.waiting("host-serial:ROBOT:wait-for-any-device"):
            await lab.begin_emulator()
        await notes.ask("host:transport-local", PICTURE)
        async with notes.waiting("host:transport:ROBOT", STAYS):
            await lab.cut("ROBOT")
    await notes.ask("host:devices")
    await notes.ask("host:transport:ROBOT")


async def a_device_on_the_network_goes(lab: Lab, notes: Notes) -> None:
    """The server does not take it off its list: it tries to have it again. Nobody who follows the list is told."""
    await notes.ask("host:connect:PHONE")
    async with notes.following("host:track-devices", 2):
        async with notes.waiting("host:transport:PHONE", STAYS):
            await lab.cut("PHONE")
        for service in ("host:devices", "host:devices-l", "host-serial:PHONE:features", "host:connect:PHONE"):
            await notes.ask(service)
        await notes.ask("host:disconnect:PHONE")


SCENES: dict[str, Scene] = {
    each.__name__: each
    for each in (
        nothing_there,
        one_device,
        several_devices,
        not_allowed,
        no_answer,
        an_emulator_comes_and_goes,
        a_device_on_the_network_goes,
    )
}


async def play(scene: str, lab: Lab) -> list[list[str]]:
    """The pairs of a scene: what was asked, and what was answered."""
    notes = Notes(lab)
    await SCENES[scene](lab, notes)
    return [list(line) for line in notes.lines]
