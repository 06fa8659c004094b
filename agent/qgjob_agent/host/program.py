"""Runs tools of the host: in a process group of their own, within a bound, and nothing of them lives afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import psutil

from qgjob_agent.tasks import wait_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MAX_OUTPUT_BYTES = 256 * 1024
_DEATH_SECONDS = 10.0
_POLL_SECONDS = 0.01


class HostError(Exception):
    """A program of this host can't be used, which is no device's fault. The message says what to do."""


class ProgramError(HostError):
    """The program can't be started, or not be ended. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: all that it printed, up to a bound, and its exit code; None where it took too long.

    `errors` is what it printed as such, where that was asked for apart; else it stands in `output`.
    """

    code: int | None
    output: str
    errors: str = ""


async def run_program(
    argv: Sequence[str],
    environ: Mapping[str, str],
    seconds: float,
    *,
    advice: str,
    apart: bool = False,
    most_bytes: int = MAX_OUTPUT_BYTES,
    last: bool = False,
    cwd: Path | None = None,
) -> Ended:
    """Runs a program. When this returns or is cancelled, its process group is dead; a server of it has left that.

    `advice` says what to do where it can't be started, `apart` that errors are not to be mixed with the rest, `last`
    that of what it printed the end is wanted and not the beginning. Errors: ProgramError where it can't be started, or
    not be ended; who was cancelled is not told the latter.
    """
    with _files(argv[0]) as (output, errors):
        try:
            process = await _start(argv, environ, output, errors if apart else subprocess.STDOUT, cwd)
        except OSError as error:
            why = error.strerror or str(error)
            raise ProgramError(f"{argv[0]!r} can't be started ({why}): {advice}") from error
        try:
            async with asyncio.timeout(seconds):
                code: int | None = await process.wait()
        except TimeoutError:
            code = None
        finally:
            ending = asyncio.ensure_future(_end(process, argv[0]))
            await wait_out(ending)
        ending.result()  # not before: it would replace a cancel
        return Ended(code, _said(output, most_bytes, last=last), _said(errors, MAX_OUTPUT_BYTES))


async def _start(
    argv: Sequence[str], environ: Mapping[str, str], output: IO[bytes], errors: IO[bytes] | int, cwd: Path | None
) -> asyncio.subprocess.Process:
    """Who is cancelled meanwhile has its group dead too: asyncio would end the process alone. Errors: OSError."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    )
    try:
        await wait_out(starting)
    except asyncio.CancelledError:
        if starting.exception() is None:
            await wait_out(asyncio.ensure_future(_end(starting.result(), argv[0])))
        raise
    return starting.result()


@contextmanager
def _files(name: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """For what it prints. No pipes: those would be open for as long as a server lives."""
    with ExitStack() as stack:
        try:
            files = stack.enter_context(tempfile.TemporaryFile()), stack.enter_context(tempfile.TemporaryFile())
        except OSError as error:
            why = error.strerror or str(error)
            raise ProgramError(f"{name!r} can't be started: there is no room for what it prints ({why})") from error
        yield files


def _said(file: IO[bytes], most_bytes: int, *, last: bool = False) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - most_bytes, 0) if last else 0)
    return file.read(most_bytes).decode(errors="replace")


async def _end(process: asyncio.subprocess.Process, name: str) -> None:
    """Kills the group, what the program started included, and sees it dead. Errors: ProgramError."""
    try:
        async with asyncio.timeout(_DEATH_SECONDS):
            if _kill(process.pid):
                await process.wait()
            while _kill(process.pid) and _lives(process.pid):  # noqa: ASYNC110 - a foreign process tells no event
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise ProgramError(
            f"{name} (process group {process.pid}) would not die: what ignores SIGKILL is stuck in the kernel; "
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
