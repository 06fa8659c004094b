"""Contents, of builds and of suites, on their way: from a push into the blob store, and out of it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from qgjob_coordinator.blobs.paths import blob_path
from qgjob_coordinator.blobs.spool import Spool, pieces
from qgjob_coordinator.blobs.store import BlobMissingError, BlobStore
from qgjob_coordinator.errors import BlobsUnavailableError, InvalidError, NotFoundError
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.principal import Principal

RECEIVED_AT_ONCE = 8
"""Pushes that a coordinator takes the bytes of; others wait for their turn. Each has a file on its disk."""
KEPT_AT_ONCE = 2
"""Each has some MB in memory, on their way to the blob store."""
LEAVING_SECONDS = 0.2
LEAVING_TRIES = 25


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a content, which has `size_bytes` in all."""

    offset: int
    data: bytes
    size_bytes: int


class Contents:
    """All contents of a coordinator. What they are, and what names them, is their service's."""

    def __init__(self, blobs: BlobStore, spool: Spool) -> None:
        self._blobs = blobs
        self._spool = spool
        self._receiving = asyncio.Semaphore(RECEIVED_AT_ONCE)
        self._keeping = asyncio.Semaphore(KEPT_AT_ONCE)

    @asynccontextmanager
    async def received(self, chunks: AsyncIterator[bytes], digest: str, size_bytes: int) -> AsyncIterator[BinaryIO]:
        """See Spool; waits for its turn."""
        async with self._receiving, self._spool.received(chunks, digest, size_bytes) as file:
            yield file

    async def there(self, org_id: str, digest: str, size_bytes: int) -> bool:
        """Whether the blob store has it whole. Raises BlobsUnavailableError."""
        return await self._blobs.size(blob_path(org_id, digest)) == size_bytes

    async def keep(
        self, org_id: str, digest: str, size_bytes: int, file: BinaryIO, expect: Callable[[], Awaitable[bool]]
    ) -> None:
        """Keeps what was received. `expect` tells the store of it before; False while one like it is removed.

        Raises BlobsUnavailableError, StoreUnavailableError.
        """
        for _ in range(LEAVING_TRIES):
            if await expect():
                break
            await asyncio.sleep(LEAVING_SECONDS)
        else:
            raise leaving()
        async with self._keeping, aclosing(pieces(file)) as chunks:
            await self._blobs.put(blob_path(org_id, digest), chunks, size_bytes)

    async def fetch(
        self, principal: Principal, org_id: object, digest: object, offset: object, kind: str
    ) -> AsyncGenerator[Piece]:
        """The bytes of a content from `offset` on; a single piece without any where nothing is left.

        `kind` is what it is for people: build, suite. Raises InvalidError, NotFoundError, BlobsUnavailableError.
        """
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        name = validation.check_digest("digest", digest)
        at = validation.check_int("offset", offset, 0, validation.MAX_INT)
        path = blob_path(org, name)
        size = await self._blobs.size(path)
        if size is None:
            raise _no_content(org, name, kind)
        if at > size:
            raise InvalidError("offset", f"{at} is beyond the end: the {kind} has {size} bytes")
        if at == size:
            yield Piece(at, b"", size)
            return
        try:
            async with aclosing(self._blobs.get(path, at)) as found:
                async for data in found:
                    yield Piece(at, data, size)
                    at += len(data)
        except BlobMissingError:
            raise _no_content(org, name, kind) from None


def leaving() -> BlobsUnavailableError:
    """What a push is told that came while the same content was being removed."""
    return BlobsUnavailableError("the same content is being removed, since nothing named it; repeat the call later")


def _no_content(org_id: str, digest: str, kind: str) -> NotFoundError:
    message = f"org {org_id} has no {kind} with the digest {digest}; `qgjob {kind}s ls` lists those it has"
    return NotFoundError(message, field="digest")
