"""Child processes: started with a clean environment, measured from outside, always ended."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

STOP_SECONDS = 15.0
_LOG_TAIL_CHARACTERS = 800
_KIB_PER_MIB = 1024
MICROSECONDS = 1_000_000
"""In a second."""
_PORTS: tuple[int, ...] = (*range(10_240, 18_200), *range(23_200, 32_768))
"""None of those that an agent's devices may have: tests of agents run beside others."""
_PORT_TRIES = 100
# What a child inherits. A setting of qgjob in the caller's environment must not change what is measured.
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """A figure could not be measured; the message says why."""


def free_port() -> int:
    """A TCP port that nobody listens on now, below those that Linux and macOS give to the local end of connections.

    A port that the kernel picks itself is one of those: a client's connection can take it before the server binds it.
    """
    for _ in range(_PORT_TRIES):
        port = random.choice(_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchError(f"none of {_PORT_TRIES} ports of {_PORTS[0]}-{_PORTS[-1]} is free: stop what uses them")


def module(name: str, *arguments: str) -> list[str]:
    """The command line that runs a Python module with this interpreter."""
    return [sys.executable, "-m", name, *arguments]


class Child:
    """One process; its output goes to `{name}.log` in `folder`, where it also runs. A context manager that ends it."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        # -m finds the bench's own modules from the checkout, whatever folder the child runs in.
        environ = {
            **inherited,
            "PYTHONPATH": ":".join(
                map(str, (ROOT, ROOT / "coordinator", ROOT / "agent", ROOT / "client", ROOT / "proto/generated"))
            ),
            **(env or {}),
        }
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def check(self, *, may_end: bool = False) -> None:
        """Raises BenchError with the end of its output when it has ended; with `may_end`, only when it failed."""
        code = self._process.poll()
        if code is not None and not (may_end and code == 0):
            raise BenchError(f"{self.name} ended with exit code {code}: {self.output()[-_LOG_TAIL_CHARACTERS:]}")

    def output(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(errors="replace")

    def wait(self, seconds: float) -> str:
        """Its whole output, when it has ended by itself. Raises BenchError when it failed or takes longer."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise BenchError(
                f"{self.name} did not end within {seconds:g} s: {self.output()[-_LOG_TAIL_CHARACTERS:]}"
            ) from None
        if code != 0:
            raise BenchError(f"{self.name} ended with exit code {code}: {self.output()[-_LOG_TAIL_CHARACTERS:]}")
        return self.output()

    def stop(self) -> None:
        """Ends it: TERM, and KILL when that is not enough."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        """User and system time that it has used so far."""
        return cpu_seconds(self.pid)

    def peak_rss_mb(self) -> float:
        """The most memory that it had at once, in MiB."""
        return peak_rss_mb(self.pid)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def peak_rss_mb(pid: int) -> float:
    """The high-water mark of a process's resident memory in MiB; where the kernel keeps none, its present size."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return float(psutil.Process(pid).memory_info().rss) / _KIB_PER_MIB**2
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / _KIB_PER_MIB
