"""The coordinator as its users run it: a process on free ports, its log in a file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from bench.processes import free_port
from tests.fakes.forked import Process, begin
from tests.fakes.plain_http import NO_TLS
from tests.fakes.waiting import DEADLINE_SECONDS, pause_after

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class CoordinatorProcess:
    """One coordinator. `start` returns when it is ready, `stop` when its process has ended."""

    def __init__(self, folder: Path, redis_url: str, **environ: object) -> None:
        self.folder = folder
        self.log = folder / "coordinator.log"
        self.port = free_port()
        self.grpc_port = free_port()
        values = {
            "REDIS_URL": redis_url,
            "PORT": self.port,
            "GRPC_PORT": self.grpc_port,
        } | environ
        # Nothing of the caller's settings leaks in; the working folder has no `.env`.
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        self.environ = keep | {name: str(value) for name, value in values.items()}
        self.process: Process | None = None

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> str:
        """Where gRPC is served."""
        return f"127.0.0.1:{self.grpc_port}"

    def command(self) -> list[str]:
        """What the process runs."""
        return [sys.executable, "-m", "qgjob_coordinator"]

    def launch(self) -> None:
        """Starts the process, without waiting until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = begin(self.command(), self.environ, self.folder, log)

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self.launch()
        self.wait_for("/health/ready", 200)

    def wait_for(self, path: str, status: int) -> bytes:
        """Waits until the path answers with the status; the body. Raises AssertionError with the log."""
        assert self.process is not None
        begun = time.monotonic()
        last: object = "no answer"
        with httpx2.Client(verify=NO_TLS, timeout=5.0) as client:
            while (waited := time.monotonic() - begun) < START_SECONDS and self.process.poll() is None:
                try:
                    answer = client.get(self.url + path)
                    last, body = answer.status_code, answer.content
                except httpx2.TransportError as e:
                    last, body = e, b""
                if last == status:
                    return body
                time.sleep(pause_after(waited))
        raise AssertionError(f"{path}: {last}, not {status}; the log says:\n{self.said()}")

    def said(self) -> str:
        """What it logged."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def says(self, text: str) -> None:
        """Waits until it has logged this. Raises AssertionError with the log."""
        begun = time.monotonic()
        while text not in self.said():
            waited = time.monotonic() - begun
            assert waited < DEADLINE_SECONDS, f"{text!r} is not in:\n{self.said()}"
            time.sleep(pause_after(waited))

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
            raise AssertionError(f"it did not stop within {STOP_SECONDS:g} s; its log says:\n{self.said()}") from None

    def kill(self) -> None:
        """Kill -9. Harmless on one that has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
