"""`npm ci`, with its last words where it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.suites.base import SuiteAwayError, SuiteUnresolvedError

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = ("ci", "--include=dev", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier")
_TAIL_BYTES = 16_384
_TAIL_LINES = 8
_OF_THE_SUITE = re.compile(r"^npm (?:error|ERR!) code (EUSAGE|EJSONPARSE|EINVALIDPACKAGENAME)$", re.MULTILINE)
"""What no other try, here or on another host, would change."""
_NOISE = re.compile(r"npm (?:error|ERR!)(?: A complete log of this run| *$)|.*\d{4}-\d\d-\d\dT.*-debug-0\.log")
_HELP = re.compile(r"npm (?:error|ERR!) (?:Clean install a project|Usage:)")
"""What follows after a wrong use explains npm, and not what is wrong."""
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Npm:
    """How npm is run. `environ` is what it may inherit: what tests may."""

    program: str
    environ: dict[str, str]
    seconds: float

    async def ci(self, folder: Path) -> None:
        """Installs in a folder. Raises SuiteUnresolvedError, SuiteAwayError; cancelled, it ends what it began."""
        try:
            process = await asyncio.create_subprocess_exec(
                self.program,
                *_WORDS,
                cwd=folder,
                env=self.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            what = "is not on PATH of this agent" if isinstance(error, FileNotFoundError) else error.strerror
            raise SuiteAwayError(f"{self.program} can't be started: {what}; install node, or set suites.npm") from error
        try:
            async with asyncio.timeout(self.seconds):
                tail = await _tail_of(process)
                code = await process.wait()
        except TimeoutError:
            raise SuiteAwayError(f"npm ci took more than {self.seconds:g} s (suites.install_seconds)") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # all of it: scripts of packages begin what they like
            await process.wait()
        if code != 0:
            said = f"npm ci failed with exit code {code}: {last_lines(tail)}"
            raise (SuiteUnresolvedError if _OF_THE_SUITE.search(tail) else SuiteAwayError)(said)


def last_lines(text: str) -> str:
    """The last lines that tell something, on one."""
    lines = [line.strip() for line in _CONTROL.sub("", text).splitlines()]
    help_at = next((at for at, line in enumerate(lines) if _HELP.match(line)), len(lines))
    told = [line for line in lines[:help_at] if line and not _NOISE.match(line)]
    return " | ".join(told[-_TAIL_LINES:]) or "it said nothing"


async def _tail_of(process: asyncio.subprocess.Process) -> str:
    """The end of what it says, once it has said all."""
    tail = b""
    if process.stdout is not None:
        while data := await process.stdout.read(_TAIL_BYTES):
            tail = (tail + data)[-_TAIL_BYTES:]
    return tail.decode(errors="replace")
