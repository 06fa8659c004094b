"""Archives of suites, made by hand: also such as no packing makes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping

GOOD = {"package.json": b"{}", "tests/a.spec.js": b"passes()"}


def archive(files: Mapping[str, bytes], *, executable: tuple[str, ...] = ()) -> bytes:
    """These files, in this order."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(data), 0o755 if path in executable else 0o644
            tar.addfile(info, io.BytesIO(data))
    return made.getvalue()


def with_member(**fields: object) -> bytes:
    """A good file, then a member that is something else."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("a.js"))
        info = tarfile.TarInfo("b.js")
        for name, value in fields.items():
            setattr(info, name, value)
        tar.addfile(info)
    return made.getvalue()


def digest(data: bytes) -> str:
    """SHA-256."""
    return hashlib.sha256(data).hexdigest()
