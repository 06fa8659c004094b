"""Suites: pushed, listed, fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import BinaryIO

import structlog

from qgjob_coordinator.errors import InvalidError, TooLargeError
from qgjob_coordinator.model.suites import Suite
from qgjob_coordinator.packages.suite_archive import ArchiveError, members
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.contents import Contents, Piece, leaving
from qgjob_coordinator.service.calls.named_suites import note_use
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import NamedSuite, NameWord

MAX_NAME = 255
LATEST_MS = validation.MAX_MS

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SuiteHeader:
    """What a caller announces before the bytes; nothing of it is checked yet."""

    org_id: object
    digest: object
    size_bytes: object
    name: object


@dataclass(frozen=True, slots=True)
class PushedSuite:
    """The suite as it is kept, and whether its bytes were taken."""

    suite: Suite
    uploaded: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    org_id: str
    digest: str
    size_bytes: int
    name: str


class SuiteService:
    """Suites for their callers. Which there are is in the store, the bytes are in the blob store."""

    def __init__(self, store: Store, contents: Contents, max_bytes: int) -> None:
        self._store = store
        self._contents = contents
        self._max_bytes = max_bytes

    async def push(self, principal: Principal, header: SuiteHeader, chunks: AsyncIterator[bytes]) -> PushedSuite:
        """Keeps a suite. Returns at once when the org has it already; repeated, it does nothing more.

        Raises InvalidError (for what is no suite too), TooLargeError, BlobsUnavailableError, StoreUnavailableError.
        """
        wanted = self._checked(principal, header)
        await self._store.mark_known(wanted.org_id)
        there = await self._there(wanted)
        if there is not None:
            await note_use(self._store, there)
            return PushedSuite(there.suite, uploaded=False)
        async with self._contents.received(chunks, wanted.digest, wanted.size_bytes) as file:
            count = await self._count(wanted, file)

            def expect() -> Awaitable[bool]:
                return self._store.suites.expect(wanted.org_id, wanted.digest, wanted.size_bytes, count, wall_ms())

            await self._contents.keep(wanted.org_id, wanted.digest, wanted.size_bytes, file, expect)
        now = wall_ms()
        suite = Suite(wanted.org_id, wanted.digest, wanted.size_bytes, count, wanted.name, now)
        word, given = await self._store.suites.give(suite, now)
        if word is NameWord.LEAVING or given is None:
            raise leaving()
        await self._store.mark_known(wanted.org_id)  # a long upload, and an org that had nothing: it may have left
        log.info(
            "suite_pushed",
            org_id=suite.org_id,
            digest=suite.digest,
            size_bytes=suite.size_bytes,
            files=suite.file_count,
            name=suite.name,
        )
        return PushedSuite(given.suite, uploaded=True)

    async def suites(
        self, principal: Principal, org_id: object, page_size: object, page_token: object
    ) -> tuple[list[Suite], str]:
        """One page of an org's suites, the last pushed first, and the token of the next ("" on the last).

        Raises InvalidError, NotFoundError (a foreign org), StoreUnavailableError.
        """
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        found = sorted([each.suite for each in await self._store.suites.all(org)], key=_place)
        return pages.cut(found, [_place(each) for each in found], page_size, page_token, pages.scope("suites", org))

    def fetch(self, principal: Principal, org_id: object, digest: object, offset: object) -> AsyncGenerator[Piece]:
        """See Contents."""
        return self._contents.fetch(principal, org_id, digest, offset, "suite")

    def _checked(self, principal: Principal, h: SuiteHeader) -> _Wanted:
        org = validation.check_id("org_id", h.org_id)
        principal.require_org(org)
        digest = validation.check_digest("digest", h.digest)
        size = validation.check_int("size_bytes", h.size_bytes, 1, validation.MAX_INT)
        if size > self._max_bytes:
            most = f"at most {self._max_bytes} are taken (SUITE_MAX_MB of the coordinator)"
            what = "leave out what the tests don't need"
            raise TooLargeError(f"size_bytes: the suite has {size} bytes; {most}; {what}", field="size_bytes")
        return _Wanted(org, digest, size, validation.check_given("name", h.name, MAX_NAME))

    async def _there(self, wanted: _Wanted) -> NamedSuite | None:
        """The suite, where the org has it whole."""
        there = await self._store.suites.get(wanted.org_id, wanted.digest)
        if there is None or there.suite.size_bytes != wanted.size_bytes:
            return None
        return there if await self._contents.there(wanted.org_id, wanted.digest, wanted.size_bytes) else None

    async def _count(self, wanted: _Wanted, file: BinaryIO) -> int:
        """How many files are in it."""
        try:
            return await asyncio.to_thread(lambda: sum(1 for _ in members(file, wanted.size_bytes)))
        except ArchiveError as e:
            raise InvalidError("chunk", f"the suite {validation.shown(wanted.name)} {e}") from e


def _place(suite: Suite) -> str:
    """By which suites are listed: the last pushed first."""
    return f"{LATEST_MS - suite.pushed_at:015d} {suite.digest}"
