"""What REDIS_URL says: one server, a group that Sentinels watch, or a Cluster. Pure; connects to nothing.

redis://[USER:PASSWORD@]HOST:PORT[/DB]              rediss:// for TLS, unix:///PATH
redis+sentinel://[USER:PASSWORD@]HOST:PORT,HOST:PORT/NAME[/DB]     the hosts are Sentinels, rediss+sentinel:// for TLS
redis+cluster://[USER:PASSWORD@]HOST:PORT,HOST:PORT                any of its nodes, rediss+cluster:// for TLS
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl, quote, urlencode

Host = tuple[str, int]
"""Name or address, and port."""

FORMS = (
    "redis://HOST:PORT, rediss://HOST:PORT, unix:///PATH, redis+sentinel://HOST:PORT,HOST:PORT/NAME "
    "or redis+cluster://HOST:PORT,HOST:PORT"
)
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
STORE_PORT = 6379
SENTINEL_PORT = 26_379
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Kind(Enum):
    """How the servers of a store belong together."""

    SINGLE = ""
    SENTINEL = "+sentinel"
    CLUSTER = "+cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is. In the URL of one server `before` and `after` stand around its host.

    A single server has `before` alone. `hosts` are Sentinels, or some nodes of a Cluster. `name` is what Sentinels
    call the group, `sentinel_login` what stands before the host of one: `USER:PASSWORD@`.
    """

    kind: Kind
    before: str
    hosts: tuple[Host, ...] = ()
    after: str = ""
    name: str = ""
    sentinel_login: str = ""

    def url_of(self, host: Host) -> str:
        """The URL of one server of it."""
        return f"{self.before}{_written(host)}{self.after}"

    def sentinel_url_of(self, host: Host) -> str:
        """The URL of one Sentinel: with encryption and its options as the servers, with a login of its own."""
        _, mark, options = self.after.partition("?")
        return f"{self.before.partition(':')[0]}://{self.sentinel_login}{_written(host)}{mark}{options}"


def parse(url: str) -> Address:
    """The address that a REDIS_URL means. Raises ValueError with what to write."""
    scheme, _, rest = url.partition("://")
    plain, plus, word = scheme.partition("+")
    kinds = {kind.value: kind for kind in Kind}
    kind = kinds.get(plus + word)
    if kind is None or plain not in ("redis", "rediss", "unix") or (plain == "unix" and plus):
        raise ValueError(f"is not the URL of a store; write {FORMS}")
    if kind is Kind.SINGLE:
        return Address(kind, url)
    where, _, query = rest.partition("?")
    login, at, place = where.rpartition("@")
    hosts, _, path = place.partition("/")
    found = _hosts(hosts, SENTINEL_PORT if kind is Kind.SENTINEL else STORE_PORT, scheme)
    options = dict(parse_qsl(query, keep_blank_values=True))
    if kind is Kind.CLUSTER:
        if path not in ("", "0"):
            why = f"a Cluster has no database {path}"
            raise ValueError(f"is not a URL that can be used ({why}); write {scheme}://HOST:PORT")
        return Address(kind, f"{plain}://{login}{at}", found, _after("", options))
    name, _, db = path.partition("/")
    if not _NAME.fullmatch(name) or not (db or "0").isdecimal():
        why = "it names no group of the Sentinels"
        raise ValueError(f"is not a URL that can be used ({why}); write {scheme}://HOST:PORT,HOST:PORT/NAME")
    user, password = (quote(options.pop(option, ""), safe="") for option in SENTINEL_OPTIONS)
    sentinel_login = f"{user}:{password}@" if user or password else ""
    return Address(kind, f"{plain}://{login}{at}", found, _after(db, options), name, sentinel_login)


def _written(host: Host) -> str:
    return f"[{host[0]}]:{host[1]}" if ":" in host[0] else f"{host[0]}:{host[1]}"


def _hosts(text: str, default: int, scheme: str) -> tuple[Host, ...]:
    found = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        port = int(match[2] or default) if match else 0
        if match is None or not 0 < port <= 65_535:
            raise ValueError(
                f"is not a URL that can be used (its host {part!r} is none); write {scheme}://HOST:PORT,HOST:PORT"
            )
        found.append((match[1].strip("[]"), port))
    return tuple(found)


def _after(db: str, options: Mapping[str, str]) -> str:
    return (f"/{db}" if db else "") + (f"?{urlencode(options)}" if options else "")
