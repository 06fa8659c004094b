"""What can be found out about an address without gRPC: its name, its port, and what is spoken there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from dataclasses import dataclass
from enum import StrEnum

from qgjob._probe import hear, is_http2

RESOLVE_SECONDS = 3.0
CONNECT_SECONDS = 2.0
HEAR_SECONDS = 1.0


class Peer(StrEnum):
    """What is at an address. All but HTTP2 can be no coordinator that serves."""

    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SILENT = "silent"  # takes the connection and says nothing
    HTTP1 = "http1"
    TLS = "tls"
    OTHER = "other"
    HTTP2 = "http2"


@dataclass(frozen=True, slots=True)
class Reach:
    """What was found. `where` is the address that the name stands for, `detail` the system's own words."""

    peer: Peer
    where: str | None = None
    connect_ms: float | None = None
    detail: str | None = None


async def reach(address: str) -> Reach:
    """Looks at host:port, for some seconds at most."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            rows = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return Reach(Peer.UNRESOLVED, detail=error.strerror)
    except TimeoutError:
        return Reach(Peer.UNRESOLVED, detail=f"nothing resolved it within {RESOLVE_SECONDS:g} s")
    found: list[Reach] = []
    for host_ in dict.fromkeys(str(row[4][0]) for row in rows):
        found.append(await _connect(host_, int(port)))
        if found[-1].connect_ms is not None:
            return found[-1]
    return found[0]


async def _connect(host: str, port: int) -> Reach:
    """One address of the name: connects, says how HTTP/2 begins, and listens."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Reach(Peer.TIMEOUT, where)
    except ConnectionRefusedError:
        return Reach(Peer.REFUSED, where)
    except OSError as error:
        return Reach(Peer.UNREACHABLE, where, detail=os.strerror(error.errno) if error.errno else str(error))
    connect_ms = (time.perf_counter() - begun) * 1000
    try:
        async with asyncio.timeout(HEAR_SECONDS):
            heard = await hear(reader, writer)
    except TimeoutError:
        return Reach(Peer.SILENT, where, connect_ms)
    except OSError as error:
        return Reach(Peer.OTHER, where, connect_ms, detail=os.strerror(error.errno) if error.errno else str(error))
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(HEAR_SECONDS):
                await writer.wait_closed()
    return Reach(_spoken(heard), where, connect_ms)


_TLS_ALERT = b"\x15\x03"


def _spoken(heard: bytes) -> Peer:
    """What the first bytes of an answer are of."""
    if heard.startswith(b"HTTP/1"):
        return Peer.HTTP1
    if heard.startswith(_TLS_ALERT):
        return Peer.TLS
    return Peer.HTTP2 if is_http2(heard) else Peer.OTHER
