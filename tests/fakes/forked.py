"""Processes of the product that begin in milliseconds: they are forked from one that has imported it.

To import a coordinator takes a second of CPU, and the tests begin hundreds. What is forked is a process of its own like
any other: its log, its folder, its signals, its death. Tests of how the interpreter begins, and of what a process looks
like from outside, start it themselves.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from tests.fakes.fork_server import IMPORTED, MESSAGE_BYTES

PATH = "PYTHONPATH"


class Process(Protocol):
    """What a started process can do, as `subprocess.Popen` does it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


def begin(
    command: Sequence[str], environ: Mapping[str, str], folder: Path, log: IO[bytes], errors: IO[bytes] | None = None
) -> Process:
    """Starts the command with its output in the log: forked if it is a program of the product, else by itself.

    `errors` takes what it says beside that, if that is not the log too.
    """
    errors = errors or log
    known = list(command[:2]) == [sys.executable, "-m"] and command[2] in IMPORTED
    if known and sys.platform == "linux":
        server = _server()
        if environ.get(PATH) == server.path:  # else it imports something else
            return server.begin(command[2], command[3:], environ, folder, (log, errors))
    return subprocess.Popen(
        list(command), env=dict(environ), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=errors
    )


class _Server:
    """The process that forks, one for each process that tests."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.path = os.environ.get(PATH)
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            command = [sys.executable, "-m", "tests.fakes.fork_server", str(other.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL)
        self._ended: dict[int, int] = {}
        atexit.register(self._end)

    def begin(
        self,
        module: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        output: tuple[IO[bytes], IO[bytes]],
    ) -> Process:
        request = {"module": module, "arguments": list(arguments), "environ": dict(environ), "folder": str(folder)}
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno() for file in output]))]
        self._channel.sendmsg([json.dumps(request).encode()], files)
        while (pid := self._hear()) is None:
            pass
        return _Forked(self, pid)

    def _hear(self) -> int | None:
        """The next message: the pid of a process that has begun, or None when it tells of one that has ended."""
        message = self._channel.recv(MESSAGE_BYTES)
        assert message, f"the process that forks ended with {self._process.wait()}"
        said = json.loads(message)
        if "pid" in said:
            pid: int = said["pid"]
            self._ended.pop(pid, None)  # of an earlier process with this number
            return pid
        self._ended[said["ended"]] = os.waitstatus_to_exitcode(said["status"])
        return None

    def code(self, pid: int, timeout: float | None) -> int | None:
        """The exit code of a process that has ended, or ends in time."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            if pid in self._ended:
                return self._ended[pid]
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._channel], [], [], left)[0]:
                return None
            self._hear()

    def _end(self) -> None:
        if os.getpid() == self.owner:
            self._channel.close()
            self._process.wait()


class _Forked:
    """A process that was forked."""

    def __init__(self, server: _Server, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.code(self.pid, 0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            self.returncode = self._server.code(self.pid, timeout)
            if self.returncode is None:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Of a process that has ended nothing hears it."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


_servers: list[_Server] = []


def _server() -> _Server:
    if not _servers or _servers[-1].owner != os.getpid():
        _servers.append(_Server())
    return _servers[-1]
