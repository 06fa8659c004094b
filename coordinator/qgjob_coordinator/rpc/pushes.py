"""The bytes of a push, and whether they are wanted. Builds and suites come in the same way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from qgjob_coordinator.errors import InvalidError, QgjobError
from qgjob_coordinator.rpc.jobs import Context
from qgjob_coordinator.rpc.peer import told
from qgjob_proto.v1 import builds_pb2, suites_pb2

MAX_CHUNK_BYTES = 1_000_000
WANTS = "qgjob-wants"
PASS_OVER_SECONDS = 30.0


Part = builds_pb2.PushBuildRequest | suites_pb2.PushSuiteRequest
"""A message of a push: the header first, bytes afterwards."""


class Chunks:
    """The bytes of a push. The caller is told whether they are wanted, by the first metadata of the answer.

    A call that is answered while its caller still sends may end with an error of its library's: so what comes is passed
    over until the caller has said that it was all, for a while.
    """

    def __init__(self, requests: AsyncIterator[Part], context: Context) -> None:
        self._requests = requests
        self._context = context
        self._wanted = False

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        self._wanted = True
        await self._tell("bytes")
        async for request in self._requests:
            if request.WhichOneof("part") != "chunk":
                raise InvalidError("chunk", "is missing; after the header only bytes may come")
            if len(request.chunk) > MAX_CHUNK_BYTES:
                raise InvalidError("chunk", f"has {len(request.chunk)} bytes; send at most {MAX_CHUNK_BYTES} at once")
            yield request.chunk

    async def _tell(self, wanted: str) -> None:
        await told(self._context.send_initial_metadata(((WANTS, wanted),)))

    async def pass_over(self) -> None:
        """Takes what still comes."""
        if not self._wanted:
            await self._tell("nothing")
        with contextlib.suppress(TimeoutError, QgjobError):
            async with asyncio.timeout(PASS_OVER_SECONDS):
                async for _ in self._requests:
                    pass
