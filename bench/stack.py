"""The programs under measurement: store, one coordinator, and an agent when a workload wants one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.processes import BenchError, Child, free_port, module
from bench.requests import ORG
from bench.store import Fsync, PrivateStore
from qgjob import Client, QgjobError
from qgjob_coordinator.store import keys

LOG_LEVEL = "warn"
START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_AGENT_TOML = """\
coordinator = "{address}"
agent_id = "bench"
state_dir = "{folder}/agent"
log_level = "{log_level}"
[simulated]
install_seconds = 0
test_seconds = [{least}, {most}]
[simulated.generate]
count = {devices}
"""


def wait_until(what: str, happened: Callable[[], bool], seconds: float, pause_seconds: float = _POLL_SECONDS) -> None:
    """Polls until it is so. Raises BenchError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not so within {seconds:g} s")
        time.sleep(pause_seconds)


class Stack:
    """Store and coordinator on free ports with their own folder. A context manager that ends all of it."""

    def __init__(self, fsync: Fsync = "everysec", coordinator: str = "qgjob_coordinator") -> None:
        self._fsync: Fsync = fsync
        self._coordinator_module = coordinator
        self._exits = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="qgjob-bench-"))
        self._exits.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.address = f"127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        try:
            self.store = self._exits.enter_context(PrivateStore(self._fsync))
            self.coordinator = self._start("coordinator", module(self._coordinator_module), self._settings())
            self.client = self._exits.enter_context(Client(self.address, timeout_seconds=START_SECONDS))
            wait_until("the coordinator serves", self._serving, START_SECONDS)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._exits.close()

    def _settings(self) -> dict[str, str]:
        return {
            "GRPC_PORT": self.address.rpartition(":")[2],
            "PORT": str(free_port()),
            "REDIS_URL": self.store.url,
            "LOG_LEVEL": LOG_LEVEL,
            "DURABILITY": self._fsync,
        }

    def _start(self, name: str, command: list[str], env: dict[str, str] | None = None) -> Child:
        return self._exits.enter_context(Child(name, command, self.folder, env))

    def _serving(self) -> bool:
        self.coordinator.check()
        try:
            return self.client.health().serving
        except QgjobError:
            return False

    def start_agent(
        self,
        devices: int,
        test_seconds: tuple[float, float] = (0, 0),
        program: str = "qgjob_agent",
        env: dict[str, str] | None = None,
    ) -> Child:
        """An agent with so many simulated devices; returns when the coordinator knows them all."""
        config = self.folder / "agent.toml"
        least, most = test_seconds
        config.write_text(
            _AGENT_TOML.format(
                address=self.address, folder=self.folder, log_level=LOG_LEVEL, least=least, most=most, devices=devices
            )
        )
        agent = self._start("agent", module(program, "--config", str(config)), env)

        def joined() -> bool:
            agent.check()
            return self.client.stats().scheduler.devices.total == devices

        wait_until("the agent's devices are known", joined, START_SECONDS)
        return agent

    def start_load(self, *arguments: str) -> Child:
        """A process that submits; its output is one JSON object."""
        return self._start("load", module("bench.load", "--address", self.address, *arguments))

    def completed(self) -> int:
        """Jobs of the workloads' org that the store has as completed; asked of the store, to leave others alone."""
        return int(self.store.client.zcard(f"{keys.org(ORG)}ix:c"))
