"""The `qgjob` command as people and CI run it: a process of its own, forked from one that has imported it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

from tests.fakes.forked import PATH, begin

COMMAND = "tests.fakes.qgjob_command"
COMMAND_SECONDS = 120.0
"""A command that takes longer hangs."""


class Done(NamedTuple):
    """What a command exited with, and what it printed."""

    code: int
    out: str
    err: str


async def qgjob(folder: Path, *arguments: str, seconds: float = COMMAND_SECONDS, **environ: str) -> Done:
    """Runs it in a folder, which is its home too, without any setting of the environment but those of `environ`."""
    return await asyncio.to_thread(run, folder, arguments, environ, seconds)


def run(folder: Path, arguments: tuple[str, ...], environ: Mapping[str, str], seconds: float = COMMAND_SECONDS) -> Done:
    """The same for who has no loop."""
    keep = {name: os.environ[name] for name in ("PATH", PATH) if name in os.environ} | {"HOME": str(folder)}
    command = [sys.executable, "-m", COMMAND, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = begin(command, keep | environ, folder, out, err)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out.seek(0)
        err.seek(0)
        return Done(code, out.read().decode(), err.read().decode())


class Running:
    """A command that runs, with the pipes, signals and end of a `subprocess.Popen`; what it prints fits into a pipe.

    `environ` is all that it has in its environment. `stdout` and `stderr` are files in the place of pipes.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        module: str = COMMAND,
        *,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with os.fdopen(out_end, "wb") as out_pipe, os.fdopen(err_end, "wb") as err_pipe:
            command = [sys.executable, "-m", module, *arguments]
            self._process = begin(command, environ, folder, stdout or out_pipe, stderr or err_pipe)
        self.pid = self._process.pid
        self.stdout, self.stderr = os.fdopen(out), os.fdopen(err)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It ends at once."""
        self.kill()
        self.communicate()

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, when it has ended. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def send_signal(self, sig: int) -> None:
        """Of a command that has ended nothing hears it."""
        self._process.send_signal(sig)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end: what it printed, and said beside that, since it was last read.

        Raises subprocess.TimeoutExpired.
        """
        self.wait(timeout)
        said = []
        for pipe in (self.stdout, self.stderr):
            said.append("" if pipe.closed else pipe.read())
            pipe.close()
        return said[0], said[1]
