"""Who has a port: read from the kernel's tables, and said so that somebody can end it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qgjob_coordinator.port_holders import Holder, holders, who_has

HOST = "127.0.0.1"


def test_a_table() -> None:
    line = "  {}: {} {} {} 00000000:00000000 00:00000000 00000000  1000  0 {} 1 00000000d19c64a9 100 0 0 10 0"
    table = "\n".join(
        (
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            line.format(0, "0100007F:C383", "00000000:0000", "0A", 11),
            line.format(1, "0100007F:C383", "0200007F:18EB", "01", 12),
            line.format(2, "0100007F:C383", "0200007F:18EB", "06", 0),
            line.format(3, "0100007F:C384", "00000000:0000", "0A", 13),
            line.format(4, "0" * 24 + "01000000:C383", "0" * 24 + "01000000:18EB", "01", 14),
        )
    )
    assert holders(table, 50051) == [
        Holder(11, None),
        Holder(12, "127.0.0.2:6379"),
        Holder(0, "127.0.0.2:6379", ended=True),
        Holder(14, "[::1]:6379"),
    ]
    assert holders("", 50051) == []


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")])
def test_a_program_that_listens_is_named(family: socket.AddressFamily, host: str) -> None:
    name = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        assert who_has(listener.getsockname()[1]) == f"{name} listens there; end it, or set another port"


def test_what_nobody_is_seen_to_have_is_left_to_commands_that_see_all() -> None:
    with socket.socket() as held:
        held.bind((HOST, 0))
        port = held.getsockname()[1]
        assert who_has(port) == (
            f"`sudo ss -tanp 'sport = :{port}'` or `sudo lsof -nP -iTCP:{port}` shows who has it; "
            "end that, or set another port"
        )


def test_a_connection_that_ended_here_keeps_the_port_for_a_while() -> None:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        # From a port that no other connection shares.
        caller = socket.create_connection(listener.getsockname(), source_address=(HOST, 0))
        accepted, (_, port) = listener.accept()
        caller.close()
        assert accepted.recv(1) == b""
        accepted.close()
        there = f"{HOST}:{listener.getsockname()[1]}"
        assert who_has(port).startswith(f"it is the local port of a connection to {there}, which ended within the last")
