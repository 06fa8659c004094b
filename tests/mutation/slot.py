"""A store that many forks use, one after the other: to start one costs more than most tests do.

Between two of them it is emptied, and made to forget its scripts and what it has counted. One that is not as it began
after that is replaced: a fork may have left another configuration, another user, a script that runs, or a process that
is connected.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from tests.fakes.store_process import StoreProcess

ANSWER_SECONDS = 5.0
FORGET = ("FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH", "SLOWLOG RESET", "ACL LOG RESET", "CONFIG RESETSTAT")
"""What an older store does not know it refuses, each time alike."""
LOOK = ("CONFIG GET *", "ACL LIST", "FUNCTION LIST")
_END = b"$7\r\nthe end\r\n"


class Slot:
    """The store of the forks that come one after the other. `folder` is for what it writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store: StoreProcess | None = None
        self._begun = b""
        self._stores = 0

    def store(self) -> StoreProcess:
        """A store that is as one that has just begun."""
        if self._store is not None:
            if self._state(self._store) == self._begun:
                return self._store
            self.end()
        self._stores += 1
        self._store = StoreProcess(self._folder / str(self._stores))
        self._store.start()
        self._begun = self._state(self._store)
        return self._store

    def end(self) -> None:
        """Ends the store, whatever it does just now."""
        if self._store is not None:
            self._store.kill()
            self._store = None

    @staticmethod
    def _state(store: StoreProcess) -> bytes:
        """What a fork could have changed and is not forgotten; nothing for a store that does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", store.port), ANSWER_SECONDS) as connection:
                said = _ask(connection, FORGET) + _ask(connection, LOOK)
                # It has heard by now of all connections that were closed before this one was opened.
                clients = _ask(connection, ("CLIENT LIST",)).count(b" addr=")
        except OSError:
            return b""
        return said + b"%d" % clients


def _ask(connection: socket.socket, commands: Sequence[str]) -> bytes:
    """All answers as they came. Raises OSError."""
    connection.sendall("".join(f"{command}\r\n" for command in (*commands, "ECHO 'the end'")).encode())
    said = b""
    while not said.endswith(_END):
        if not (some := connection.recv(65_536)):
            raise ConnectionResetError("the store has ended")
        said += some
    return said
