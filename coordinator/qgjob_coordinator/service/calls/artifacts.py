"""Evidence of attempts: pushed by agents, listed and fetched by people."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from qgjob_coordinator.blobs.spool import Spool, pieces
from qgjob_coordinator.blobs.store import BlobMissingError, BlobStore
from qgjob_coordinator.errors import InvalidError, NotFoundError
from qgjob_coordinator.model.artifacts import Artifact, Bounds, Evidence, LeftOut, OfferedFile, Omission
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.artifact_offers import (
    MAX_ATTEMPT,
    Offer,
    Push,
    begun,
    blob_path,
    checked,
    overfull,
    removed,
    wanted_places,
)
from qgjob_coordinator.service.calls.refusals import job_not_found
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.store.artifacts import Expected, Full, KeptFiles
from qgjob_coordinator.store.store import Store

MAX_JOBS = 100
"""Of one list."""
RECEIVED_AT_ONCE = 16
"""Files that a coordinator takes the bytes of; others wait for their turn. Each has a file on its disk."""
KEPT_AT_ONCE = 4
"""Each has some MB in memory, on their way to the blob store."""
SMALL_BYTES = 256 * 1024
"""A file of so much is held in memory, of which a caller has one at a time."""
NOTED_BYTES = 4 * 1024 * 1024
"""What is kept of a push is noted when it is so much: all of that would be sent again if the push broke."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ArtifactPiece:
    """Bytes of a file, which has `size_bytes` in all."""

    offset: int
    data: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ArtifactPage:
    """One page, and the token of the next ("" on the last). What is not of one file is told on the first one.

    `complete` are (job id, attempt) of which all has come.
    """

    artifacts: list[Artifact]
    omissions: list[Omission]
    complete: list[tuple[str, int]]
    next_page_token: str


class ArtifactService:
    """Evidence for its callers. What there is stands in the store, the bytes in the blob store.

    An attempt has no more than `bounds`.
    """

    def __init__(self, store: Store, blobs: BlobStore, spool: Spool, bounds: Bounds) -> None:
        self.store = store
        self.blobs = blobs
        self._spool = spool
        self.bounds = bounds
        self._receiving = asyncio.Semaphore(RECEIVED_AT_ONCE)
        self._keeping = asyncio.Semaphore(KEPT_AT_ONCE)

    async def begin(self, principal: Principal, offer: Offer) -> Push:
        """Takes a header. Repeated, it wants what was not kept yet.

        Raises InvalidError, TooLargeError, ConflictError (a name has another content), NotFoundError (the job is gone,
        or its evidence is), StoreUnavailableError.
        """
        found = checked(offer, self.bounds)
        if not principal.sees(found.org_id):
            raise job_not_found(offer.job_id)
        if (await self.store.reads.resolve(found.org_id, [found.ulid])) != [found.ulid]:
            raise job_not_found(offer.job_id)
        expected = Expected(found.ulid, found.attempt, found.owner)
        (evidence,) = await self.store.artifacts.expect(found.org_id, [expected], wall_ms())
        if evidence is None:
            raise removed(offer.job_id)
        return begun(found, evidence, self.bounds)

    async def keep(self, push: Push, place: int, chunks: AsyncIterator[bytes]) -> None:
        """Keeps one of the wanted files, whose bytes `chunks` gives. Small ones are noted together.

        Raises InvalidError, ConflictError, NotFoundError, TooLargeError, BlobsUnavailableError, StoreUnavailableError.
        """
        file = push.files[place]
        path = push.path(file)
        if file.size_bytes <= SMALL_BYTES:
            small = await self._spool.in_memory(chunks, file.digest, file.size_bytes)
            async with self._keeping:
                await self.blobs.put(path, _once(small), file.size_bytes)
        else:
            async with (
                self._receiving,
                self._spool.received(chunks, file.digest, file.size_bytes) as received,
                self._keeping,
                aclosing(pieces(received)) as data,
            ):
                await self.blobs.put(path, data, file.size_bytes)
        push.unnoted.append(file)
        if sum(each.size_bytes for each in push.unnoted) > NOTED_BYTES:
            await self._note(push, None)

    async def end(self, push: Push) -> None:
        """All that was wanted is kept. Raises what `keep` does."""
        await self._note(push, (push.prefix, push.left_out))
        log.info(
            "artifacts_kept",
            job_id=push.job_id,
            attempt=push.attempt,
            files=len(push.wanted),
            size_bytes=sum(push.files[place].size_bytes for place in push.wanted),
        )

    async def _note(self, push: Push, end: tuple[str, tuple[LeftOut, ...]] | None) -> None:
        files = tuple(push.unnoted)
        push.unnoted.clear()
        kept = KeptFiles(push.ulid, push.attempt, files, end)
        (found,) = await self.store.artifacts.keep(push.org_id, [kept], wall_ms(), self.bounds)
        await settled(push, files, found, self.blobs, self.bounds)

    async def artifacts(
        self, principal: Principal, job_ids: Sequence[object], attempt: object, page_size: object, page_token: object
    ) -> ArtifactPage:
        """One page of what is kept of some jobs of one org.

        Raises InvalidError, NotFoundError (a foreign org), StoreUnavailableError.
        """
        if not 1 <= len(job_ids) <= MAX_JOBS:
            raise InvalidError("job_ids", f"has {len(job_ids)} jobs; name 1 to {MAX_JOBS}")
        split = [validation.split_job_id(each, f"job_ids[{i}]") for i, each in enumerate(job_ids)]
        org_id = split[0][0]
        foreign = next((i for i, (org, _) in enumerate(split) if org != org_id), None)
        if foreign is not None:
            raise InvalidError(
                f"job_ids[{foreign}]", f"is of another org than {job_ids[0]}; ask for each org by itself"
            )
        if not principal.sees(org_id):
            raise job_not_found(job_ids[0], "job_ids[0]")
        only = None if attempt is None else validation.check_int("attempt", attempt, 1, MAX_ATTEMPT)
        ulids, found = await self._evidence(org_id, [ulid for _, ulid in split])
        artifacts = [a for e in found for a in e.artifacts if only in (None, a.attempt)]
        omissions = [o for e in found for o in e.omissions if only in (None, o.attempt)]
        names = [_place(a) for a in artifacts]
        scope = pages.scope("artifacts", str(only or ""), *sorted(str(each) for each in job_ids))
        page, token = pages.cut(artifacts, names, page_size, page_token, hashlib.sha256(scope.encode()).hexdigest())
        if page_token:
            return ArtifactPage(page, [], [], token)
        complete = [
            (f"{org_id}~{ulid}", each)
            for ulid, e in zip(ulids, found, strict=True)
            for each in e.complete
            if only in (None, each)
        ]
        return ArtifactPage(page, omissions, complete, token)

    async def _evidence(self, org_id: str, ulids: Sequence[str]) -> tuple[list[str], list[Evidence]]:
        """Of each job once, by its id; what is kept of a job may outlive the job itself."""
        there = await self.store.reads.resolve(org_id, ulids)
        wanted = sorted({found or ulid for found, ulid in zip(there, ulids, strict=True)})
        return wanted, await self.store.artifacts.of(org_id, wanted)

    async def fetch(
        self, principal: Principal, job_id: object, attempt: object, name: object, offset: object
    ) -> AsyncGenerator[ArtifactPiece]:
        """The bytes of a file from an offset on; at the end of it one piece that is empty.

        Raises InvalidError, NotFoundError, BlobsUnavailableError, StoreUnavailableError.
        """
        org_id, ulid = validation.split_job_id(job_id)
        if not principal.sees(org_id):
            raise job_not_found(job_id)
        number = validation.check_int("attempt", attempt, 1, MAX_ATTEMPT)
        wanted = validation.check_path("name", name)
        at = validation.check_int("offset", offset, 0, validation.MAX_INT)
        _, (evidence,) = await self._evidence(org_id, [ulid])
        found = next((a for a in evidence.artifacts if (a.attempt, a.file.name) == (number, wanted)), None)
        if found is None:
            raise _no_file(job_id, number, wanted)
        size = found.file.size_bytes
        if at > size:
            raise InvalidError("offset", f"{at} is beyond the end: the file has {size} bytes")
        if at == size:
            yield ArtifactPiece(at, b"", size)
            return
        its_ulid = validation.split_job_id(found.job_id)[1]
        try:
            async with aclosing(self.blobs.get(blob_path(org_id, its_ulid, number, found.file.digest), at)) as data:
                async for piece in data:
                    yield ArtifactPiece(at, piece, size)
                    at += len(piece)
        except BlobMissingError:
            raise _no_file(job_id, number, wanted) from None


async def settled(
    push: Push, files: Sequence[OfferedFile], found: Evidence | Full | None, blobs: BlobStore, bounds: Bounds
) -> None:
    """What the store said when it was to name files of a push, whose bytes are there.

    Raises NotFoundError, TooLargeError, ConflictError for files that it names not, BlobsUnavailableError.
    """
    if found is None:  # its remover may have looked before the bytes were there
        await blobs.delete([push.path(each) for each in files])
        raise removed(push.job_id)
    if isinstance(found, Full):  # others brought theirs meanwhile; the bytes go with the job's
        raise overfull(push.attempt, Bounds(found.size_bytes, found.files), files, bounds)
    wanted_places(files, found, push.attempt)


async def _once(data: bytes) -> AsyncGenerator[bytes]:
    yield data


def _place(artifact: Artifact) -> str:
    """Sorts as the lists of `Evidence` do."""
    return f"{artifact.job_id} {artifact.attempt:010d} {artifact.file.name}"


def _no_file(job_id: object, attempt: int, name: str) -> NotFoundError:
    what = f"attempt {attempt} of job {job_id} has no file {validation.shown(name)}"
    return NotFoundError(f"{what}; `qgjob artifacts ls {job_id}` lists those it has", field="name")
