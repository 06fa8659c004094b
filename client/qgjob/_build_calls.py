"""What a client can ask about builds: push them, list them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

from qgjob import _wire_builds, _wire_requests
from qgjob._build_file import BuildFile, Progress
from qgjob._builds import Build, BuildPage, PushedBuild
from qgjob._failover import Failover

DEFAULT_PAGE_SIZE = 100


class BuildCalls:
    """The calls of BuildService."""

    _source: Failover

    async def push_build(
        self,
        org_id: str,
        app_version_id: str,
        path: str | os.PathLike[str],
        *,
        replace: bool = False,
        on_progress: Progress | None = None,
    ) -> PushedBuild:
        """Give an app version a build: an .apk, .aab or .ipa, or a .zip of an .app folder.

        What the file is for is read from it. An app version has one build for each platform and kind; another one is
        refused with ConflictError unless it is to `replace` that. Content that the org has already is not sent again,
        and a repeated push does nothing more. `on_progress` is told of bytes that are sent, of how many. Raises
        InvalidError for a file that can't be read, or is broken.
        """
        file = await BuildFile.read(path)
        header = _wire_requests.push_build_header(
            org_id, app_version_id, file.digest, file.size_bytes, file.path.name, replace=replace
        )

        async def messages() -> AsyncGenerator[Any]:
            async for piece in file.pieces(on_progress):
                yield _wire_requests.push_build_chunk(piece)

        return _wire_builds.read_pushed(await self._source.upload("PushBuild", header, messages))

    async def builds_page(
        self,
        org_id: str,
        *,
        app_version_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> BuildPage:
        """One page of an org's builds."""
        request = _wire_requests.list_builds(org_id, app_version_id, page_size, page_token)
        return _wire_builds.read_build_page(await self._source.call("ListBuilds", request))

    async def list_builds(self, org_id: str, *, app_version_id: str | None = None) -> AsyncGenerator[Build]:
        """All builds of an org, or of one app version, by app version, platform and kind."""
        token: str | None = None
        while True:
            page = await self.builds_page(org_id, app_version_id=app_version_id, page_token=token)
            for build in page.builds:
                yield build
            token = page.next_page_token
            if token is None:
                return
