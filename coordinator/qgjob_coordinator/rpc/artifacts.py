"""ArtifactService: thin over service/."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from qgjob_coordinator.errors import (
    BlobsUnavailableError,
    InvalidError,
    OrgDamagedError,
    QgjobError,
    SchemaOlderError,
    StoreRightsError,
    StoreUnavailableError,
    TooLargeError,
)
from qgjob_coordinator.model.artifacts import Artifact, ArtifactKind, Omission
from qgjob_coordinator.rpc.jobs import Context, Identify
from qgjob_coordinator.rpc.requests import given
from qgjob_coordinator.rpc.shapes import time_out
from qgjob_coordinator.service.calls.artifact_offers import Offer, Push
from qgjob_coordinator.service.calls.artifacts import ArtifactService
from qgjob_coordinator.service.calls.small_artifacts import SmallArtifactService, SmallOffer
from qgjob_proto.v1 import artifacts_pb2 as pb
from qgjob_proto.v1 import artifacts_pb2_grpc

MAX_CHUNK_BYTES = 1_000_000

_PREFIX = "ARTIFACT_KIND_"
_KINDS = {pb.ArtifactKind.Value(f"{_PREFIX}{kind.name}"): kind for kind in ArtifactKind}
_VERDICTS: dict[type[QgjobError], pb.PushVerdict.ValueType] = {
    TooLargeError: pb.PUSH_VERDICT_TOO_LARGE,
    BlobsUnavailableError: pb.PUSH_VERDICT_AWAY,
    StoreUnavailableError: pb.PUSH_VERDICT_AWAY,
    StoreRightsError: pb.PUSH_VERDICT_AWAY,
    OrgDamagedError: pb.PUSH_VERDICT_AWAY,
    SchemaOlderError: pb.PUSH_VERDICT_AWAY,
}
"""What else is wrong with the files of one attempt is so for good."""
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


class ArtifactServicer(artifacts_pb2_grpc.ArtifactServiceServicer):
    """The methods of qgjob.v1.ArtifactService."""

    def __init__(self, artifacts: ArtifactService, small: SmallArtifactService, identify: Identify) -> None:
        self._artifacts = artifacts
        self._small = small
        self._identify = identify

    async def PushArtifacts(  # type: ignore[override]  # noqa: N802 - writes to the context instead of yielding
        self, request_iterator: AsyncIterator[pb.PushArtifactsRequest], context: Context
    ) -> None:
        """Keeps the files of one attempt."""
        principal = await self._identify(context)
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidError("header", "is missing; the first message has to be the header")
        push = await self._artifacts.begin(principal, _offer(first.header))
        await context.write(pb.PushArtifactsResponse(wanted=pb.ArtifactsWanted(files=push.wanted)))
        for place in push.wanted:
            await self._artifacts.keep(push, place, _bytes_of(push, place, request_iterator))
            await context.write(pb.PushArtifactsResponse(kept=pb.ArtifactKept(file=place)))
        await self._artifacts.end(push)

    async def PushSmallArtifacts(  # noqa: N802
        self, request: pb.PushSmallArtifactsRequest, context: Context
    ) -> pb.PushSmallArtifactsResponse:
        """Keeps the files of several attempts."""
        principal = await self._identify(context)
        offers = [SmallOffer(_offer(each.header), each.contents) for each in request.attempts]
        return pb.PushSmallArtifactsResponse(attempts=map(_pushed, await self._small.push(principal, offers)))

    async def ListArtifacts(  # noqa: N802
        self, request: pb.ListArtifactsRequest, context: Context
    ) -> pb.ListArtifactsResponse:
        """What is kept of some jobs."""
        principal = await self._identify(context)
        page = await self._artifacts.artifacts(
            principal, request.job_ids, given(request, "attempt"), request.page_size, request.page_token
        )
        return pb.ListArtifactsResponse(
            artifacts=map(_artifact, page.artifacts),
            count=len(page.artifacts),
            next_page_token=page.next_page_token,
            omissions=map(_omission, page.omissions),
            complete=[pb.CompleteAttempt(job_id=job_id, attempt=attempt) for job_id, attempt in page.complete],
        )

    async def FetchArtifact(  # noqa: N802
        self, request: pb.FetchArtifactRequest, context: Context
    ) -> AsyncGenerator[pb.FetchArtifactResponse]:
        """The bytes of a file, from an offset."""
        principal = await self._identify(context)
        first = True
        found = self._artifacts.fetch(principal, request.job_id, request.attempt, request.name, request.offset)
        async with aclosing(found) as pieces:  # a reader who goes leaves no call to the blob store open
            async for piece in pieces:
                size = piece.size_bytes if first else 0
                first = False
                yield pb.FetchArtifactResponse(chunk=piece.data, offset=piece.offset, size_bytes=size)


def _offer(h: pb.PushArtifactsHeader) -> Offer:
    return Offer(
        h.job_id,
        h.attempt,
        h.token,
        [(f.name, _KINDS.get(f.kind), f.digest, f.size_bytes) for f in h.files],
        [(each.files, each.size_bytes, each.reason) for each in h.left_out],
    )


def _pushed(result: int | QgjobError) -> pb.SmallArtifactsPushed:
    if isinstance(result, int):
        return pb.SmallArtifactsPushed(verdict=pb.PUSH_VERDICT_KEPT, files=result)
    verdict = _VERDICTS.get(type(result), pb.PUSH_VERDICT_REFUSED)
    return pb.SmallArtifactsPushed(verdict=verdict, message=result.message)


async def _bytes_of(push: Push, place: int, requests: AsyncIterator[pb.PushArtifactsRequest]) -> AsyncGenerator[bytes]:
    """The bytes of one file, of which all have to come before those of the next."""
    left = push.files[place].size_bytes
    while left > 0 and (request := await anext(requests, None)) is not None:
        if request.WhichOneof("part") != "chunk":
            raise InvalidError("chunk", "is missing; after the header only bytes may come")
        chunk = request.chunk
        if chunk.file != place:
            raise InvalidError("chunk.file", f"is {chunk.file}, and {left} bytes of file {place} are still to come")
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise InvalidError("chunk", f"has {len(chunk.data)} bytes; send at most {MAX_CHUNK_BYTES} at once")
        left -= len(chunk.data)
        yield chunk.data


def _artifact(a: Artifact) -> pb.Artifact:
    return pb.Artifact(
        job_id=a.job_id,
        attempt=a.attempt,
        name=a.file.name,
        kind=_NUMBERS[a.file.kind],
        digest=a.file.digest,
        size_bytes=a.file.size_bytes,
        pushed_at=time_out(a.pushed_at),
    )


def _omission(o: Omission) -> pb.ArtifactOmission:
    left = o.left_out
    return pb.ArtifactOmission(
        job_id=o.job_id, attempt=o.attempt, files=left.files, size_bytes=left.size_bytes, reason=left.reason
    )
