"""A disk that fails: an ext4 of the test's own, which the kernel turns read-only as it does after an error."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BYTES = 16_000_000


class FailingDisk:
    """A folder that is a disk. From `fail` on it takes no write, also of files that are open."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self) -> None:
        """An error of the file system's own, and what it does then: it takes no more writes."""
        trigger = _of_the_kernel(self.path) / "trigger_fs_error"
        trigger.write_text("a test", "ascii")
        with pytest.raises(OSError, match="Read-only file system"):
            (self.path / "refused").touch()


@contextmanager
def failing_disk(path: Path) -> Iterator[FailingDisk]:
    """Mounts it at `path`. Skips the test where this user may not."""
    make = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if make is None:
        pytest.skip("there is no mkfs.ext4")
    path.mkdir(parents=True, exist_ok=True)
    image = path.with_name(f"{path.name}.image")
    with image.open("wb") as file:
        file.truncate(_BYTES)
    subprocess.run([make, "-q", "-F", "-O", "^has_journal", image], check=True)
    mount = ["mount", "-o", "loop,errors=remount-ro", image, path]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a file system of the test's own needs root: {done.stderr.strip()}")
    try:
        if not _of_the_kernel(path).is_dir():
            pytest.skip("a file system of the test's own needs root that may make it fail")
        yield FailingDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def _of_the_kernel(path: Path) -> Path:
    """Where the kernel shows the file system."""
    device = path.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    return Path("/sys/fs/ext4") / name
