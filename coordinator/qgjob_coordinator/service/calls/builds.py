"""Builds: pushed under an app version, listed, fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import BinaryIO

import structlog

from qgjob_coordinator.errors import ConflictError, InvalidError, TooLargeError
from qgjob_coordinator.model.builds import Build, BuildFacts, Format, Kind, slot
from qgjob_coordinator.packages.errors import PackageError
from qgjob_coordinator.packages.package import ENDINGS, format_of, read_package
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.contents import Contents, Piece, leaving
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.store import builds as store_builds
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import NamedBuild, NameWord

MAX_FILE_NAME = 255

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PushHeader:
    """What a caller announces before the bytes; nothing of it is checked yet."""

    org_id: object
    app_version_id: object
    digest: object
    size_bytes: object
    file_name: object
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did: `word` is NEW, SAME or REPLACED."""

    build: Build
    word: NameWord
    uploaded: bool


@dataclass(frozen=True, slots=True)
class _Wanted:
    org_id: str
    app_version_id: str
    digest: str
    size_bytes: int
    file_name: str
    format: Format
    replace: bool


class BuildService:
    """Builds for their callers. The names are in the store, the bytes in the blob store."""

    def __init__(self, store: Store, hub: Hub, contents: Contents, max_bytes: int) -> None:
        self._store = store
        self._hub = hub
        self._contents = contents
        self._max_bytes = max_bytes

    async def push(self, principal: Principal, header: PushHeader, chunks: AsyncIterator[bytes]) -> Pushed:
        """Keeps a build and gives it to its app version. Returns at once when the org has the content already.

        Repeated, it does nothing more. Raises InvalidError (a broken package too), TooLargeError, ConflictError (the
        app version has another build for these devices, and it is not to be replaced), BlobsUnavailableError,
        StoreUnavailableError.
        """
        wanted = self._checked(principal, header)
        await self._store.mark_known(wanted.org_id)
        facts = await self._known(wanted)
        uploaded = facts is None
        if facts is None:
            await self._refuse_early(wanted)
            async with self._contents.received(chunks, wanted.digest, wanted.size_bytes) as file:
                facts = await self._read(wanted, file)
                await self._refuse_conflict(wanted, slot(facts.platform, facts.kind), read=True)
                await self._keep(wanted, facts, file)
        pushed = await self._give(wanted, facts, uploaded=uploaded)
        await self._store.mark_known(wanted.org_id)  # a long upload, and an org that had nothing: it may have left
        if pushed.word is not NameWord.SAME:
            self._hub.work(wanted.org_id)  # devices may serve now what lacked a build for them
        log.info(
            "build_pushed",
            org_id=wanted.org_id,
            app_version_id=wanted.app_version_id,
            platform=facts.platform,
            kind=facts.kind.value,
            digest=wanted.digest,
            size_bytes=wanted.size_bytes,
            outcome=pushed.word.value.lower(),
            uploaded=uploaded,
        )
        return pushed

    async def builds(
        self, principal: Principal, org_id: object, app_version_id: object, page_size: object, page_token: object
    ) -> tuple[list[Build], str]:
        """One page of an org's builds, or of one app version's, and the token of the next ("" on the last).

        Raises InvalidError, NotFoundError (a foreign org), StoreUnavailableError.
        """
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        version = None if app_version_id is None else validation.check_id("app_version_id", app_version_id)
        found = [b.build for b in await self._store.builds.all(org) if version in (None, b.build.app_version_id)]
        names = [store_builds.name(b.app_version_id, b.slot) for b in found]
        return pages.cut(found, names, page_size, page_token, pages.scope("builds", org, version or ""))

    def fetch(self, principal: Principal, org_id: object, digest: object, offset: object) -> AsyncGenerator[Piece]:
        """See Contents."""
        return self._contents.fetch(principal, org_id, digest, offset, "build")

    def _checked(self, principal: Principal, h: PushHeader) -> _Wanted:
        org = validation.check_id("org_id", h.org_id)
        principal.require_org(org)
        version = validation.check_id("app_version_id", h.app_version_id)
        digest = validation.check_digest("digest", h.digest)
        size = validation.check_int("size_bytes", h.size_bytes, 1, validation.MAX_INT)
        if size > self._max_bytes:
            most = f"at most {self._max_bytes} are taken (BUILD_MAX_MB of the coordinator)"
            raise TooLargeError(f"size_bytes: the build has {size} bytes; {most}", field="size_bytes")
        name = validation.check_given("file_name", h.file_name, MAX_FILE_NAME)
        if "/" in name or "\\" in name:
            raise InvalidError("file_name", f"{validation.shown(name)} has folders in it; give the name alone")
        found = format_of(name)
        if found is None:
            ends = ", ".join(ENDINGS)
            raise InvalidError(
                "file_name",
                f"{validation.shown(name)} is no build that is known here: its name has to end in {ends} (a zip of an "
                ".app folder)",
            )
        return _Wanted(org, version, digest, size, name, found, h.replace)

    async def _known(self, wanted: _Wanted) -> BuildFacts | None:
        """What the content is, where the org has it whole."""
        content = await self._store.builds.content(wanted.org_id, wanted.digest)
        facts = None if content is None or content.since is None else content.facts
        if content is None or facts is None or facts.format is not wanted.format:
            return None
        size = content.size_bytes
        whole = size == wanted.size_bytes and await self._contents.there(wanted.org_id, wanted.digest, size)
        return facts if whole else None

    async def _refuse_early(self, wanted: _Wanted) -> None:
        """Before the bytes are taken, where the name says already for which devices the build is."""
        if wanted.format is not Format.APP:
            platform = "ios" if wanted.format is Format.IPA else "android"
            await self._refuse_conflict(wanted, slot(platform, Kind.DEVICE), read=False)

    async def _refuse_conflict(self, wanted: _Wanted, where: str, *, read: bool) -> None:
        """Only so that nothing is done in vain: what is decided, is in the store."""
        there = await self._store.builds.get(wanted.org_id, wanted.app_version_id, where)
        if there is not None and there.build.digest != wanted.digest and not wanted.replace:
            raise _conflict(wanted, there, read=read)

    async def _read(self, wanted: _Wanted, file: BinaryIO) -> BuildFacts:
        try:
            return await asyncio.to_thread(read_package, file, wanted.format)
        except PackageError as e:
            raise InvalidError("file_name", f"{validation.shown(wanted.file_name)} {e}") from e

    async def _keep(self, wanted: _Wanted, facts: BuildFacts, file: BinaryIO) -> None:
        def expect() -> Awaitable[bool]:
            return self._store.builds.expect(wanted.org_id, wanted.digest, wanted.size_bytes, facts, wall_ms())

        await self._contents.keep(wanted.org_id, wanted.digest, wanted.size_bytes, file, expect)

    async def _give(self, wanted: _Wanted, facts: BuildFacts, *, uploaded: bool) -> Pushed:
        now = wall_ms()
        build = Build(
            wanted.org_id, wanted.app_version_id, wanted.digest, wanted.size_bytes, wanted.file_name, facts, now
        )
        word, there = await self._store.builds.give(build, now, replace=wanted.replace)
        if word is NameWord.CONFLICT and there is not None:
            raise _conflict(wanted, there, read=True)
        if word is NameWord.LEAVING or there is None:
            raise leaving()
        return Pushed(there.build, word, uploaded)


def _conflict(wanted: _Wanted, there: NamedBuild, *, read: bool) -> ConflictError:
    """`read`: the file is known to be a build. Where it is not, the advice may not be to replace a good one with it."""
    b = there.build
    has = f"app version {b.app_version_id} of org {b.org_id} has another build for {b.slot}: {b.file_name} ({b.digest})"
    this = f"this one is {wanted.file_name} ({wanted.digest})"
    unread = "" if read else "nothing of it was sent or read yet; if it is a sound build, "
    what = f"{unread}push it under an app version of its own, or with --replace (replace in a call) to take its place"
    return ConflictError(f"{has}; {this}; {what}", field="app_version_id")
