"""Small disks, to be filled up: a tmpfs each, which needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATE_MIB = 24
STORE_MIB = 512
_PIECE = bytes(65_536)


def missing() -> str | None:
    """Why there can be no small disk here; None if there can."""
    if os.geteuid() != 0:
        return "a small file system needs root"
    probe = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return None if probe.returncode == 0 else f"no file system can be mounted: {probe.stderr.decode().strip()}"


def mount(folder: Path, mib: int) -> None:
    """Makes the folder a small disk. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "qgjob-lab", str(folder)], check=True)


def unmount(folder: Path) -> None:
    """Undoes `mount`; lazily, since a tree that will not die may still be there."""
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """No byte is left on the folder's disk until the block ends."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_PIECE)
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0")
        yield
    finally:
        filler.unlink()
