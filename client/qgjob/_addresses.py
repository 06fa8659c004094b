"""Where coordinators are, as people write it: HOST:PORT, or HOST alone for the default port.

The client and the agent have each a copy of this module, since they share no code; a test holds the two equal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DEFAULT_PORT = 50051
MAX_PORT = 65_535
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/+")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\])(?::(?P<port>[0-9]{1,5}))?")


def whole(addresses: Iterable[str]) -> tuple[str, ...]:
    """Each as host:port; those left empty don't count.

    Raises ValueError, with what to do, for one that is no address, and for none at all.
    """
    given = [each.strip() for each in addresses if each.strip()]
    found = tuple(_whole(each, alone=len(given) == 1) for each in given)
    if not found:
        raise ValueError(f"names no coordinator; give HOST:PORT, or HOST for port {DEFAULT_PORT}")
    return found


def _whole(text: str, *, alone: bool) -> str:
    match = _ADDRESS.fullmatch(text)
    if match is None or (match["port"] is not None and not 0 < int(match["port"]) <= MAX_PORT):
        # What it is all of stands before the message already.
        problem = "is no address" if alone else f"has {text!r}, which is no address"
        scheme = _SCHEME.match(text)
        without = f"leave out {scheme[0]!r} and " if scheme else ""
        raise ValueError(
            f"{problem}; {without}give HOST:PORT, or HOST for port {DEFAULT_PORT}, several with commas between"
        )
    return text if match["port"] is not None else f"{text}:{DEFAULT_PORT}"
