"""The whole system in a folder of its own: started by `qgjob up`, and ended with everything that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Sequence

START_SECONDS = 20.0
STOP_SECONDS = 15.0

_AGENT_CONFIG = Path(__file__).resolve().parent.parent / "agent-demo.toml"
UP = (str(Path(sys.executable).with_name("qgjob")), "up", "--agent-config", str(_AGENT_CONFIG))
"""The command that runs the whole system."""

# Below the ports that Linux and macOS give to the local end of connections, and none that an agent's devices may have.
_PORTS = (*range(10_240, 18_200), *range(23_200, 32_768))
_MARK = "QGJOB_DEMO_MARK"
# All that the stack sees of its caller's environment. A setting there, above all another store, must not leak into it.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


def free_ports(count: int) -> list[int]:
    """Different ports of this machine that nobody listens on and that no client's connection is given meanwhile."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"fewer than {count} ports of {_PORTS[0]}-{_PORTS[-1]} are free: stop what uses them")


def _tail(log: Path, lines: int) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class Stack:
    """One `qgjob up`. Use it as an async context manager; `left_running` is known when that has ended."""

    def __init__(self, folder: Path, command: Sequence[str] = UP) -> None:
        self.http_port, self.grpc_port = free_ports(2)
        self.left_running: list[str] = []
        self._folder = folder
        self._command = command
        self._log = folder / "up.log"
        self._mark = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where its gRPC API listens."""
        return f"localhost:{self.grpc_port}"

    async def __aenter__(self) -> Self:
        """Starts it, without waiting until it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own program; starting it takes no time
                self._command,
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the demo only, which then ends the stack in order
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends it, by force if it must, and notes what would not end."""
        assert self._process is not None
        family = self._family()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, STOP_SECONDS)
        self.left_running = self._survivors(family)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    def said(self, lines: int = 15) -> str:
        """The last lines that it printed, and those that its programs wrote to their logs."""
        logs = [self._log, *sorted(self._folder.glob(".qgjob/logs/*.log"))]
        return "\n".join(f"--- {log.name} ---\n{_tail(log, lines)}" for log in logs)

    def _environment(self) -> dict[str, str]:
        mine = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # The suite is run by the `python3` of this environment.
        path = f"{Path(sys.executable).parent}{os.pathsep}{mine.get('PATH', os.defpath)}"
        ports = {"QGJOB_PORT": str(self.http_port), "QGJOB_GRPC_PORT": str(self.grpc_port)}
        # A demo that is killed leaves nothing either: the stack ends when this process is gone.
        owner = {"QGJOB_PARENT_PID": str(os.getpid()), _MARK: self._mark}
        return {**mine, **ports, **owner, "PATH": path, "PYTHONUNBUFFERED": "1"}

    def _family(self) -> list[psutil.Process]:
        """The processes below `qgjob up`, while the parents still show whose children they are."""
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _survivors(self, family: list[psutil.Process]) -> list[str]:
        """Ends what outlived the stack, and returns a description of each."""
        found = {process.pid: process for process in family if process.is_running()}
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark or str(self._folder) in " ".join(process.cmdline()):
                    found[process.pid] = process
            except psutil.Error:
                continue  # another user's, or just gone
        survivors = []
        for process in found.values():
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                survivors.append(f"{process.pid} {' '.join(process.cmdline())}")
                process.kill()
            except psutil.NoSuchProcess:
                continue
        return survivors
