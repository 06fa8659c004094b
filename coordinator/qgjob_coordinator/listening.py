"""Where the servers listen: sockets of an address, and which setting is to blame when it can't be had."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

from qgjob_coordinator.errors import ConfigError, PortTakenError
from qgjob_coordinator.port_holders import who_has

BACKLOG = 2048
# `localhost` may name an address of a family that this machine does not have.
_NO_SUCH_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
# Either means every address of the machine, of both families: so gRPC takes it, and REST must not differ.
_EVERY = {"::": socket.AF_INET6, "0.0.0.0": socket.AF_INET}  # noqa: S104 - what somebody may ask for


async def listeners(host: str, port: int, setting: str) -> list[socket.socket]:
    """A listening socket for each address of `host`, all on one port (0: any free one).

    `::` and `0.0.0.0` are one socket for both families, or for IPv4 on a machine that has no IPv6.

    Raises ConfigError whose field is HOST for an address that is not this machine's, else `setting`, and PortTakenError
    for a port that something has.
    """
    places = await _places(host, port)
    every = any(address[0] in _EVERY for _, address in places)
    if every:
        places = [(family, (address, port)) for address, family in _EVERY.items()]
    made: list[socket.socket] = []
    missing: OSError | None = None
    taken = port
    for family, address in places:
        if every and made:
            break
        try:
            made.append(_listen(family, (address[0], taken, *address[2:]), both=every))
            taken = made[0].getsockname()[1]
        except OSError as e:
            missing = e
            if e.errno not in _NO_SUCH_FAMILY:
                break
    if made and (missing is None or missing.errno in _NO_SUCH_FAMILY):
        return made
    for listener in made:
        listener.close()
    why = (missing.strerror or missing) if missing else "no address"
    if missing is None or missing.errno in _NO_SUCH_FAMILY:
        raise ConfigError(f"is no address of this machine ({why}); set one that is, or 127.0.0.1", field="HOST")
    if missing.errno == errno.EADDRINUSE:
        who = await asyncio.to_thread(who_has, taken)
        raise PortTakenError(f"can't be used on {host} ({why}): {who}", field=setting) from missing
    raise ConfigError(f"can't be used on {host} ({why}); set another port", field=setting) from missing


async def _places(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """(family, address) of each address of the host. Raises ConfigError whose field is HOST."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as e:
        why = getattr(e, "strerror", None) or e
        raise ConfigError(f"is no address of this machine ({why}); set one that is, or 127.0.0.1", field="HOST") from e
    return [(family, address) for family, _, _, _, address in dict.fromkeys(found)]


def _listen(family: int, address: tuple[object, ...], *, both: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Of a name that has addresses of both families, IPv4 has a socket of its own.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both else 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
