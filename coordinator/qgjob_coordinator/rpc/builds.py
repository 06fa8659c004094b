"""BuildService: thin over service/."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.builds import Build
from qgjob_coordinator.rpc.jobs import Context, Identify
from qgjob_coordinator.rpc.requests import given
from qgjob_coordinator.rpc.shapes import time_out
from qgjob_coordinator.service.calls.builds import BuildService, PushHeader
from qgjob_coordinator.store.types import NameWord
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc

MAX_CHUNK_BYTES = 1_000_000

_OUTCOME = {
    NameWord.NEW: pb.PUSH_OUTCOME_NEW,
    NameWord.SAME: pb.PUSH_OUTCOME_SAME,
    NameWord.REPLACED: pb.PUSH_OUTCOME_REPLACED,
}


class BuildServicer(builds_pb2_grpc.BuildServiceServicer):
    """The methods of qgjob.v1.BuildService."""

    def __init__(self, builds: BuildService, identify: Identify) -> None:
        self._builds = builds
        self._identify = identify

    async def PushBuild(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PushBuildRequest], context: Context
    ) -> pb.PushBuildResponse:
        """Keeps a build and gives it to its app version."""
        principal = await self._identify(context)
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidError("header", "is missing; the first message has to be the header")
        h = first.header
        header = PushHeader(h.org_id, h.app_version_id, h.digest, h.size_bytes, h.file_name, h.replace)
        pushed = await self._builds.push(principal, header, _chunks(request_iterator, context))
        return pb.PushBuildResponse(
            build=build_out(pushed.build), outcome=_OUTCOME[pushed.word], uploaded=pushed.uploaded
        )

    async def ListBuilds(self, request: pb.ListBuildsRequest, context: Context) -> pb.ListBuildsResponse:  # noqa: N802
        """The builds of an org."""
        principal = await self._identify(context)
        version = given(request, "app_version_id")
        page, token = await self._builds.builds(
            principal, request.org_id, version, request.page_size, request.page_token
        )
        return pb.ListBuildsResponse(builds=map(build_out, page), count=len(page), next_page_token=token)

    async def FetchBuild(  # noqa: N802
        self, request: pb.FetchBuildRequest, context: Context
    ) -> AsyncGenerator[pb.FetchBuildResponse]:
        """The bytes of a build, from an offset."""
        principal = await self._identify(context)
        first = True
        async for piece in self._builds.fetch(principal, request.org_id, request.digest, request.offset):
            size = piece.size_bytes if first else 0
            first = False
            yield pb.FetchBuildResponse(chunk=piece.data, offset=piece.offset, size_bytes=size)


def build_out(b: Build) -> pb.Build:
    """A build."""
    f = b.facts
    return pb.Build(
        org_id=b.org_id,
        app_version_id=b.app_version_id,
        platform=f.platform,
        kind=f.kind.value,
        digest=b.digest,
        size_bytes=b.size_bytes,
        file_name=b.file_name,
        format=f.format.value,
        package=f.package,
        version_name=f.version_name,
        version_code=f.version_code,
        pushed_at=time_out(b.pushed_at),
    )


async def _chunks(requests: AsyncIterator[pb.PushBuildRequest], context: Context) -> AsyncGenerator[bytes]:
    """The bytes. A caller who waits for the first metadata before it sends any sends none that nobody wants."""
    await context.send_initial_metadata(())
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidError("chunk", "is missing; after the header only bytes may come")
        if len(request.chunk) > MAX_CHUNK_BYTES:
            raise InvalidError("chunk", f"has {len(request.chunk)} bytes; send at most {MAX_CHUNK_BYTES} at once")
        yield request.chunk
