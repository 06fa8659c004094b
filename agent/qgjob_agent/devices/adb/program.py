"""Runs the adb program: in a process group of its own, within a bound, and nothing of it lives afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_OUTPUT_BYTES = 256 * 1024
_DEATH_SECONDS = 10.0
_POLL_SECONDS = 0.01


class AdbProgramError(Exception):
    """The adb program can't be started, or not be ended. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call of adb ended: all that it printed, up to 256 KiB, and its exit code; None where it took too long."""

    code: int | None
    output: str


async def run_adb(argv: Sequence[str], environ: Mapping[str, str], seconds: float) -> Ended:
    """Runs adb. When this returns or is cancelled, its process group is dead; a server that adb starts has left it.

    Errors: AdbProgramError where it can't be started.
    """
    with tempfile.TemporaryFile() as output:  # and no pipe: that would be open for as long as a server lives
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            why = error.strerror or str(error)
            raise AdbProgramError(
                f"{argv[0]!r} can't be started ({why}): install Android's platform tools, or name their adb in adb.adb"
            ) from error
        try:
            async with asyncio.timeout(seconds):
                code: int | None = await process.wait()
        except TimeoutError:
            code = None
        finally:
            await asyncio.shield(_end(process))
        output.seek(0)
        return Ended(code, output.read(_MAX_OUTPUT_BYTES).decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills the group, what the program started included, and sees it dead. Errors: AdbProgramError."""
    try:
        async with asyncio.timeout(_DEATH_SECONDS):
            if _kill(process.pid):
                await process.wait()
            while _kill(process.pid) and _lives(process.pid):  # noqa: ASYNC110 - a foreign process tells no event
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise AdbProgramError(
            f"adb (process group {process.pid}) would not die: what ignores SIGKILL is stuck in the kernel; "
            "unplug the device, or restart the host"
        ) from error


def _kill(group: int) -> bool:
    """False when nothing of the group is left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says the latter where all are dead and not yet reaped
        return False
    return True


def _lives(group: int) -> bool:
    """Whether something of the group is more than a zombie that nobody reaps."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (psutil.Error, OSError):
            continue
    return False
