"""`python -m tests.fakes.forking_up …` is `qgjob …`, for `up`: coordinator and agents are forked from its own process.

They are its children like those that it starts, with their logs, signals and deaths; that they begin by way of a new
interpreter, which takes some seconds of CPU, is what a test sees that starts `qgjob` itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any, Self

from qgjob.cli import main
from tests.fakes.fork_server import become

FORKED = ("qgjob_coordinator", "qgjob_agent")
_Popen = subprocess.Popen


class Forked:
    """What `up` asks of a `Popen`."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], stdout: Any, stderr: Any, *, own_session: bool
    ) -> None:
        self.returncode: int | None = None
        self._told: IO[str] | None = None
        ends: list[int] = []
        if stderr == subprocess.PIPE:
            told, end = os.pipe()
            self._told = os.fdopen(told)
            ends.append(end)
        nothing = os.open(os.devnull, os.O_WRONLY)
        ends.append(nothing)
        out = nothing if stdout == subprocess.DEVNULL else stdout.fileno()
        err = ends[0] if stderr == subprocess.PIPE else stderr.fileno()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(command, environ, (out, err), own_session=own_session)
        for end in ends:
            os.close(end)

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def communicate(self) -> tuple[None, str]:
        assert self._told is not None
        said = self._told.read()
        self.wait()
        return None, said

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._told is not None:
            self._told.close()
        self.wait()

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, how)
            if pid == self.pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _become(command: Sequence[str], environ: Mapping[str, str], output: tuple[int, int], *, own_session: bool) -> None:
    """Returns never. What the process that forks has open is not open here, and its loop's signals are not heard."""
    try:
        subprocess.Popen = _Popen  # type: ignore[misc]
        signal.set_wakeup_fd(-1)
        if own_session:
            os.setsid()
        most = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - names are all that is wanted
        for descriptor in set(range(3, most + 1)) - {*output}:
            try:
                os.close(descriptor)
            except OSError:
                continue
        become(command[2], command[3:], environ, output)
    finally:
        os._exit(1)


def _start(command: Sequence[str], **options: Any) -> Any:
    if list(command[:2]) != [sys.executable, "-m"] or command[2] not in FORKED:
        return _Popen(command, **options)
    own_session = options.get("start_new_session", False)
    return Forked(command, options["env"], options["stdout"], options["stderr"], own_session=own_session)


if __name__ == "__main__":
    sys.argv[0] = "qgjob"
    subprocess.Popen = _start  # type: ignore[assignment, misc]
    sys.exit(main())
