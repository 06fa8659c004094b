"""A parent holds the ports for its children: they can have them, nobody else can."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.listening import listeners
from qgjob_coordinator.processes import ports

HOST = "127.0.0.1"
EVERY = "0.0.0.0"  # noqa: S104 - what somebody may ask for


def child(port: int, *, share: bool = True) -> socket.socket:
    """What gRPC does for a server with so_reuseport, and without."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
        listener.bind((HOST, port))
        listener.listen(64)
    except OSError:
        listener.close()
        raise
    return listener


@pytest.fixture
async def taken() -> Iterator[ports.Ports]:
    found = await ports.take(HOST, 0, 0)
    yield found
    found.close()


async def test_children_share_the_port_and_get_every_connection(taken: ports.Ports) -> None:
    with closing(child(taken.grpc_port)) as first, closing(child(taken.grpc_port)) as second:
        for listener in (first, second):
            listener.setblocking(False)
        callers = [socket.create_connection((HOST, taken.grpc_port), 5.0) for _ in range(40)]
        served = [0, 0]
        for i, listener in enumerate((first, second)):
            while True:
                try:
                    listener.accept()[0].close()
                except BlockingIOError:
                    break
                served[i] += 1
        for caller in callers:
            caller.close()
    assert sum(served) == 40
    assert min(served) > 0


async def test_without_a_child_nobody_answers(taken: ports.Ports) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, taken.grpc_port), 5.0)


@pytest.mark.parametrize("children", [0, 1])
async def test_no_other_program_gets_the_port(taken: ports.Ports, children: int) -> None:
    serving = [child(taken.grpc_port) for _ in range(children)]
    try:
        with pytest.raises(OSError, match="Address already in use"):
            child(taken.grpc_port, share=False)
        with pytest.raises(ConfigError) as plain:
            await listeners(HOST, taken.grpc_port, "GRPC_PORT")
        with pytest.raises(ConfigError) as family:
            await ports.take(HOST, 0, taken.grpc_port)
        with pytest.raises(ConfigError) as everywhere:
            await ports.take(EVERY, 0, taken.grpc_port)
    finally:
        for each in serving:
            each.close()
    assert [e.value.field for e in (plain, family, everywhere)] == ["GRPC_PORT"] * 3
    assert "Address already in use" in family.value.message


async def test_a_http_port_in_use_is_named_and_the_grpc_port_given_back(taken: ports.Ports) -> None:
    free = await ports.take(HOST, 0, 0)
    port = free.grpc_port
    free.close()
    with pytest.raises(ConfigError) as error:
        await ports.take(HOST, taken.http_port, port)
    assert error.value.field == "PORT"
    (await ports.take(HOST, 0, port)).close()


async def test_the_ports_can_be_had_again_at_once_after_a_connection_was_closed_here(taken: ports.Ports) -> None:
    """What the kernel keeps of it for a minute keeps nobody from a restart."""
    port = taken.grpc_port
    with closing(child(port)) as server:
        caller = socket.create_connection((HOST, port), 5.0)
        accepted, _ = server.accept()
        accepted.close()
        assert caller.recv(1) == b""
        caller.close()
    taken.close()
    (await ports.take(HOST, 0, port)).close()


@pytest.mark.parametrize("host", ["localhost", EVERY, "::"])
async def test_hosts_of_several_addresses(host: str) -> None:
    found = await ports.take(host, 0, 0)
    try:
        with closing(child(found.grpc_port)):
            socket.create_connection((HOST, found.grpc_port), 5.0).close()
    finally:
        found.close()
