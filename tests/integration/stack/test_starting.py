"""A coordinator's start: what is missing or wrong is said in one line, and what may come is waited for."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from bench.processes import free_port
from qgjob import AsyncClient
from tests.fakes.program import Program
from tests.fakes.store_process import StoreProcess

Start = Callable[..., Program]
EXIT_FAILED = 1
EXIT_USAGE = 2


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a coordinator with these settings; ended with the test."""
    started: list[Program] = []

    def begin(*, arguments: Sequence[str] = (), **settings: object) -> Program:
        values = {"PORT": 0, "GRPC_PORT": 0, "ENVIRONMENT": "production"} | settings
        program = Program(f"coordinator-{len(started)}", "qgjob_coordinator", tmp_path, values, arguments)
        started.append(program)
        program.start()
        return program

    yield begin
    for program in started:
        await program.end()


async def test_without_a_store_it_says_so_keeps_trying_and_becomes_ready(start: Start, tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store")
    store.port = free_port()
    coordinator = start(REDIS_URL=f"redis://:secret@127.0.0.1:{store.port}", GRPC_PORT=(port := free_port()))
    away = await coordinator.says("store_away")
    assert away["url"] == f"redis://127.0.0.1:{store.port}"
    assert away["error"] == "the store is away (connection refused)"
    assert away["what_to_do"] == "start the store, or mend REDIS_URL; the coordinator keeps trying by itself"
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        assert not (await client.health()).serving
        store.start()
        try:
            with store.client() as redis:
                redis.config_set("requirepass", "secret")
            await coordinator.says("coordinator_ready")
            assert (await client.health()).serving
        finally:
            await coordinator.end()
            store.stop()
    assert coordinator.running is False


@pytest.mark.parametrize("setting", ["GRPC_PORT", "PORT"])
async def test_a_port_in_use_is_named_and_may_be_tried_again(start: Start, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        coordinator = start(**{setting: port})
        assert await coordinator.exit_code() == EXIT_FAILED
    (waited,) = coordinator.events("port_taken")
    assert waited["setting"] == setting
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert coordinator.said().splitlines()[-1] == (
        f"error: {setting}: {port} (from the environment) can't be used on 127.0.0.1 (Address already in use): "
        f"{name} (process {os.getpid()}) listens there; end it, or set another port"
    )


@pytest.mark.parametrize("arguments", [(), ("--processes", "1")])
async def test_a_port_that_a_connection_has_for_a_moment_is_waited_for(
    start: Start, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """As any program's may, where the port lies in the range that the kernel takes their local ports from."""
    store = StoreProcess(tmp_path / "store")
    store.start()
    try:
        with socket.socket() as caller, socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            caller.bind(("127.0.0.1", 0))  # a port that no other connection shares
            caller.connect(listener.getsockname())
            port = caller.getsockname()[1]
            coordinator = start(arguments=arguments, REDIS_URL=store.url, GRPC_PORT=port)
            waits = await coordinator.says("port_taken")
            assert f"the local port of a connection to 127.0.0.1:{listener.getsockname()[1]}" in waits["error"]
            assert f"net.ipv4.ip_local_reserved_ports={port}" in waits["error"]
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves nothing behind
        assert (await coordinator.says("coordinator_ready"))["grpc_port"] == port
        await coordinator.end()
    finally:
        store.stop()


async def test_a_stop_while_it_waits_for_a_port_ends_it_at_once(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for arguments in ((), ("--processes", "1")):
            coordinator = start(arguments=arguments, GRPC_PORT=taken.getsockname()[1])
            await coordinator.says("port_taken")
            coordinator.terminate()
            assert await coordinator.exit_code() == 0
            assert "error:" not in coordinator.said()


async def test_an_address_that_is_not_there_blames_the_address(start: Start) -> None:
    coordinator = start(HOST="nowhere.invalid")
    assert await coordinator.exit_code() == EXIT_USAGE
    (said,) = coordinator.said().splitlines()
    assert said.startswith("error: HOST: 'nowhere.invalid' (from the environment) is no address of this machine")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"GRPC_PORT": "many"},
            "GRPC_PORT: 'many' (from the environment) is not a whole number; give one from 0 to 65535",
        ),
        ({"QGJOB_LEASE_SECONDS": "-1"}, "QGJOB_LEASE_SECONDS: '-1' (from the environment) is out of range"),
        ({"LEASE_SECONDS": "1"}, "LEASE_SECONDS: 1.0 (from the environment) is under two session timeouts"),
        ({"REDIS_URL": "http://x"}, "REDIS_URL: 'http://x' (from the environment) is not the URL of a store"),
        ({"DEFAULT_PRIORITY": "urgent"}, "is not known; give one of low, medium, high"),
    ],
)
async def test_a_wrong_setting_is_one_line_that_names_it(start: Start, settings: dict[str, str], line: str) -> None:
    coordinator = start(**settings)
    assert await coordinator.exit_code() == EXIT_USAGE
    (said,) = coordinator.said().splitlines()
    assert said.startswith("error: ")
    assert line in said


async def test_a_wrong_setting_in_a_file_names_the_file(start: Start, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_RETRIES=lots\n")
    coordinator = start()
    assert await coordinator.exit_code() == EXIT_USAGE
    (said,) = coordinator.said().splitlines()
    assert f"MAX_RETRIES: 'lots' (from {tmp_path / '.env'}) is not a whole number; give one from 0 to 100" in said


async def test_a_store_that_may_forget_is_refused(start: Start, tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store", "--maxmemory-policy", "allkeys-lru")
    store.start()
    try:
        coordinator = start(REDIS_URL=store.url)
        assert await coordinator.exit_code() == EXIT_USAGE
    finally:
        store.stop()
    assert "maxmemory-policy is allkeys-lru" in coordinator.said()
