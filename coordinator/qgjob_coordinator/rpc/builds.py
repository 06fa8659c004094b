"""BuildService: thin over service/."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from qgjob_coordinator.errors import InvalidError, QgjobError
from qgjob_coordinator.model.builds import Build
from qgjob_coordinator.rpc.jobs import Context, Identify
from qgjob_coordinator.rpc.pushes import Chunks
from qgjob_coordinator.rpc.requests import given
from qgjob_coordinator.rpc.shapes import time_out
from qgjob_coordinator.service.calls.builds import BuildService, PushHeader
from qgjob_coordinator.service.calls.uploads import UploadService, UploadShare
from qgjob_coordinator.store.types.contents import NameWord, UploadWord
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc

_OUTCOME = {
    NameWord.NEW: pb.PUSH_OUTCOME_NEW,
    NameWord.SAME: pb.PUSH_OUTCOME_SAME,
    NameWord.REPLACED: pb.PUSH_OUTCOME_REPLACED,
}

_STATE = {
    UploadWord.YOURS: pb.UPLOAD_STATE_YOURS,
    UploadWord.TAKEN: pb.UPLOAD_STATE_TAKEN,
    UploadWord.KNOWN: pb.UPLOAD_STATE_KNOWN,
    UploadWord.STALE: pb.UPLOAD_STATE_STALE,
    UploadWord.FREE: pb.UPLOAD_STATE_FREE,
}


class BuildServicer(builds_pb2_grpc.BuildServiceServicer):
    """The methods of qgjob.v1.BuildService."""

    def __init__(self, builds: BuildService, uploads: UploadService, identify: Identify) -> None:
        self._builds = builds
        self._uploads = uploads
        self._identify = identify

    async def PushBuild(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.PushBuildRequest], context: Context
    ) -> pb.PushBuildResponse:
        """Keeps a build and gives it to its app version."""
        chunks = Chunks(request_iterator, context)
        try:
            principal = await self._identify(context)
            first = await anext(request_iterator, None)
            if first is None or first.WhichOneof("part") != "header":
                raise InvalidError("header", "is missing; the first message has to be the header")
            h = first.header
            header = PushHeader(h.org_id, h.app_version_id, h.digest, h.size_bytes, h.file_name, h.replace)
            pushed = await self._builds.push(principal, header, aiter(chunks))
        except QgjobError:
            await chunks.pass_over()
            raise
        await chunks.pass_over()
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
        found = self._builds.fetch(principal, request.org_id, request.digest, request.offset)
        async with aclosing(found) as pieces:  # a reader who goes leaves no call to the blob store open
            async for piece in pieces:
                size = piece.size_bytes if first else 0
                first = False
                yield pb.FetchBuildResponse(chunk=piece.data, offset=piece.offset, size_bytes=size)

    async def ShareUpload(  # noqa: N802
        self, request: pb.ShareUploadRequest, context: Context
    ) -> pb.ShareUploadResponse:
        """How an upload of an agent stands."""
        principal = await self._identify(context)
        r = request
        told = UploadShare(r.account, r.digest, r.token, r.held_seconds, r.app_url, r.give_up)
        word, where = await self._uploads.share(principal, told)
        return pb.ShareUploadResponse(state=_STATE[word], app_url=where)


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
