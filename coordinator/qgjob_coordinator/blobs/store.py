"""The blob store as the rest of the coordinator sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import AzureStore, LocalStore, from_url

from qgjob_coordinator.blobs.address import azure, folder
from qgjob_coordinator.blobs.faults import why_away
from qgjob_coordinator.errors import BlobsUnavailableError

CHUNK_BYTES = 256 * 1024
"""The most that `get` gives at once."""
READ_BYTES = 128 * 1024
PART_BYTES = 5 * 1024 * 1024
"""The least that S3 takes as a part. Two are on their way at once."""
FOLDER_PART_BYTES = 1024 * 1024
PARTS_AT_ONCE = 2
SMALL_AT_ONCE = 8
"""Small blobs of one caller that are on their way."""
MOST_PART_BYTES = 64 * 1024 * 1024
PARTS_MOST = 9_000
"""S3 takes 10,000 parts."""
IDLE_SECONDS = 60.0
"""A call that gets no further for so long has failed."""
CALL_SECONDS = "2h"
"""Of a whole request with its body: what hangs is ended by IDLE_SECONDS."""
DELETED_AT_ONCE = 500
LET_GO_SECONDS = 0.2
"""The library's threads let go of a call a moment after its answer; they abort a process that ends meanwhile."""

_UNFINISHED = re.compile(r"#\d+\Z")
"""What a file of a folder is called until it is whole."""

log = structlog.get_logger(__name__)


class BlobMissingError(LookupError):
    """No blob of that path."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that was found. `modified_at` in ms since the epoch."""

    path: str
    size_bytes: int
    modified_at: int


class BlobStore:
    """Blobs by path, `a/b/c`. One appears whole or not at all. All methods raise BlobsUnavailableError."""

    def __init__(self, url: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
        """Raises ValueError for a URL that names no store; connects to nothing."""
        self._folder = folder(url)
        self._idle_seconds = idle_seconds
        self._called = float("-inf")
        self._store: Any = None if self._folder is not None else _remote(url)

    async def put(self, path: str, chunks: AsyncIterator[bytes], size_bytes: int | None = None) -> None:
        """Keeps what `chunks` gives, whose errors end it and are raised. `size_bytes` helps to choose the parts."""
        least = PART_BYTES if self._folder is None else FOLDER_PART_BYTES
        part = min(max(least, (size_bytes or 0) // PARTS_MOST), MOST_PART_BYTES)
        with self._asking("put", path):
            async with asyncio.timeout(self._idle_seconds) as limit:
                await obstore.put_async(
                    self._opened(),
                    path,
                    self._watched(chunks, limit),
                    use_multipart=True,
                    chunk_size=part,
                    max_concurrency=PARTS_AT_ONCE,
                )
            if self._folder is not None:
                await asyncio.to_thread(_to_disk, self._folder / path)

    async def put_small(self, blobs: Sequence[tuple[str, bytes]]) -> None:
        """Keeps several whole ones, (path, bytes): each is one request, and they go to the disk together."""
        at_once = asyncio.Semaphore(SMALL_AT_ONCE)

        async def put(path: str, data: bytes) -> None:
            async with at_once:
                with self._asking("put", path):
                    async with asyncio.timeout(self._idle_seconds):
                        await obstore.put_async(self._opened(), path, data, use_multipart=False)

        ends = await asyncio.gather(*(put(path, data) for path, data in blobs), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        if self._folder is not None and blobs:
            with self._asking("put", blobs[0][0]):
                await asyncio.to_thread(_to_disk, *(self._folder / path for path, _ in blobs))

    async def get(self, path: str, offset: int = 0) -> AsyncGenerator[bytes]:
        """The bytes from `offset`, which is before the end, at most CHUNK_BYTES at once. Raises BlobMissingError."""
        with self._asking("get", path):
            async with asyncio.timeout(self._idle_seconds):
                found = await obstore.get_async(self._opened(), path, options={"range": {"offset": offset}})
                pieces = aiter(found.stream(min_chunk_size=READ_BYTES))
            while True:
                async with asyncio.timeout(self._idle_seconds):
                    piece = await anext(pieces, None)
                if piece is None:
                    return
                for at in range(0, len(piece), CHUNK_BYTES):
                    yield bytes(piece[at : at + CHUNK_BYTES])

    async def size(self, path: str) -> int | None:
        """Its size; None where there is no such blob."""
        try:
            with self._asking("size", path):
                async with asyncio.timeout(self._idle_seconds):
                    return int((await obstore.head_async(self._opened(), path))["size"])
        except BlobMissingError:
            return None

    async def delete(self, paths: Sequence[str]) -> None:
        """Removes them; those that are not there are passed over."""
        for at in range(0, len(paths), DELETED_AT_ONCE):
            some = paths[at : at + DELETED_AT_ONCE]
            # A folder fails at the first that is missing, and the others may be left.
            each = [[path] for path in some] if self._folder is not None else [list(some)]
            for together in each:
                with contextlib.suppress(BlobMissingError), self._asking("delete", together[0]):
                    async with asyncio.timeout(self._idle_seconds):
                        await obstore.delete_async(self._opened(), together)

    async def list(self, prefix: str) -> AsyncGenerator[Blob]:
        """All blobs below a path, in no order that means anything."""
        with self._asking("list", prefix):
            pages = aiter(obstore.list(self._opened(), prefix, chunk_size=DELETED_AT_ONCE))
            while True:
                async with asyncio.timeout(self._idle_seconds):
                    page = await anext(pages, None)
                if page is None:
                    return
                for found in page:
                    yield Blob(found["path"], found["size"], round(found["last_modified"].timestamp() * 1000))

    async def tidy(self, before: int) -> int:
        """Removes what puts left that were broken off before that time (ms) by the death of their process; how much.

        Of a folder: an object store has a rule of its own for that.
        """
        if self._folder is None:
            return 0
        with self._asking("tidy", ""):
            return await asyncio.to_thread(_remove_unfinished, self._folder, before)

    async def close(self) -> None:
        """Returns when the process may end."""
        await asyncio.sleep(max(0.0, self._called + LET_GO_SECONDS - time.monotonic()))

    async def _watched(self, chunks: AsyncIterator[bytes], limit: asyncio.Timeout) -> AsyncGenerator[bytes]:
        """The same chunks; each moves the limit on."""
        loop = asyncio.get_running_loop()
        async with aclosing(_closable(chunks)) as items:
            async for chunk in items:
                yield chunk
                limit.reschedule(loop.time() + self._idle_seconds)

    def _opened(self) -> Any:
        """What the library calls a store, for a call that begins now."""
        if self._store is None and self._folder is not None:
            self._store = LocalStore(self._folder, mkdir=True, automatic_cleanup=True)
        return self._store

    @contextlib.contextmanager
    def _asking(self, what: str, path: str) -> Iterator[None]:
        """A call. Raises BlobMissingError, BlobsUnavailableError in place of the library's errors."""
        try:
            yield
        except FileNotFoundError:
            raise BlobMissingError(path) from None
        except (BaseError, OSError) as e:
            log.warning("blobs_away", call=what, path=path, error=str(e).partition("\n")[0] or type(e).__name__)
            raise BlobsUnavailableError(f"the blob store is away ({why_away(e)}); repeat the call later") from e
        finally:
            self._called = time.monotonic()


async def _closable(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async for chunk in chunks:
        yield chunk


def _remote(url: str) -> Any:
    # Without TLS only where the endpoint that somebody named has none.
    client: Any = {"timeout": CALL_SECONDS, "connect_timeout": "5s", "allow_http": True}
    retry: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
    try:
        if url.startswith("az:"):  # of which the library reads no account
            account, container, prefix = azure(url)
            return AzureStore(container, account_name=account, prefix=prefix, client_options=client, retry_config=retry)
        return from_url(url, client_options=client, retry_config=retry)
    except BaseError as e:
        raise ValueError(f"can't be used: {str(e).partition(chr(10))[0]}") from None


def _remove_unfinished(folder: Path, before: int) -> int:
    removed = 0
    for path in folder.rglob("*#*"):
        with contextlib.suppress(FileNotFoundError):  # it was ended, or removed by another coordinator
            if _UNFINISHED.search(path.name) and path.is_file() and path.stat().st_mtime * 1000 < before:
                path.unlink()
                removed += 1
    return removed


def _to_disk(*paths: Path) -> None:
    """What is named afterwards is to be there after a loss of power too."""
    opened = dict.fromkeys(paths, os.O_RDONLY) | {path.parent: os.O_RDONLY | os.O_DIRECTORY for path in paths}
    for each, flags in opened.items():
        descriptor = os.open(each, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
