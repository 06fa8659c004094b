"""Who has a port of this machine, in words: as Linux tells it, or what shows it elsewhere."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS, _TIME_WAIT = "0A", "06"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Holder:
    """A socket on the port. `remote` is where a connection goes, None of one that listens; `inode` 0 is nobody's."""

    inode: int
    remote: str | None
    ended: bool = False


def who_has(port: int) -> str:
    """What keeps the port from others, and how to end or avoid that. Looks at all processes: not for a hot path."""
    show = f"`sudo ss -tanp 'sport = :{port}'` or `sudo lsof -nP -iTCP:{port}` shows"
    found = [each for table in _TABLES for each in holders(_read(table), port)]
    if not found:
        return f"{show} who has it; end that, or set another port"
    listening = next((each for each in found if each.remote is None), None)
    first = listening or next((each for each in found if not each.ended), found[0])
    name = _name(first.inode)
    if listening is not None:
        return f"{name or f'a program that {show}'} listens there; end it, or set another port"
    return (
        f"it is the local port of a connection to {first.remote}, "
        + ("which ended within the last minute" if first.ended else f"of {name or f'a program that {show}'}")
        + f"; wait, or set another port; `sysctl -w net.ipv4.ip_local_reserved_ports={port}` keeps connections off it"
    )


def holders(table: str, port: int) -> list[Holder]:
    """Those of a table as /proc/net/tcp has it."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
        if int(local.rpartition(":")[2], 16) == port:
            place = None if state == _LISTENS else _address(remote)
            found.append(Holder(int(inode), place, ended=state == _TIME_WAIT))
    return found


def _address(text: str) -> str:
    """`0100007F:0050` is 127.0.0.1:80: the kernel writes each word of an address in the machine's own order."""
    words, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    if len(packed) == len(socket.inet_aton("0.0.0.0")):  # noqa: S104 - its length
        return f"{socket.inet_ntop(socket.AF_INET, packed)}:{int(port, 16)}"
    return f"[{socket.inet_ntop(socket.AF_INET6, packed)}]:{int(port, 16)}"


def _name(inode: int) -> str | None:
    """The program that has the socket, as far as this user may see it."""
    for process in _processes():
        try:
            if any(_is(each, inode) for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # another user's, or gone meanwhile
            continue
    return None


def _is(descriptor: Path, inode: int) -> bool:
    try:
        match = _SOCKET.fullmatch(str(descriptor.readlink()))
    except OSError:  # closed meanwhile
        return False
    return match is not None and int(match[1]) == inode


def _processes() -> Iterator[Path]:
    return (each for each in Path("/proc").iterdir() if each.name.isdigit())


def _read(table: Path) -> str:
    """Empty where there is none: no Linux, or no such family."""
    try:
        return table.read_text()
    except OSError:
        return ""
