"""A disk of a few megabytes: a tmpfs of the test's own, which it can fill and make room on."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MB = 1_000_000


class SmallDisk:
    """A folder that is a disk. `fill` leaves so many bytes; `clear` takes the filling away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filling = path / "filling"

    @property
    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Takes all room but `leave` bytes, as far as whole pages allow."""
        with self._filling.open("ab", buffering=0) as file, contextlib.suppress(OSError):  # no room for as much
            while (room := self.free - leave) > 0:
                file.write(bytes(min(room, MB)))

    def clear(self) -> None:
        """Makes room."""
        self._filling.unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, megabytes: int = 16) -> Iterator[SmallDisk]:
    """Mounts it at `path`. Skips the test where this user may not."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={megabytes}m,mode=0700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", path]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this user may not mount a tmpfs: {done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
