"""The ports that several processes share, held by their parent.

HTTP: the parent listens, and its children accept from the same sockets, which they inherit. A connection never waits in
the queue of a process that hangs or ends.

gRPC takes no sockets, so each child binds the port with SO_REUSEPORT and the kernel spreads the connections. So that
nobody else joins them unnoticed, the parent holds the port: exclusively first, and then, still bound and without
listening, open to processes of the same user that ask for SO_REUSEPORT. Only gRPC servers that were made for it do.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from qgjob_coordinator.listening import listeners


@dataclass(frozen=True, slots=True)
class Ports:
    """`http` are listening sockets, `held` those that keep the gRPC port."""

    http: Sequence[socket.socket]
    held: Sequence[socket.socket]

    @property
    def http_port(self) -> int:
        """Where REST is served."""
        return int(self.http[0].getsockname()[1])

    @property
    def grpc_port(self) -> int:
        """Where gRPC is served."""
        return int(self.held[0].getsockname()[1])

    def close(self) -> None:
        """Gives both up."""
        for each in (*self.http, *self.held):
            each.close()


async def take(host: str, http_port: int, grpc_port: int) -> Ports:
    """Both ports (0: any free one). Raises as `listeners` does, for PORT or GRPC_PORT."""
    held = await _hold(host, grpc_port)
    try:
        return Ports(await listeners(host, http_port, "PORT"), held)
    except BaseException:
        for each in held:
            each.close()
        raise


async def _hold(host: str, port: int) -> list[socket.socket]:
    sockets = await listeners(host, port, "GRPC_PORT")
    if port == 0:
        # A port that the kernel chose goes back to it when the socket stops listening; one that was asked for stays.
        chosen = int(sockets[0].getsockname()[1])
        for each in sockets:
            each.close()
        sockets = await listeners(host, chosen, "GRPC_PORT")
    for each in sockets:
        each.shutdown(socket.SHUT_RDWR)  # stays bound, takes no connections
        # A socket that does not listen and allows reuse keeps nobody from the address.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return sockets
