"""Small evidence of several attempts, pushed in one call: three calls to the store for all of an org together."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from qgjob_coordinator.errors import (
    BlobsUnavailableError,
    ConflictError,
    InvalidError,
    NotFoundError,
    QgjobError,
    StoreUnavailableError,
    TooLargeError,
)
from qgjob_coordinator.service.calls.artifact_offers import Checked, Offer, Push, begun, checked, removed
from qgjob_coordinator.service.calls.artifacts import ArtifactService, settled
from qgjob_coordinator.service.calls.refusals import job_not_found
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.store.artifacts import Expected, KeptFiles

MAX_ATTEMPTS = 100
"""Of one call."""

_OF_ONE = (InvalidError, NotFoundError, TooLargeError, ConflictError)
"""What is wrong with one attempt's files, and says nothing of the others."""

_AWAY = (BlobsUnavailableError, StoreUnavailableError)

_Row: TypeAlias = tuple[int, Checked, Sequence[bytes]]
"""An attempt's place in the call, and what is kept of it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SmallOffer:
    """All files of an attempt with their bytes, in the order of the offer; nothing of it is checked yet."""

    offer: Offer
    contents: Sequence[bytes]


class SmallArtifactService:
    """Keeps what `ArtifactService` does, in few calls."""

    def __init__(self, artifacts: ArtifactService, faults: OrgFaults) -> None:
        self._faults = faults
        self._store, self._blobs, self._bounds = artifacts.store, artifacts.blobs, artifacts.bounds

    async def push(self, principal: Principal, offers: Sequence[SmallOffer]) -> list[int | QgjobError]:
        """For each attempt how many of its files were not kept before, or why none of them is.

        Such a reason is an InvalidError, TooLargeError, ConflictError or NotFoundError; or BlobsUnavailableError,
        StoreUnavailableError or OrgDamagedError, where that is of its org. Raises one of the first two of these where
        it is so of every attempt: another coordinator may reach them. Raises InvalidError for a call with too many.
        """
        if not 1 <= len(offers) <= MAX_ATTEMPTS:
            raise InvalidError("attempts", f"has {len(offers)} attempts; send 1 to {MAX_ATTEMPTS}")
        results: dict[int, int | QgjobError] = {}
        by_org: dict[str, list[_Row]] = defaultdict(list)
        for place, each in enumerate(offers):
            try:
                found = self._checked(principal, each)
            except _OF_ONE as e:
                results[place] = e
            else:
                by_org[found.org_id].append((place, found, each.contents))
        for org_id, rows in by_org.items():
            results |= await self._pushed(org_id, rows)
        told = [results[place] for place in range(len(offers))]
        away = [each for each in told if isinstance(each, _AWAY)]
        if len(away) == len(told):
            raise away[0]
        log.info(
            "small_artifacts_kept",
            attempts=sum(isinstance(each, int) for each in told),
            files=sum(each for each in told if isinstance(each, int)),
            refused=sum(not isinstance(each, int) for each in told),
        )
        return told

    async def _pushed(self, org_id: str, rows: Sequence[_Row]) -> dict[int, int | QgjobError]:
        """By its place what becomes of each of one org, whatever is away or damaged of it."""
        results: dict[int, int | QgjobError] = {}

        async def keep(some: Sequence[_Row]) -> None:
            kept = await self._keep(org_id, [found for _, found, _ in some], [contents for _, _, contents in some])
            results.update({place: result for (place, _, _), result in zip(some, kept, strict=True)})

        why: QgjobError | None
        try:
            left, why = await self._faults.halved("artifacts", org_id, rows, keep)
        except _AWAY as e:
            left, why = [row for row in rows if row[0] not in results], e
        if why is not None:
            results.update(dict.fromkeys([place for place, _, _ in left], why))
        return results

    def _checked(self, principal: Principal, small: SmallOffer) -> Checked:
        found = checked(small.offer, self._bounds)
        if not principal.sees(found.org_id):
            raise job_not_found(small.offer.job_id)
        if len(small.contents) != len(found.files):
            raise InvalidError("contents", f"has {len(small.contents)} entries for {len(found.files)} files")
        for i, (file, data) in enumerate(zip(found.files, small.contents, strict=True)):
            if len(data) != file.size_bytes or hashlib.sha256(data).hexdigest() != file.digest:
                raise InvalidError(f"contents[{i}]", f"is not what files[{i}] announces; push it again")
        return found

    async def _keep(
        self, org_id: str, offers: Sequence[Checked], contents: Sequence[Sequence[bytes]]
    ) -> list[int | QgjobError]:
        """The same for well-formed offers of one org."""
        pushes = await self._begun(org_id, offers)
        good = {place: push for place, push in enumerate(pushes) if isinstance(push, Push)}
        files = {place: [push.files[i] for i in push.wanted] for place, push in good.items()}
        await self._blobs.put_small(
            [(push.path(push.files[i]), contents[place][i]) for place, push in good.items() for i in push.wanted]
        )
        rows = [KeptFiles(p.ulid, p.attempt, files[place], (p.prefix, p.left_out)) for place, p in good.items()]
        named = await self._store.artifacts.keep(org_id, rows, wall_ms(), self._bounds)
        results: list[int | QgjobError] = [each if isinstance(each, QgjobError) else 0 for each in pushes]
        for (place, push), found in zip(good.items(), named, strict=True):
            try:
                await settled(push, files[place], found, self._blobs, self._bounds)
                results[place] = len(push.wanted)
            except _OF_ONE as e:
                results[place] = e
        return results

    async def _begun(self, org_id: str, offers: Sequence[Checked]) -> list[Push | QgjobError]:
        """Notes what is about to be kept; what of each is wanted, or why nothing is."""
        ulids = list(dict.fromkeys(each.ulid for each in offers))
        known = {ulid for ulid in await self._store.reads.resolve(org_id, ulids) if ulid is not None}
        expected = [each for each in offers if each.ulid in known]
        rows = [Expected(each.ulid, each.attempt, each.owner) for each in expected]
        kept = iter(await self._store.artifacts.expect(org_id, rows, wall_ms()))
        found: list[Push | QgjobError] = []
        for each in offers:
            job_id = f"{org_id}~{each.ulid}"
            if each.ulid not in known:
                found.append(job_not_found(job_id))
                continue
            evidence = next(kept)
            try:
                found.append(removed(job_id) if evidence is None else begun(each, evidence, self._bounds))
            except _OF_ONE as e:
                found.append(e)
        return found
