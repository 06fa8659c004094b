"""The file service of adb: what `adb push`, `adb pull` and an installation without streaming ask for."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.adb_server.device import FakeDevice

_FILE, _FOLDER = 0o100644, 0o040755
_PIECE = 64 * 1024


async def serve_sync(device: FakeDevice, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until QUIT, or the end of the connection."""
    while True:
        kind, size = struct.unpack("<4sI", await reader.readexactly(8))
        if kind == b"QUIT":
            return
        path = (await reader.readexactly(size)).decode()
        if kind in (b"STA2", b"LST2"):
            writer.write(_stat_2(device, path, kind))
        elif kind == b"STAT":
            mode, length = _mode_of(device, path)
            writer.write(b"STAT" + struct.pack("<III", mode, length, 1_700_000_000))
        elif kind == b"LIST":
            writer.write(b"DONE" + bytes(16))
        elif kind == b"SEND":
            await _take(device, path.rpartition(",")[0], reader)
            writer.write(b"OKAY" + bytes(4))
        elif kind == b"RECV":
            _give(device, path, writer)
        else:
            _fail(writer, f"unknown command {kind!r}")
        await writer.drain()


def _mode_of(device: FakeDevice, path: str) -> tuple[int, int]:
    """Mode and size; zeros where there is nothing."""
    content = device.files.get(path)
    if content is not None:
        return _FILE, len(content)
    return (_FOLDER, 4096) if path.rstrip("/") in ("", "/data", "/data/local", "/data/local/tmp", "/sdcard") else (0, 0)


def _stat_2(device: FakeDevice, path: str, kind: bytes) -> bytes:
    mode, size = _mode_of(device, path)
    error = 0 if mode else 2  # ENOENT
    times = (1_700_000_000,) * 3
    return kind + struct.pack("<IQQIIIIQqqq", error, 1, 1, mode, 1, 0, 0, size, *times)


async def _take(device: FakeDevice, path: str, reader: asyncio.StreamReader) -> None:
    content = bytearray()
    while True:
        kind, size = struct.unpack("<4sI", await reader.readexactly(8))
        if kind == b"DONE":
            device.files[path] = bytes(content)
            return
        content += await reader.readexactly(size)


def _give(device: FakeDevice, path: str, writer: asyncio.StreamWriter) -> None:
    content = device.files.get(path)
    if content is None:
        _fail(writer, "No such file or directory")
        return
    for at in range(0, len(content), _PIECE):
        piece = content[at : at + _PIECE]
        writer.write(b"DATA" + struct.pack("<I", len(piece)) + piece)
    writer.write(b"DONE" + bytes(4))


def _fail(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(b"FAIL" + struct.pack("<I", len(text)) + text.encode())
