"""Uploads on their way: on the disk, so that no upload is held in memory, and hashed as they come."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, cast

import structlog

from qgjob_coordinator.errors import BlobsUnavailableError, InvalidError

WRITE_BYTES = 512 * 1024
READ_BYTES = 512 * 1024
IDLE_SECONDS = 60.0
"""An upload of which nothing comes for so long is given up: it keeps others waiting."""

log = structlog.get_logger(__name__)


class Spool:
    """Files without a name below `folder`, which is made when it is needed: they go with who has them open."""

    def __init__(self, folder: Path, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._folder = folder
        self._idle_seconds = idle_seconds

    @asynccontextmanager
    async def received(self, chunks: AsyncIterator[bytes], digest: str, size_bytes: int) -> AsyncIterator[BinaryIO]:
        """A file with all that comes, which has the SHA-256 and the size that were announced; gone after the block.

        Raises InvalidError for what has not, BlobsUnavailableError when the disk does not take it.
        """
        try:
            file = await asyncio.to_thread(self._open)
        except OSError as e:
            raise _full(e) from e
        try:
            await self._receive(file, chunks, digest, size_bytes)
            yield file
        finally:
            await asyncio.to_thread(file.close)

    def _open(self) -> BinaryIO:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cast("BinaryIO", tempfile.TemporaryFile(dir=self._folder, buffering=0))

    async def in_memory(self, chunks: AsyncIterator[bytes], digest: str, size_bytes: int) -> bytes:
        """As `received`, for what is small: it goes by no disk. Raises InvalidError."""
        data = bytearray()
        while (chunk := await self._next(chunks)) is not None and len(data) <= size_bytes:
            data += chunk
        _check(len(data), hashlib.sha256(data).hexdigest(), digest, size_bytes)
        return bytes(data)

    async def _receive(self, file: BinaryIO, chunks: AsyncIterator[bytes], digest: str, size_bytes: int) -> None:
        hashed, waiting, size = hashlib.sha256(), bytearray(), 0

        def write(data: bytes) -> None:
            hashed.update(data)
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

        async def flush() -> None:
            try:
                await asyncio.to_thread(write, bytes(waiting))
            except OSError as e:
                raise _full(e) from e
            waiting.clear()

        while (chunk := await self._next(chunks)) is not None:
            size += len(chunk)
            if size > size_bytes:
                break
            waiting += chunk
            if len(waiting) >= WRITE_BYTES:
                await flush()
        await flush()
        _check(size, hashed.hexdigest(), digest, size_bytes)

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(chunks, None)
        except TimeoutError:
            why = f"none came for {self._idle_seconds:g} s, so the push was given up; push the file again"
            raise InvalidError("chunk", why) from None


def _check(size: int, found: str, digest: str, size_bytes: int) -> None:
    if size > size_bytes:
        raise InvalidError("size_bytes", f"{size_bytes} was announced, and more came; push the file again")
    if size != size_bytes:
        raise InvalidError("size_bytes", f"{size_bytes} was announced, and {size} came; push the file again")
    if found != digest:
        what = f"{digest} was announced, and what came has {found}"
        raise InvalidError("digest", f"{what}: the file changed while it was read; push it again")


async def pieces(file: BinaryIO) -> AsyncGenerator[bytes]:
    """The whole file, in pieces. Raises BlobsUnavailableError."""
    at = 0
    while True:
        try:
            piece = await asyncio.to_thread(os.pread, file.fileno(), READ_BYTES, at)
        except OSError as e:
            raise _full(e) from e
        if not piece:
            return
        yield piece
        at += len(piece)


def _full(error: OSError) -> BlobsUnavailableError:
    log.warning("spool_failed", error=str(error))
    why = f"the coordinator's disk does not take the upload ({error.strerror or type(error).__name__})"
    return BlobsUnavailableError(f"{why}; make room in BLOB_SPOOL_DIR, or repeat the call later")
