"""The `qgjob` command as people and CI run it: a process of its own, forked from one that has imported it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.fakes.forked import PATH, begin

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
    command = [sys.executable, "-m", "tests.fakes.qgjob_command", *arguments]
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
