"""Where an Appium listens, on this host or in a cloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Address:
    """Where an Appium listens. `path` begins and ends with a slash."""

    protocol: str
    host: str
    port: int
    path: str = "/"

    @classmethod
    def of_url(cls, url: str) -> Address:
        """Raises ValueError for what is no http(s) URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http:// or https:// address")
        path = "/".join(["", *(each for each in parts.path.split("/") if each), ""])
        return cls(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), path)

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> Address:
        """The other way round of `options`. Raises KeyError or ValueError for what does not come from there."""
        protocol, host, port, path = (options[name] for name in ("protocol", "hostname", "port", "path"))
        words = all(isinstance(each, str) and each.isprintable() and " " not in each for each in (host, path))
        if protocol not in ("http", "https") or not words or type(port) is not int or not 0 < port < 1 << 16:
            raise ValueError(f"{options!r} is no address")
        return cls(protocol, host, port, path)

    def options(self) -> dict[str, Any]:
        """As WebDriver's newSession takes it."""
        return {"protocol": self.protocol, "hostname": self.host, "port": self.port, "path": self.path}
