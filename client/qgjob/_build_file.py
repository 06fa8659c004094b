"""A build's file on this machine: what it is announced by, and its bytes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncGenerator, Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qgjob._errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE_BYTES = 256 * 1024
HASHED_BYTES = 1024 * 1024
FIELD = "path"
_ZIPPED = (".apk", ".aab", ".ipa", ".zip")

Progress = Callable[[int, int], None]
"""Told how many bytes are sent, of how many."""


@dataclass(frozen=True, slots=True)
class BuildFile:
    """A file to push. `digest` is its SHA-256."""

    path: Path
    digest: str
    size_bytes: int

    @classmethod
    async def read(cls, path: str | os.PathLike[str]) -> BuildFile:
        """Reads the file once. Raises InvalidError whose field is `path`."""
        digest, size = await asyncio.to_thread(_hashed, Path(path))
        return cls(Path(path), digest, size)

    async def pieces(self, on_progress: Progress | None) -> AsyncGenerator[bytes]:
        """The bytes, from the beginning. Raises InvalidError."""
        with _reading(self.path):
            file = await asyncio.to_thread(self.path.open, "rb")
            try:
                async for piece in pieces(file, self.size_bytes, on_progress):
                    yield piece
            finally:
                file.close()


async def pieces(file: BinaryIO, size_bytes: int, on_progress: Progress | None) -> AsyncGenerator[bytes]:
    """The rest of a file of that size, as it is sent. Raises OSError."""
    sent = 0
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece
        sent += len(piece)
        if on_progress is not None:
            on_progress(sent, size_bytes)


def _hashed(path: Path) -> tuple[str, int]:
    import zipfile  # noqa: PLC0415 - only who pushes pays for it

    found, size = hashlib.sha256(), 0
    with _reading(path):
        if stat.S_ISDIR(path.stat().st_mode):
            what = "push a zip of it" if path.name.endswith(".app") else "name a file"
            raise InvalidError(f"{FIELD}: {str(path)!r} is a folder; {what}", field=FIELD)
        with path.open("rb") as file:
            while piece := file.read(HASHED_BYTES):
                found.update(piece)
                size += len(piece)
            whole = not path.name.lower().endswith(_ZIPPED) or zipfile.is_zipfile(file)
    if not size:
        raise InvalidError(f"{FIELD}: {str(path)!r} is empty", field=FIELD)
    if not whole:
        what = "is no zip archive, or is cut off: its directory is missing"
        raise InvalidError(f"{FIELD}: {str(path)!r} {what}", field=FIELD)
    return found.hexdigest(), size


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidError(f"{FIELD}: {str(path)!r} can't be read: {error.strerror}", field=FIELD) from error
