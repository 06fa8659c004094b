"""SuiteService: thin over service/."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from qgjob_coordinator.errors import InvalidError, QgjobError
from qgjob_coordinator.model.suites import Suite
from qgjob_coordinator.rpc.jobs import Context, Identify
from qgjob_coordinator.rpc.pushes import Chunks
from qgjob_coordinator.rpc.shapes import time_out
from qgjob_coordinator.service.calls.suites import SuiteHeader, SuiteService
from qgjob_proto.v1 import suites_pb2 as pb
from qgjob_proto.v1 import suites_pb2_grpc


class SuiteServicer(suites_pb2_grpc.SuiteServiceServicer):
    """The methods of qgjob.v1.SuiteService."""

    def __init__(self, suites: SuiteService, identify: Identify) -> None:
        self._suites = suites
        self._identify = identify

    async def PushSuite(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PushSuiteRequest], context: Context
    ) -> pb.PushSuiteResponse:
        """Keeps a suite."""
        chunks = Chunks(request_iterator, context)
        try:
            principal = await self._identify(context)
            first = await anext(request_iterator, None)
            if first is None or first.WhichOneof("part") != "header":
                raise InvalidError("header", "is missing; the first message has to be the header")
            h = first.header
            header = SuiteHeader(h.org_id, h.digest, h.size_bytes, h.name)
            pushed = await self._suites.push(principal, header, aiter(chunks))
        except QgjobError:
            await chunks.pass_over()
            raise
        await chunks.pass_over()
        return pb.PushSuiteResponse(suite=suite_out(pushed.suite), uploaded=pushed.uploaded)

    async def ListSuites(self, request: pb.ListSuitesRequest, context: Context) -> pb.ListSuitesResponse:  # noqa: N802
        """The suites of an org."""
        principal = await self._identify(context)
        page, token = await self._suites.suites(principal, request.org_id, request.page_size, request.page_token)
        return pb.ListSuitesResponse(suites=map(suite_out, page), count=len(page), next_page_token=token)

    async def FetchSuite(  # noqa: N802
        self, request: pb.FetchSuiteRequest, context: Context
    ) -> AsyncGenerator[pb.FetchSuiteResponse]:
        """The bytes of a suite, from an offset."""
        principal = await self._identify(context)
        first = True
        found = self._suites.fetch(principal, request.org_id, request.digest, request.offset)
        async with aclosing(found) as pieces:  # a reader who goes leaves no call to the blob store open
            async for piece in pieces:
                size = piece.size_bytes if first else 0
                first = False
                yield pb.FetchSuiteResponse(chunk=piece.data, offset=piece.offset, size_bytes=size)


def suite_out(s: Suite) -> pb.Suite:
    """A suite."""
    return pb.Suite(
        org_id=s.org_id,
        digest=s.digest,
        size_bytes=s.size_bytes,
        file_count=s.file_count,
        name=s.name,
        pushed_at=time_out(s.pushed_at),
    )
