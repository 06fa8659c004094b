"""uvicorn as a part of a program that owns its signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from qgjob_coordinator.errors import ConfigError

BACKLOG = 2048
# `localhost` may name an address of a family that this machine does not have.
_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


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
        listeners = await _bind(self._host, self._asked_port)
        self.port = int(listeners[0].getsockname()[1])
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
        self._task = asyncio.create_task(self._server.serve(sockets=listeners), name="http")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait({up, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not up.done():
            up.cancel()
            for listener in listeners:
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


async def _bind(host: str, port: int) -> list[socket.socket]:
    """A listening socket for each address of `host`, all on one port. Raises ConfigError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as e:
        raise ConfigError(f"HOST: {host!r} is no address of this machine ({e.strerror or e})") from e
    listeners: list[socket.socket] = []
    missing: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        taken = listeners[0].getsockname()[1] if listeners else port
        try:
            listeners.append(_listen(family, (address[0], taken, *address[2:])))
        except OSError as e:
            missing = e
            if e.errno not in _NO_SUCH_FAMILY:
                break
    if listeners and (missing is None or missing.errno in _NO_SUCH_FAMILY):
        return listeners
    for listener in listeners:
        listener.close()
    why = (missing.strerror or missing) if missing else "no address"
    raise ConfigError(f"PORT: {port} on {host} can't be bound ({why}); stop what uses it, or set another") from missing


def _listen(family: int, address: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own where it is asked for.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
