"""A network of an agent's own, with one way out to this host that can be closed: it needs root and `ip`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

_SUBNETS = 250


def missing() -> str | None:
    """Why there can be none here; None if there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "a network namespace needs root and the program ip"
    name = f"qgjob-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return None if made.returncode == 0 else f"no network namespace can be made: {made.stderr.strip()}"


class NetSpace:
    """`with NetSpace().made() as space:` gives one. What runs with `prefix` reaches `host`, which is here."""

    def __init__(self) -> None:
        number = os.getpid()
        subnet = f"10.213.{number % _SUBNETS}"
        self.name = f"qgjob-{number}"
        self.host, self._inside = f"{subnet}.1", f"{subnet}.2"
        self._ends = (f"qg{number}a", f"qg{number}b")
        self.prefix = ["ip", "netns", "exec", self.name]

    @contextmanager
    def made(self) -> Iterator[NetSpace]:
        """Raises CalledProcessError."""
        out, inside = self._ends
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", out, "type", "veth", "peer", "name", inside)
            _ip("link", "set", inside, "netns", self.name)
            _ip("addr", "add", f"{self.host}/30", "dev", out)
            _ip("link", "set", out, "up")
            self._within("addr", "add", f"{self._inside}/30", "dev", inside)
            self._within("link", "set", inside, "up")
            self._within("link", "set", "lo", "up")
            yield self
        finally:
            # Whoever is still inside keeps the space alive, but not the way out.
            subprocess.run(["ip", "link", "del", out], capture_output=True, check=False)
            _ip("netns", "del", self.name)

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nothing passes, either way; connections stay as they are, and new ones can't be made."""
        _ip("route", "add", "blackhole", f"{self._inside}/32")
        self._within("route", "add", "blackhole", f"{self.host}/32")
        try:
            yield
        finally:
            self._within("route", "del", "blackhole", f"{self.host}/32")
            _ip("route", "del", "blackhole", f"{self._inside}/32")

    def _within(self, *words: str) -> None:
        _ip("-n", self.name, *words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
