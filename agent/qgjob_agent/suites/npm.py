"""`npm ci`, with its last words where it fails."""

from __future__ import annotations

import asyncio
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from qgjob_agent.host.process_tree import hunt
from qgjob_agent.host.program import ProgramError, run_program
from qgjob_agent.suites.base import SuiteAwayError, SuiteUnresolvedError

MARK = "QGJOB_PACKAGES_FOR"
"""In the environment of npm, with what is its agent's alone: by it the next life of one that was killed finds it."""
_ADVICE = "install node, or set suites.npm"
_LEFT_SECONDS = 5.0
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
    """How npm is run. `environ` is what it may inherit: what tests may; `mark` is what is this agent's alone."""

    program: str
    environ: dict[str, str]
    seconds: float
    mark: str

    async def ci(self, folder: Path) -> None:
        """Installs in a folder. Raises SuiteUnresolvedError, SuiteAwayError; cancelled, it ends what it began."""
        environ = {**self.environ, MARK: self.mark}
        argv = (self.program, *_WORDS)
        try:
            ended = await run_program(
                argv, environ, self.seconds, advice=_ADVICE, most_bytes=_TAIL_BYTES, last=True, cwd=folder
            )
        except ProgramError as error:
            raise SuiteAwayError(str(error)) from error
        if ended.code is None:
            raise SuiteAwayError(f"npm ci took more than {self.seconds:g} s (suites.install_seconds)")
        if ended.code != 0:
            said = f"npm ci failed with exit code {ended.code}: {last_lines(ended.output)}"
            raise (SuiteUnresolvedError if _OF_THE_SUITE.search(ended.output) else SuiteAwayError)(said)

    def node(self) -> str:
        """Which node it runs on, and on which kind of machine: what was compiled for one is nothing for another.

        A node is told from another one by its file. Raises OSError.
        """
        machine = f"{sys.platform} {platform.machine()}"
        found = shutil.which("node", path=self.environ.get("PATH", ""))
        if found is None:
            return machine  # npm will say so
        file = Path(found).resolve()
        status = file.stat()
        return f"{machine} {file} {status.st_size} {status.st_mtime_ns}"

    async def end_leftovers(self) -> list[int]:
        """Ends what an earlier life of this agent had begun that was killed; gives what would not die."""
        return await asyncio.to_thread(hunt, MARK, self.mark, None, _LEFT_SECONDS)


def last_lines(text: str) -> str:
    """The last lines that tell something, on one."""
    lines = [line.strip() for line in _CONTROL.sub("", text).splitlines()]
    help_at = next((at for at, line in enumerate(lines) if _HELP.match(line)), len(lines))
    told = [line for line in lines[:help_at] if line and not _NOISE.match(line)]
    return " | ".join(told[-_TAIL_LINES:]) or "it said nothing"
