"""Who listens on a port of this host."""

from __future__ import annotations

import errno
import socket

import psutil

LOOPBACK = "127.0.0.1"
_LOOK_SECONDS = 0.1


def listens(port: int) -> bool:
    """Whether anything does; also where it is too busy to say so."""
    with socket.socket() as asking:
        asking.settimeout(_LOOK_SECONDS)
        return asking.connect_ex((LOOPBACK, port)) != errno.ECONNREFUSED


def who_listens(port: int) -> str:
    """The programs that do, as far as this user may see them, or how to find them."""
    try:
        pids = {each.pid for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == port}
        names = [f"{psutil.Process(pid).name()} (process {pid})" for pid in sorted(pid for pid in pids if pid)]
    except psutil.Error:
        names = []
    return " and ".join(names) or f"a program that `sudo lsof -nP -iTCP:{port}` names"
