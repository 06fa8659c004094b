"""Which build an assignment means: the one that was pushed, else what the agent's template names."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qgjob_agent.builds.base import Build, BuildAwayError, BuildUnresolvedError
from qgjob_agent.builds.cache import digest_of
from qgjob_agent.builds.template import ENDINGS, PLATFORMS, WANTED, Wanted, fill, format_of
from qgjob_agent.host.places import Place, look

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from qgjob_agent.builds.addresses import Addresses
    from qgjob_agent.builds.cache import ContentCache
    from qgjob_agent.core.values import Assignment


class Pushed(Protocol):
    """The coordinator's store of builds."""

    def __call__(self, org_id: str, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        """The content from `offset` on. Raises BuildAwayError, BuildUnresolvedError."""


class ResolvedBuilds:
    """See Builds. `template` is a path or an address, checked; None: only what was pushed can be installed.

    `addresses` is needed where it is an address, and only there.
    """

    def __init__(
        self, cache: ContentCache, pushed: Pushed, template: str | None, addresses: Addresses | None = None
    ) -> None:
        self._cache = cache
        self._pushed = pushed
        self._addresses = addresses
        self._template = template
        self._digests: dict[tuple[str, int, int], str] = {}  # of files by path, size and time of change

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        """See Builds."""
        what = assignment
        if what.build_digest is not None:
            source = partial(self._pushed, what.org_id, what.build_digest)
            ending = ENDINGS.get(what.build_format, "")
            path = await self._cache.get(what.build_digest, what.build_size_bytes, source, ending=ending)
            return Build(path, what.build_digest, what.build_format, what.build_package or None, what.app_version_id)
        if self._template is None:
            raise BuildUnresolvedError(f"{_nobody_pushed(what, platform, kind)}, or set builds.template for this agent")
        values = {
            "app_version_id": what.app_version_id,
            "org_id": what.org_id,
            "platform": platform,
            "kind": kind,
        }
        name = fill(self._template, values)
        form = format_of(name)
        if form is None or PLATFORMS[form] != platform:
            nobody = _nobody_pushed(what, platform, kind)
            raise BuildUnresolvedError(f"builds.template names {name}, which is no build for {platform}; {nobody}")
        if self._addresses is not None:
            path, digest = await self._addresses.get(name, ENDINGS[form])
        else:
            path, digest = await self._of_file(Path(name), what, platform, kind)
        return Build(path, digest, form, version=what.app_version_id)

    async def close(self) -> None:
        """Ends what is being fetched."""
        await self._cache.close()
        if self._addresses is not None:
            await self._addresses.close()

    async def _of_file(self, path: Path, what: Assignment, platform: str, kind: str) -> tuple[Path, str]:
        place = look(path)
        if place is Place.CLOSED:
            raise BuildAwayError(f"builds.template names {path}, where this agent's user may not look")
        if place is not Place.FILE:
            found = "is a folder; zip it" if place is Place.FOLDER else "is not there"
            raise BuildUnresolvedError(
                f"builds.template names {path}, which {found}; {_nobody_pushed(what, platform, kind)}"
            )
        try:
            key = _file_id(path)
            digest = self._digests.get(key)
            if digest is None:
                digest = self._digests[key] = await asyncio.to_thread(digest_of, path)
        except OSError as error:
            raise BuildAwayError(f"builds.template names {path}: {error.strerror}") from error
        return path, digest


def _nobody_pushed(what: Assignment, platform: str, kind: str) -> str:
    wanted = WANTED.get((platform, kind), Wanted(f"{platform} {kind}", ""))
    return (
        f"no build of {what.app_version_id} was pushed for {wanted.words}: push it with "
        f"`qgjob builds push FILE{wanted.ending} --org-id={what.org_id} --app-version-id={what.app_version_id}`"
    )


def _file_id(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns
