"""Which addresses of a coordinator gRPC can make anything of."""

from __future__ import annotations

import re

_TARGET = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract):\S+")
_HOST_PORT = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):(\d{1,5})")
_MAX_PORT = 65_535


def is_address(text: str) -> bool:
    """Whether it is HOST:PORT, or a name of gRPC such as `dns:///HOST:PORT` and `unix:PATH`."""
    match = _HOST_PORT.fullmatch(text)
    return _TARGET.fullmatch(text) is not None if match is None else 0 < int(match[1]) <= _MAX_PORT
