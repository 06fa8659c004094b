"""The private store of `qgjob up`."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob._errors import QgjobError
from qgjob.cli.children import Child, ended_with_this_process
from qgjob.cli.store_data import MULTI_PART_SINCE, is_multi_part, read_writer, unreadable, write_writer

if TYPE_CHECKING:
    from qgjob.cli.store_choice import StoreChoice
    from qgjob.cli.up_settings import StackSettings

START_SECONDS = 30.0
STOP_SECONDS = 5.0
PORT_TRIES = 5
_POLL_SECONDS = 0.02
_HOST = "127.0.0.1"
# What Redis and Valkey say of files in a format that is not theirs; and, alas, of damaged ones.
_UNREADABLE = re.compile(r"Bad file format|Can't handle RDB format version|Wrong signature")


class StackError(QgjobError):
    """A part of the stack could not start, or died. The message names it and shows the end of its log."""

    short = "stack"


class _UnreadableError(Exception):
    """A program can't read the data that are there."""


async def start_store(
    choices: Sequence[StoreChoice], settings: StackSettings, logs: Path, lock: int
) -> tuple[Child, str, StoreChoice]:
    """Start the first of the programs that can read the data folder; returns it, its URL, and which it is.

    It listens on a free port of loopback, its files are under that folder, and it holds `lock`, the lock on that
    folder, for as long as it lives. Raises StackError when it does not come to answer, or none can read what is there.
    """
    folder = settings.store
    folder.mkdir(parents=True, exist_ok=True)
    writer = read_writer(folder)
    for choice in choices:
        try:
            child, url = await _start(choice, settings, logs, lock)
        except _UnreadableError as error:
            if writer is not None and writer.program == choice.program and writer.version == choice.version:
                raise StackError(str(error)) from None  # not another program's data, but damaged ones
            continue
        write_writer(folder, choice)
        return child, url, choice
    raise StackError(unreadable(folder, writer, choices, logs))


async def _start(choice: StoreChoice, settings: StackSettings, logs: Path, lock: int) -> tuple[Child, str]:
    """As `start_store`, with one program. Raises _UnreadableError, with the end of its log, for another one's data."""
    folder = settings.store
    if choice.version is not None and choice.version < MULTI_PART_SINCE and is_multi_part(folder):
        raise _UnreadableError  # it would look past them, and begin with nothing
    for _ in range(PORT_TRIES):
        port = _free_port()
        command = store_command(choice, settings, folder, port)
        before = ended_with_this_process()
        child = Child("store", command, environment={}, logs=logs, inherits=[lock], before=before)
        answers = False
        try:
            answers = await _answers(child, port)
        finally:
            if not answers:
                await child.stop(STOP_SECONDS)
        if answers:
            return child, f"redis://{_HOST}:{port}"
        if _UNREADABLE.search(child.obituary()):
            raise _UnreadableError(child.obituary())
        if "Address already in use" not in child.obituary():
            raise StackError(child.obituary())
    raise StackError(f"the store found no free port in {PORT_TRIES} tries")


def store_command(choice: StoreChoice, settings: StackSettings, folder: Path, port: int) -> list[str]:
    """How the store is started: on loopback only, every write in an append-only file, nothing evicted."""
    options = {
        "bind": _HOST,
        "port": str(port),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": settings.durability,
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(choice.program), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


async def _answers(child: Child, port: int) -> bool:
    """Return when it answers to PING; False when it ended or took too long (reading a large file takes a while)."""
    loop = asyncio.get_running_loop()
    end = loop.time() + START_SECONDS
    while loop.time() < end and not child.ended:
        try:
            reader, writer = await asyncio.open_connection(_HOST, port)
        except OSError:
            await asyncio.sleep(_POLL_SECONDS)
            continue
        try:
            writer.write(b"PING\r\n")
            async with asyncio.timeout(START_SECONDS):  # wait_for of Python 3.11 may swallow a cancel
                answer = await reader.readline()
        except (OSError, TimeoutError):
            answer = b""
        finally:
            writer.close()
        # With a second look: another store on this port would answer for one that has just ended.
        if answer.startswith(b"+PONG") and not child.ended:
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False
