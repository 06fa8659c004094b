"""Evidence of attempts: pushed by agents, listed and fetched by people."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog

from qgjob_coordinator.blobs.spool import Spool, pieces
from qgjob_coordinator.blobs.store import BlobMissingError, BlobStore
from qgjob_coordinator.errors import ConflictError, InvalidError, NotFoundError, TooLargeError
from qgjob_coordinator.model.artifacts import Artifact, ArtifactKind, Evidence, LeftOut, OfferedFile, Omission
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.refusals import job_not_found
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.store.store import Store

MAX_FILES = 1000
"""Of one attempt."""
MAX_LEFT_OUT = 20
MAX_JOBS = 100
"""Of one list."""
MAX_ATTEMPT = 2**31 - 1
MAX_TOKEN = 256
RECEIVED_AT_ONCE = 16
"""Files that a coordinator takes the bytes of; others wait for their turn. Each has a file on its disk."""
KEPT_AT_ONCE = 4
"""Each has some MB in memory, on their way to the blob store."""
SMALL_BYTES = 256 * 1024
"""A file of so much is held in memory, of which a caller has one at a time."""
NOTED_BYTES = 4 * 1024 * 1024
"""What is kept of a push is noted when it is so much: all of that would be sent again if the push broke."""
OWNER_DIGITS = 16
PREFIX_DIGITS = 8

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an agent announces before the bytes; nothing of it is checked yet."""

    job_id: object
    attempt: object
    token: object
    files: Sequence[tuple[object, ArtifactKind | None, object, object]]
    left_out: Sequence[tuple[object, object, object]] = ()


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


@dataclass(frozen=True, slots=True)
class Push:
    """A push whose header was taken. `wanted` are places of its files that are not kept yet, in order."""

    org_id: str
    ulid: str
    attempt: int
    files: tuple[OfferedFile, ...]
    wanted: tuple[int, ...]
    prefix: str
    left_out: tuple[LeftOut, ...]
    unnoted: list[OfferedFile] = field(default_factory=list)
    """Whose bytes are there, and which the store does not name yet."""


def folder_of(org_id: str, ulid: str) -> str:
    """Where all evidence of a job lies in the blob store."""
    return f"orgs/{org_id}/jobs/{ulid}"


def blob_path(org_id: str, ulid: str, attempt: int, digest: str) -> str:
    """Where a file lies: by its content, so that no other one can take its place."""
    return f"{folder_of(org_id, ulid)}/{attempt}/{digest}"


class ArtifactService:
    """Evidence for its callers. What there is stands in the store, the bytes in the blob store."""

    def __init__(self, store: Store, blobs: BlobStore, spool: Spool, max_bytes: int) -> None:
        self._store = store
        self._blobs = blobs
        self._spool = spool
        self._max_bytes = max_bytes
        self._receiving = asyncio.Semaphore(RECEIVED_AT_ONCE)
        self._keeping = asyncio.Semaphore(KEPT_AT_ONCE)

    async def begin(self, principal: Principal, offer: Offer) -> Push:
        """Takes a header. Repeated, it wants what was not kept yet.

        Files of an agent that had lost the attempt, so that another one has its number, get names of their own.

        Raises InvalidError, TooLargeError, ConflictError (a name has another content), NotFoundError (the job is gone,
        or its evidence is), StoreUnavailableError.
        """
        org_id, ulid = validation.split_job_id(offer.job_id)
        if not principal.sees(org_id):
            raise job_not_found(offer.job_id)
        attempt = validation.check_int("attempt", offer.attempt, 1, MAX_ATTEMPT)
        token = validation.check_given("token", offer.token, MAX_TOKEN)
        files = self._checked(offer)
        left_out = _left_out(offer)
        if (await self._store.reads.resolve(org_id, [ulid])) != [ulid]:
            raise job_not_found(offer.job_id)
        owner = hashlib.sha256(token.encode()).hexdigest()[:OWNER_DIGITS]
        evidence = await self._store.artifacts.expect(org_id, ulid, attempt, owner, wall_ms())
        if evidence is None:
            raise _removed(offer.job_id)
        prefix = "" if dict(evidence.owners)[attempt] == owner else f"late-{owner[:PREFIX_DIGITS]}/"
        named = tuple(OfferedFile(prefix + f.name, f.kind, f.digest, f.size_bytes) for f in files)
        return Push(org_id, ulid, attempt, named, _wanted(named, evidence, attempt), prefix, tuple(left_out))

    async def keep(self, push: Push, place: int, chunks: AsyncIterator[bytes]) -> None:
        """Keeps one of the wanted files, whose bytes `chunks` gives. Small ones are noted together.

        Raises InvalidError, ConflictError, NotFoundError, BlobsUnavailableError, StoreUnavailableError.
        """
        file = push.files[place]
        path = _path(push, file)
        if file.size_bytes <= SMALL_BYTES:
            small = await self._spool.in_memory(chunks, file.digest, file.size_bytes)
            async with self._keeping:
                await self._blobs.put(path, _once(small), file.size_bytes)
        else:
            async with (
                self._receiving,
                self._spool.received(chunks, file.digest, file.size_bytes) as received,
                self._keeping,
                aclosing(pieces(received)) as data,
            ):
                await self._blobs.put(path, data, file.size_bytes)
        push.unnoted.append(file)
        if sum(each.size_bytes for each in push.unnoted) > NOTED_BYTES:
            await self._note(push, None)

    async def end(self, push: Push) -> None:
        """All that was wanted is kept. Raises what `keep` does."""
        await self._note(push, (push.prefix, push.left_out))
        log.info(
            "artifacts_kept",
            job_id=f"{push.org_id}~{push.ulid}",
            attempt=push.attempt,
            files=len(push.wanted),
            size_bytes=sum(push.files[place].size_bytes for place in push.wanted),
        )

    async def _note(self, push: Push, end: tuple[str, tuple[LeftOut, ...]] | None) -> None:
        files = tuple(push.unnoted)
        push.unnoted.clear()
        evidence = await self._store.artifacts.keep(push.org_id, push.ulid, push.attempt, files, wall_ms(), end)
        if evidence is None:  # its remover may have looked before the bytes were there
            await self._blobs.delete([_path(push, each) for each in files])
            raise _removed(f"{push.org_id}~{push.ulid}")
        _wanted(files, evidence, push.attempt)

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
        there = await self._store.reads.resolve(org_id, ulids)
        wanted = sorted({found or ulid for found, ulid in zip(there, ulids, strict=True)})
        return wanted, await self._store.artifacts.of(org_id, wanted)

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
            async with aclosing(self._blobs.get(blob_path(org_id, its_ulid, number, found.file.digest), at)) as data:
                async for piece in data:
                    yield ArtifactPiece(at, piece, size)
                    at += len(piece)
        except BlobMissingError:
            raise _no_file(job_id, number, wanted) from None

    def _checked(self, offer: Offer) -> list[OfferedFile]:
        if len(offer.files) > MAX_FILES:
            raise InvalidError("files", f"has {len(offer.files)} files; at most {MAX_FILES} of an attempt are taken")
        files = [_checked_file(f"files[{i}]", *each) for i, each in enumerate(offer.files)]
        known: set[str] = set()
        for i, each in enumerate(files):
            if each.name in known:
                raise InvalidError(f"files[{i}].name", f"{validation.shown(each.name)} is there twice")
            known.add(each.name)
        total = sum(each.size_bytes for each in files)
        if total > self._max_bytes:
            most = f"at most {self._max_bytes} of an attempt are taken (ARTIFACTS_MAX_MB of the coordinator)"
            raise TooLargeError(f"files: have {total} bytes; {most}", field="files")
        return files


def _checked_file(field: str, name: object, kind: ArtifactKind | None, digest: object, size: object) -> OfferedFile:
    path = validation.check_path(f"{field}.name", name)
    if path.endswith("/"):
        raise InvalidError(f"{field}.name", f"{validation.shown(path)} is a folder; name a file")
    if kind is None:
        raise InvalidError(f"{field}.kind", f"is unknown; use one of {', '.join(ArtifactKind)}")
    known = validation.check_digest(f"{field}.digest", digest)
    return OfferedFile(path, kind, known, validation.check_int(f"{field}.size_bytes", size, 1, validation.MAX_INT))


def _left_out(offer: Offer) -> list[LeftOut]:
    if len(offer.left_out) > MAX_LEFT_OUT:
        raise InvalidError("left_out", f"has {len(offer.left_out)} entries; at most {MAX_LEFT_OUT} are taken")
    return [
        LeftOut(
            validation.check_int(f"left_out[{i}].files", files, 0, validation.MAX_INT),
            validation.check_int(f"left_out[{i}].size_bytes", size, 0, validation.MAX_INT),
            validation.check_given(f"left_out[{i}].reason", reason, validation.MAX_TEXT),
        )
        for i, (files, size, reason) in enumerate(offer.left_out)
    ]


def _path(push: Push, file: OfferedFile) -> str:
    return blob_path(push.org_id, push.ulid, push.attempt, file.digest)


async def _once(data: bytes) -> AsyncGenerator[bytes]:
    yield data


def _wanted(files: Sequence[OfferedFile], evidence: Evidence, attempt: int) -> tuple[int, ...]:
    """Places of the files that are not kept yet. Raises ConflictError where a name has another content."""
    kept = {a.file.name: a.file for a in evidence.artifacts if a.attempt == attempt}
    for place, each in enumerate(files):
        there = kept.get(each.name, each)
        if there.digest != each.digest:
            has = f"attempt {attempt} has another file of the name {validation.shown(each.name)} ({there.digest})"
            raise ConflictError(f"{has}; what is kept never changes", field=f"files[{place}].name")
    return tuple(place for place, each in enumerate(files) if each.name not in kept)


def _place(artifact: Artifact) -> str:
    """Sorts as the lists of `Evidence` do."""
    return f"{artifact.job_id} {artifact.attempt:010d} {artifact.file.name}"


def _removed(job_id: object) -> NotFoundError:
    return NotFoundError(f"what was kept of job {job_id} has been removed by its age", field="job_id")


def _no_file(job_id: object, attempt: int, name: str) -> NotFoundError:
    what = f"attempt {attempt} of job {job_id} has no file {validation.shown(name)}"
    return NotFoundError(f"{what}; `qgjob artifacts ls {job_id}` lists those it has", field="name")
