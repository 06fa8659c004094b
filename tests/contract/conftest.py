"""A real coordinator with one real agent, over a store of their own, for all tests of the contract.

They end with the last of them, so that later tests have the machine to themselves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import httpx2
import pytest

from tests.contract.rest import RestApi
from tests.contract.rpc import RpcApi
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.plain_http import NO_TLS
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import POLL_SECONDS

ORIGIN = "https://ci.example"
STOP_SECONDS = 10.0

# Real devices only, so that what asks for an emulator or a cloud session waits for ever.
AGENT = """
coordinator = ["{target}"]
agent_id = "agent-1"
state_dir = "state"
[simulated]
install_seconds = 0.0
test_seconds = [0.0, 0.0]
[[devices]]
udid = "A1"
device_id = "device-1"
target = "device"
platform = "android"
os_version = "14"
model = "Pixel 8"
labels = {{ rack = "a1" }}
[[devices]]
udid = "A2"
device_id = "device-2"
target = "device"
"""


@pytest.fixture(scope="package")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    folder = tmp_path_factory.mktemp("contract")
    store = StoreProcess(folder / "store")
    store.start()
    process = CoordinatorProcess(folder / "coordinator", store.url, ALLOWED_ORIGINS=ORIGIN)
    try:
        process.start()
        yield process
    finally:
        process.kill()
        store.stop()


@pytest.fixture(scope="package")
def fleet(coordinator: CoordinatorProcess) -> Iterator[CoordinatorProcess]:
    """The coordinator, once its agent is online."""
    folder = coordinator.folder.parent / "agent"
    folder.mkdir()
    config = folder / "agent.toml"
    config.write_text(AGENT.format(target=coordinator.target))
    agent = _agent(folder, config)
    try:
        while b'"device-2"' not in coordinator.wait_for("/api/jobs/devices", 200):
            assert agent.poll() is None, (folder / "agent.log").read_text()
            time.sleep(POLL_SECONDS)
        yield coordinator
    finally:
        agent.send_signal(signal.SIGTERM)
        try:
            agent.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.wait(STOP_SECONDS)


def _agent(folder: Path, config: Path) -> subprocess.Popen[bytes]:
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    with (folder / "agent.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "qgjob_agent", "--config", str(config)],
            cwd=folder,
            env=keep,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@pytest.fixture
async def http(coordinator: CoordinatorProcess) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=coordinator.url, verify=NO_TLS, timeout=20.0) as client:
        yield client


@pytest.fixture
def rest(http: httpx2.AsyncClient) -> RestApi:
    return RestApi(http)


@pytest.fixture
async def rpc(coordinator: CoordinatorProcess) -> AsyncIterator[RpcApi]:
    async with grpc.aio.insecure_channel(coordinator.target) as channel:
        yield RpcApi(channel)
