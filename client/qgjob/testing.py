"""A seam for tests of code that uses the client: a transport that a function answers.

    async def answer(method, request):
        assert method == "GetJob"
        return jobs_pb2.GetJobResponse(job=types_pb2.Job(job_id=request.job_id, ...))

    client = AsyncClient(transports=[MockTransport(answer)])

Requests and answers are the messages of `qgjob_proto.v1`. For a stream (`WatchJobs`, `TailLogs`) the function returns
an iterable of answers; an exception among them is raised in its place. What the function raises, the caller gets.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any


class MockTransport:
    """A coordinator made of one function. `calls` keeps what was asked: (method, request) in order."""

    def __init__(self, answer: Callable[[str, Any], Awaitable[Any]], *, address: str = "mock:0") -> None:
        self.address = address
        self.calls: list[tuple[str, Any]] = []
        self._answer = answer

    async def connect(self, *, timeout_seconds: float) -> None:
        """Always connected."""

    async def call(self, method: str, request: Any, *, timeout_seconds: float) -> Any:
        """What the function answers. `timeout_seconds` is the caller's, not kept here."""
        self.calls.append((method, request))
        return await self._answer(method, request)

    async def stream(self, method: str, request: Any) -> AsyncGenerator[Any]:
        """Each of what the function answers."""
        self.calls.append((method, request))
        for answer in await self._answer(method, request):
            if isinstance(answer, Exception):
                raise answer
            yield answer

    async def close(self) -> None:
        """Nothing is open."""
