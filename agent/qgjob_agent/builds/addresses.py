"""Builds behind https addresses. Their content is what the server says it is: there is no digest to compare it with."""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial
from typing import TYPE_CHECKING

import httpx2

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.builds.cache import digest_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from qgjob_agent.builds.cache import ContentCache

_TIMEOUT = httpx2.Timeout(30.0, pool=None)
_NOT_THERE = frozenset({404, 410})
_AS_IT_IS = {"accept-encoding": "identity"}
"""The bytes are kept as they come: an .apk is packed already, and parts of it are asked for."""


class Addresses:
    """Asks for an address before each installation: another entity tag, size or time of change is another content."""

    def __init__(self, cache: ContentCache) -> None:
        self._cache = cache
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT, follow_redirects=True, http2=False, headers=_AS_IT_IS)
        self._digests: dict[str, str] = {}  # by name in the cache

    async def get(self, address: str, ending: str) -> tuple[Path, str]:
        """The file, with this ending, and its digest. Raises BuildAwayError, BuildUnresolvedError."""
        try:
            head = await self._client.head(address)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _away(address, error) from error
        check(address, head)
        size = head.headers.get("content-length", "")
        if not size.isdecimal():
            raise BuildAwayError(f"{address} does not say how large it is (Content-Length)")
        says = "\n".join(head.headers.get(name, "") for name in ("etag", "last-modified"))
        name = "address-" + hashlib.sha256(f"{address}\n{size}\n{says}".encode()).hexdigest()
        path = await self._cache.get(name, int(size), partial(self._from, address), ending=ending, verified=False)
        if name not in self._digests:
            self._digests[name] = await asyncio.to_thread(digest_of, path)
        return path, self._digests[name]

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _from(self, address: str, offset: int) -> AsyncGenerator[bytes, None]:
        headers = {"range": f"bytes={offset}-"} if offset else {}
        try:
            async with self._client.stream("GET", address, headers=headers) as answer:
                check(address, answer)
                skip = offset if answer.status_code != httpx2.codes.PARTIAL_CONTENT else 0  # it knows no ranges
                async for piece in answer.aiter_raw():
                    if skip >= len(piece):
                        skip -= len(piece)
                        continue
                    yield piece[skip:]
                    skip = 0
        except httpx2.HTTPError as error:
            raise _away(address, error) from error


def check(address: str, answer: httpx2.Response) -> None:
    """Whether a build is what came. Raises BuildUnresolvedError, BuildAwayError."""
    plain = next((str(x.url) for x in (*answer.history, answer) if x.url.scheme != "https"), None)
    if address.startswith("https:") and plain is not None:
        raise BuildUnresolvedError(
            f"builds.template names {address}, which leads to {plain}; name one that stays https"
        )
    packed = answer.headers.get("content-encoding", "identity")
    if packed != "identity":
        raise BuildAwayError(
            f"builds.template names {address}, which is sent packed as {packed}; have it sent as it is"
        )
    code = answer.status_code
    if code in _NOT_THERE:
        raise BuildUnresolvedError(f"builds.template names {address}, which is not there (HTTP {code})")
    if not answer.is_success:
        raise BuildAwayError(f"builds.template names {address}, which answers with HTTP {code}")


def _away(address: str, error: Exception) -> BuildAwayError:
    return BuildAwayError(f"builds.template names {address}: {str(error) or type(error).__name__}")
