"""The smart-socket protocol of adb's server, without I/O: what is sent, and what the bytes that come mean."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from qgjob_agent.devices.refusals import DeviceSilentError

MAX_SERVICE_BYTES = 0xFFFF
MAX_SHELL_FRAME_BYTES = 16 * 1024 * 1024
_NO_SERIAL = frozenset({"", "????????????", "(no serial number)"})


class AdbProtocolError(DeviceSilentError):
    """What came is no answer of an adb server."""


class AdbRefusedError(DeviceSilentError):
    """The server answered FAIL, with this message."""


def request(service: str) -> bytes:
    """The bytes that ask for a service. Errors: ValueError where it is too long."""
    data = service.encode()
    if len(data) > MAX_SERVICE_BYTES:
        raise ValueError(f"a service of {len(data)} bytes can't be asked for; {MAX_SERVICE_BYTES} are the most")
    return b"%04x" % len(data) + data


class Answer:
    """The beginning of an answer: OKAY, or FAIL with a message. `feed` until it is `done`; then `rest` is what follows.

    Errors of feed: AdbRefusedError for FAIL, AdbProtocolError for anything else.
    """

    def __init__(self) -> None:
        self._data = b""
        self.done = False

    @property
    def rest(self) -> bytes:
        """What came after OKAY."""
        return self._data

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self._data += data
        if self.done or len(self._data) < 4:
            return
        status = self._data[:4]
        if status == b"OKAY":
            self._data, self.done = self._data[4:], True
        elif status != b"FAIL":
            raise AdbProtocolError(f"an answer begins with {status!r}, and OKAY or FAIL was expected")
        elif len(self._data) >= 8:
            size = _length(self._data[4:8])
            if len(self._data) >= 8 + size:
                raise AdbRefusedError(self._data[8 : 8 + size].decode(errors="replace").strip())


class Texts:
    """Texts with four hexadecimal digits of length before each, as lists of devices come, once or again."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[str]:
        """The texts that are complete with these bytes. Errors: AdbProtocolError."""
        self._data += data
        found = []
        while len(self._data) >= 4:
            end = 4 + _length(self._data[:4])
            if len(self._data) < end:
                break
            found.append(self._data[4:end].decode(errors="replace"))
            self._data = self._data[end:]
        return found


def _length(digits: bytes) -> int:
    text = digits.decode("ascii", errors="replace")
    if not all(each in "0123456789abcdefABCDEF" for each in text):
        raise AdbProtocolError(f"a length is {digits!r}, and four hexadecimal digits were expected")
    return int(text, 16)


class Stream(IntEnum):
    """What a frame of a shell carries."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW = 5


class ShellFrames:
    """The frames of a command that runs by the second protocol of shells."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[tuple[Stream, bytes]]:
        """The frames that are complete with these bytes. Errors: AdbProtocolError."""
        self._data += data
        found = []
        while len(self._data) >= 5:
            number, size = struct.unpack_from("<BI", self._data)
            if number > Stream.WINDOW or size > MAX_SHELL_FRAME_BYTES:
                raise AdbProtocolError(f"a frame of a shell has the id {number} and {size} bytes")
            if len(self._data) < 5 + size:
                break
            found.append((Stream(number), self._data[5 : 5 + size]))
            self._data = self._data[5 + size :]
        return found


@dataclass(frozen=True, slots=True)
class Listed:
    """A device as the server lists it. `state` is device, offline, unauthorized, and so on."""

    serial: str
    state: str


def parse_devices(text: str) -> list[Listed]:
    """The short list of devices, each once. What has no serial can't be told from others, and is left out."""
    found: dict[str, Listed] = {}
    for line in text.splitlines():
        serial, tab, state = line.partition("\t")
        if tab and serial not in _NO_SERIAL:
            found[serial] = Listed(serial, state.strip())
    return list(found.values())
