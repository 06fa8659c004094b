"""A program of the product as its users run it: a process, its settings in the environment, its log in a file."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.forked import Process, begin
from tests.fakes.waiting import until

STOP_SECONDS = 30.0
_INHERITED = ("PATH", "HOME", "PYTHONPATH")
_CLI = "import sys; from qgjob.cli import main; sys.exit(main())"


class Program:
    """`python -m <module>`, or `qgjob`. Logs JSON lines, of which `events` gives those of the present life.

    `patience_seconds`: how long `says` waits, if not as long as `until`. `prefix`: words before the command line, of a
    program that becomes it.
    """

    patience_seconds: float | None = None

    def __init__(
        self, name: str, module: str, folder: Path, environ: Mapping[str, object], arguments: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.folder = folder
        self.environ = {k: str(v) for k, v in environ.items()}
        run = ("-c", _CLI) if module == "qgjob" else ("-m", module)
        self._command = [sys.executable, *run, *arguments]
        self.prefix: Sequence[str] = ()
        self._log = folder / f"{name}.log"
        self._begins_at = 0
        self.started_at = 0.0
        """When the present life began, in seconds since 1970."""
        self._process: Process | None = None
        self._paused = False

    @property
    def pid(self) -> int:
        """Of the present life."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """False before the start and after the end."""
        return self._process is not None and self._process.poll() is None

    def start(self, **changes: object) -> None:
        """Begins a life; `changes` to the environment stay for later lives."""
        assert not self.running, f"{self.name} runs"
        self.environ |= {k: str(v) for k, v in changes.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        keep = {k: os.environ[k] for k in _INHERITED if k in os.environ}
        with self._log.open("ab") as log:
            self._begins_at = log.tell()
            self.started_at = time.time()
            self._process = begin([*self.prefix, *self._command], keep | self.environ, self.folder, log)
        self._paused = False

    # Signals.

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """SIGCONT."""
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        if self.running:
            self._signal(signal.SIGKILL)
            assert self._process is not None
            self._process.wait(STOP_SECONDS)

    def hang_up(self) -> None:
        """SIGHUP."""
        self._signal(signal.SIGHUP)

    def terminate(self) -> None:
        """SIGTERM; `exit_code` waits for the end."""
        self.resume()
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def exit_code(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for the end."""
        process = self._process
        assert process is not None
        await until(lambda: process.poll() is not None, lambda: f"{self.name} runs on:\n{self.said()}", seconds=seconds)
        return process.wait()

    async def end(self) -> None:
        """Ends it in order if it does so in time, else at once."""
        if not self.running:
            return
        self.terminate()
        try:
            await self.exit_code()
        finally:
            self.kill()

    # The log.

    def said(self) -> str:
        """The log of the present life."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as log:
            log.seek(self._begins_at)
            return log.read().decode(errors="replace")

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of one event, with these fields."""
        found = []
        for line in self.said().splitlines():
            if f'"{name}"' in line and line.startswith("{") and line.endswith("}"):
                event: dict[str, Any] = json.loads(line)
                if event["event"] == name and all(event.get(k) == v for k, v in fields.items()):
                    found.append(event)
        return found

    async def says(self, name: str, *, times: int = 1, **fields: object) -> dict[str, Any]:
        """Waits for the event, for its `times`-th line. Raises AssertionError with the log when it does not come."""

        def look() -> list[dict[str, Any]] | None:
            found = self.events(name, **fields)
            if len(found) < times and not self.running:
                raise AssertionError(f"{self.name} ended without saying {name} {fields}:\n{self.said()}")
            return found if len(found) >= times else None

        silent = f"{self.name} does not say {name} {fields}"
        found: list[dict[str, Any]] = await until(
            look, lambda: f"{silent}:\n{self.said()}", seconds=self.patience_seconds
        )
        return found[times - 1]


def processes_of(folder: Path) -> dict[int, str]:
    """Living processes that work in the folder, or have it in their environment or command line (Linux).

    By pid, with their command line.
    """
    mark = os.fsencode(folder)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
            works_in = os.fsencode((entry / "cwd").readlink())
            if any(mark in place for place in (line, works_in, (entry / "environ").read_bytes())):
                found[int(entry.name)] = line.replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it ended, or is another user's
    return {pid: line for pid, line in found.items() if line}


async def end_leftovers(folder: Path, patience_seconds: float) -> dict[int, str]:
    """Gives processes of the folder time to end, then kills those that did not: they are returned."""
    with contextlib.suppress(AssertionError):
        await until(lambda: not processes_of(folder), "processes are left", seconds=patience_seconds)
    left = processes_of(folder)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
