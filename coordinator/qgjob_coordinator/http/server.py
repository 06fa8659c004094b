"""uvicorn as a part of a program that owns its signals."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from qgjob_coordinator.errors import ConfigError

BACKLOG = 2048


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it; then says so."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: uvicorn would end the process before gRPC has drained."""
        yield


class HttpServer:
    """Serves an application on one address; `port` is set by `start`."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._asked_port = port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Binds and serves. Raises ConfigError naming the port when it can't be had."""
        listener = await _bind(self._host, self._asked_port)
        self.port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            proxy_headers=False,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({up, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            listener.close()
            await self._task
            raise RuntimeError("the HTTP server ended while it started")

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new connections, lets requests that run end within the grace, then cuts them. Harmless twice."""
        server, task = self._server, self._task
        if server is None or task is None:
            return
        self._server = self._task = None
        server.config.timeout_graceful_shutdown = math.ceil(grace_seconds)
        server.should_exit = True
        await task


async def _bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ConfigError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as e:
        raise ConfigError(f"HOST: {host!r} is no address of this machine ({e.strerror or e})") from e
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as e:
        listener.close()
        raise ConfigError(
            f"PORT: {port} on {host} can't be bound ({e.strerror or e}); stop what uses it, or set another"
        ) from e
    listener.setblocking(False)
    return listener
