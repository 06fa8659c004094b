"""uvicorn as a part of a program that owns its signals."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from qgjob_coordinator.listening import listeners


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
    """Serves an application on one address, or on listening sockets that were handed down; `port` is set by `start`."""

    def __init__(self, app: ASGIApp, host: str, port: int, handed: Sequence[socket.socket] = ()) -> None:
        self._app = app
        self._handed = handed
        self._host = host
        self._asked_port = port
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Binds and serves. Raises as `listeners` does, for PORT."""
        sockets = list(self._handed) or await listeners(self._host, self._asked_port, "PORT")
        self.port = int(sockets[0].getsockname()[1])
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
        self._task = asyncio.create_task(self._server.serve(sockets=sockets), name="http")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({up, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            for listener in sockets:
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
