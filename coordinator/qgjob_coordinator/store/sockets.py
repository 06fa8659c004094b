"""Connections to one server, and what one of them that falls silent says of the others.

A firewall that lost its state, or an address that moved, ends all connections there are without a word, while new ones
work. So where one brings no answer in time, or breaks, those that were silent since before that was asked are not used
again; and where another one answers what was asked later, the store is there, and who still waits on one of those is
told. A store that is far off is not silent: a connection that is made anew was heard then, and that one was ended here
counts as no failure, or each end would be the cause of the next.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import hiredis
from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - redis's own
from redis.exceptions import TimeoutError as RedisTimeoutError

GRACE_SECONDS = 0.1
"""An answer that comes on another connection may overtake one that is under way, by less than this."""
KEEPALIVE_SECONDS = 5
KEEPALIVE_PROBES = 3


class Hearing:
    """What was heard on the connections to one server. Times are of the monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._doubted = 0.0
        self._noticed_at = 0.0
        self._unproven = False
        self._waiting: set[ServerConnection] = set()

    def trusts(self, heard_at: float) -> bool:
        """Whether a connection may be used on which something was heard last then."""
        return heard_at >= self._doubted

    def failed(self, sent_at: float) -> None:
        """What was sent then was not answered in time, or its connection broke."""
        if sent_at > self._doubted:
            self._doubted, self._unproven = sent_at, True
            self._noticed_at = time.monotonic()

    def waits(self, connection: ServerConnection) -> None:
        """It waits for an answer."""
        self._waiting.add(connection)

    def ended(self, connection: ServerConnection, *, heard: bool) -> None:
        """It does not wait any more. An answer to what was asked after what failed shows that the store is there."""
        self._waiting.discard(connection)
        if heard and self._unproven and connection.sent_at >= self._doubted:
            # Until one is to what was asked since it was noticed: on those in doubt nothing was asked after that.
            self._unproven = connection.sent_at < self._noticed_at
            asyncio.get_running_loop().call_later(GRACE_SECONDS, self._tell, self._doubted, connection.sent_at)

    def _tell(self, failed_at: float, answered: float) -> None:
        """`answered` is when that was asked which shows that the store is there."""
        for connection in self._waiting:
            if connection.heard_at < failed_at and connection.sent_at < answered:
                connection.abort()


class ServerConnection(AbstractConnection):
    """A connection that knows when something was heard on it, and packs commands in C.

    In Python, as redis-py's asyncio connections pack them, it is most of a large call.
    """

    def __init__(self, *, hearing: Hearing, **settings: Any) -> None:
        super().__init__(**settings)
        self._hearing = hearing
        self.sent_at = self.heard_at = time.monotonic()
        self._aborted = False

    @property
    def doubted(self) -> bool:
        """Whether it is open, and not to be used again."""
        return self.is_connected and not self._hearing.trusts(self.heard_at)

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command on the wire."""
        if " " in args[0]:  # "CONFIG GET" is two words on the wire
            args = (*args[0].split(), *args[1:])
        return [hiredis.pack_command(args)]

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """As redis-py's."""
        self.sent_at = time.monotonic()
        await super().send_packed_command(*args, **options)

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """As redis-py's. It was heard now: the same one is made anew after any time."""
        self.heard_at = time.monotonic()
        self._aborted = False
        await super().on_connect_check_health(check_health=check_health)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """As redis-py's: None where the caller named a `timeout` and nothing came within it."""
        heard = False
        self._hearing.waits(self)
        try:
            reply = await super().read_response(*args, **options)
            heard = reply is not None
        except ResponseError:
            heard = True
            raise
        except (ConnectionError, RedisTimeoutError) as error:
            heard = error.status_code is not None  # the store's own word: it has too many connections, say
            if not heard and not self._aborted:
                self._hearing.failed(self.sent_at)
            raise
        finally:
            if heard:
                self.heard_at = time.monotonic()
            self._hearing.ended(self, heard=heard)
        return reply

    def abort(self) -> None:
        """Breaks it: who waits for an answer hears that it is closed."""
        if self._writer is not None:
            self._aborted = True
            self._writer.transport.abort()


class TcpConnection(ServerConnection, Connection):
    """redis://"""


class TlsConnection(ServerConnection, SSLConnection):
    """rediss://"""


class UnixConnection(ServerConnection, UnixDomainSocketConnection):
    """unix://"""


class ServerPool(BlockingConnectionPool):
    """Connections of redis-py's clients, of which none is handed out that is doubted or has ended."""

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Makes it ready for use, anew where it has to be.

        redis-py's own look at whether it has ended would hide why no new one comes about.
        """
        doubted = isinstance(connection, ServerConnection) and connection.doubted
        if connection.is_connected and (doubted or await _ended(connection)):
            await connection.disconnect(nowait=True)
        await super().ensure_connection(connection)


async def _ended(connection: AbstractConnection) -> bool:
    try:
        return await connection.can_read()  # nothing is expected: that would be its end
    except (ConnectionError, OSError):
        return True


_CLASSES: dict[str, type[ServerConnection]] = {"redis": TcpConnection, "rediss": TlsConnection, "unix": UnixConnection}


def class_of(url: str) -> type[ServerConnection]:
    """How a URL is connected to."""
    return _CLASSES[url.partition(":")[0]]


def of_system(url: str, silence_seconds: float) -> dict[str, Any]:
    """What the system is told, as far as it knows it: to end a connection that is not acknowledged for so long."""
    if class_of(url) is UnixConnection:
        return {}
    wanted = {
        "TCP_KEEPIDLE": KEEPALIVE_SECONDS,
        "TCP_KEEPALIVE": KEEPALIVE_SECONDS,  # how macOS calls it
        "TCP_KEEPINTVL": KEEPALIVE_SECONDS,
        "TCP_KEEPCNT": KEEPALIVE_PROBES,
        "TCP_USER_TIMEOUT": int(silence_seconds * 1000),
    }
    known = {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}
    return {"socket_keepalive": True, "socket_keepalive_options": known}
