"""uvicorn as a guest: its host owns the signals, it names the port that it can't have, it ends when told."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from typing import Any

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from qgjob_coordinator import listening
from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.http.server import HttpServer
from qgjob_coordinator.service.views.readiness import Readiness, StoreView
from tests.fakes.plain_http import NO_TLS

HOST = "127.0.0.1"
EVERY = ["::", "0.0.0.0"]  # noqa: S104 - what somebody may ask for


class Slow:
    """An application that answers when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for done in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{done}.complete"})
            return
        self.asked.set()
        await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


async def test_a_free_port_is_found_and_signals_stay_the_hosts() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    app = Slow()
    app.go.set()
    server = HttpServer(app, HOST, 0)
    await server.start()
    try:
        assert server.port > 0
        assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
        async with httpx2.AsyncClient(verify=NO_TLS) as http:
            answer = await http.get(f"http://{HOST}:{server.port}/")
        assert answer.text == "done"
        assert "server" not in answer.headers
    finally:
        await server.stop(5.0)
        await server.stop(5.0)
    with pytest.raises(httpx2.ConnectError):
        async with httpx2.AsyncClient(verify=NO_TLS) as http:
            await http.get(f"http://{HOST}:{server.port}/")


async def test_localhost_is_served_on_ipv4_too() -> None:
    app = Slow()
    app.go.set()
    server = HttpServer(app, "localhost", 0)
    await server.start()
    try:
        async with httpx2.AsyncClient(verify=NO_TLS) as http:
            assert (await http.get(f"http://127.0.0.1:{server.port}/")).text == "done"
    finally:
        await server.stop(1.0)


@pytest.mark.parametrize("host", EVERY)
async def test_all_addresses_are_those_of_both_families(host: str) -> None:
    """gRPC takes either for both families."""
    app = Slow()
    app.go.set()
    server = HttpServer(app, host, 0)
    await server.start()
    try:
        async with httpx2.AsyncClient(verify=NO_TLS) as http:
            for reachable in (HOST, "[::1]"):
                assert (await http.get(f"http://{reachable}:{server.port}/")).text == "done"
    finally:
        await server.stop(1.0)


async def test_all_addresses_are_those_of_ipv4_where_there_is_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    real = listening._listen

    def listen(family: int, *rest: Any, **more: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *rest, **more)

    monkeypatch.setattr(listening, "_listen", listen)
    made = await listening.listeners("::", 0, "PORT")
    for each in made:
        each.close()
    assert [each.family for each in made] == [socket.AF_INET]


@pytest.mark.parametrize("host", EVERY)
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_port_in_use_of_one_family_is_named(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family) as taken:
        taken.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"can't be used on") as told:
            await HttpServer(Slow(), host, taken.getsockname()[1]).start()
        assert told.value.field == "PORT"


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HttpServer(Slow(), HOST, port)
        with pytest.raises(
            ConfigError, match=f"^can't be used on {HOST} .*listens there; end it, or set another port$"
        ) as told:
            await server.start()
        assert told.value.field == "PORT"
        await server.stop(1.0)


async def test_an_address_of_no_machine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^is no address of this machine") as told:
        await HttpServer(Slow(), "not a host", 0).start()
    assert told.value.field == "HOST"


async def test_a_request_that_runs_is_let_end() -> None:
    app = Slow()
    server = HttpServer(app, HOST, 0)
    await server.start()
    async with httpx2.AsyncClient(verify=NO_TLS) as http:
        asked = asyncio.create_task(http.get(f"http://{HOST}:{server.port}/"))
        await app.asked.wait()
        stopping = asyncio.create_task(server.stop(10.0))
        app.go.set()
        assert (await asked).text == "done"
        await stopping


async def test_a_request_that_hangs_is_cut_after_the_grace() -> None:
    app = Slow()
    server = HttpServer(app, HOST, 0)
    await server.start()
    async with httpx2.AsyncClient(verify=NO_TLS) as http:
        asked = asyncio.create_task(http.get(f"http://{HOST}:{server.port}/"))
        await app.asked.wait()
        await server.stop(0.1)
        assert (await asked).status_code == 500


async def test_probes_that_come_together_ask_once() -> None:
    asked = 0
    begun, go = asyncio.Event(), asyncio.Event()

    async def check() -> dict[str, str]:
        nonlocal asked
        asked += 1
        begun.set()
        await go.wait()
        return {"redis_version": "7.0.0"}

    readiness = Readiness(check, lambda: False)
    probes = [asyncio.create_task(readiness.look()) for _ in range(10)]
    await begun.wait()
    go.set()
    assert all(v.ready for v in await asyncio.gather(*probes))
    assert asked == 1
    assert (await readiness.look()).store.version == "7.0.0"
    assert asked == 2
    await readiness.close()


async def test_a_store_that_hangs_does_not_hang_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qgjob_coordinator.service.views.readiness.PROBE_SECONDS", 0.01)
    never = asyncio.Event()

    async def check() -> dict[str, str]:
        await never.wait()
        return {}

    readiness = Readiness(check, lambda: False)
    verdict = await readiness.look()
    assert verdict.store == StoreView("did not answer within 0.01 s")
    assert verdict.reasons == (
        "store: did not answer within 0.01 s; look at the store's machine: it hangs or is overloaded",
    )
    assert not verdict.ready
    await readiness.close()
