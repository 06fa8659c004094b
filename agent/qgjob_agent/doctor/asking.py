"""Asks programs and the file system, each within a bound: what hangs is left behind, or killed, and said."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_MOST_BYTES = 1_000_000
_DEATH_SECONDS = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program printed, and its exit code; None where it took too long and was killed."""

    code: int | None
    output: str
    errors: str

    @property
    def first_line(self) -> str:
        """The first line that says something."""
        lines = f"{self.output}\n{self.errors}".splitlines()
        return next((line.strip() for line in lines if line.strip()), "")[:300]


def located(program: str, environ: Mapping[str, str], cwd: Path | None = None) -> str | None:
    """Where a program is that these variables are handed to; None where it is not."""
    if "/" in program and cwd is not None:
        program = str(cwd / program)
    return shutil.which(program, path=os.pathsep.join(os.get_exec_path(dict(environ))))


async def ask(argv: Sequence[str], environ: Mapping[str, str], seconds: float, cwd: Path | None = None) -> Answer:
    """Runs a program, and has its process group killed when this returns or is cancelled.

    Raises OSError where it can't be started.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:  # no pipes: heirs would hold them
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environ),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        code: int | None = None
        try:
            async with asyncio.timeout(seconds):
                code = await process.wait()
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # all of it is dead
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):  # stuck in the kernel
                async with asyncio.timeout(_DEATH_SECONDS):
                    await process.wait()
        return Answer(code, _read(output), _read(errors))


def _read(file: Any) -> str:
    file.seek(0)
    return str(file.read(_MOST_BYTES).decode(errors="replace"))


async def beside(look: Callable[[], T]) -> T:
    """What a look at files gives. One that hangs, as on a share that is gone, keeps nobody from ending."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        try:
            found = look()
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            _tell(loop, answer, error=error)
        else:
            _tell(loop, answer, found)

    threading.Thread(target=work, daemon=True).start()
    return await answer


def _tell(
    loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], found: Any = None, error: BaseException | None = None
) -> None:
    def settle() -> None:
        if answer.done():  # nobody waits any more
            return
        if error is None:
            answer.set_result(found)
        else:
            answer.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(settle)
