"""Builds for simulators as the .app folders that simulators and test suites want, each unpacked once on this host."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.devices.apple.bundle import BundleError, read_bundle
from qgjob_agent.devices.apple.unpacking import Stopped, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.builds.base import Build, ClosableBuilds
    from qgjob_agent.core.values import Assignment

KEPT = 4
IN_USE_SECONDS = 1800.0
"""What was handed out within that time may be read by an installation or a test, and stays however many there are."""
_PART = ".part"


class UnpackedBuilds:
    """See Builds; only builds for simulators are other ones here: their path is that of the app's folder.

    What is not a zip of an .app folder is handed on as it is, for its installation to refuse.
    """

    def __init__(
        self, builds: ClosableBuilds, folder: Path, log: Any, *, wall_seconds: Callable[[], float] = time.time
    ) -> None:
        self._builds = builds
        self._folder = folder
        self._log = log
        self._wall_seconds = wall_seconds
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        """See Builds."""
        build = await self._builds.get(assignment, platform, kind)
        if (platform, kind, build.format) != ("ios", "simulator", "app"):
            return build
        async with self._locks.setdefault(build.digest, asyncio.Lock()):
            try:
                return replace(build, path=await self._unpacked(build))
            except BundleError as error:
                text = f"{build.called} {error}; push a zip of one .app folder"
                raise BuildUnresolvedError(text) from error
            except OSError as error:
                text = f"{build.called} can't be unpacked to {self._folder}: {error.strerror}"
                raise BuildAwayError(text) from error

    async def close(self) -> None:
        """See ClosableBuilds."""
        await self._builds.close()

    async def _unpacked(self, build: Build) -> Path:
        whole = self._folder / build.digest
        found = await asyncio.to_thread(_app_in, whole)
        if found is None:
            await self._unpack(build, whole)
            found = await asyncio.to_thread(_app_in, whole)
        if found is None:
            raise BundleError("was unpacked, and is no folder")
        now = self._wall_seconds()
        os.utime(whole, (now, now))
        return found

    async def _unpack(self, build: Build, whole: Path) -> None:
        """When this is cancelled, nothing of it goes on."""
        stop = threading.Event()
        working = asyncio.get_running_loop().run_in_executor(None, self._unpack_now, build, whole, stop)
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([working])
            working.exception()  # it was stopped
            raise
        self._log.info("build_unpacked", digest=build.digest)

    def _unpack_now(self, build: Build, whole: Path, stop: threading.Event) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._make_room()
        part = whole.with_name(whole.name + _PART)
        shutil.rmtree(part, ignore_errors=True)
        try:
            unpack(build.path, Path(read_bundle(build.path, "app").folder), part, stop)
            part.rename(whole)
        except BaseException as error:
            shutil.rmtree(part, ignore_errors=True)
            if not isinstance(error, Stopped):
                raise

    def _make_room(self) -> None:
        """Removes the least recently used ones, until there is one less than are to be."""
        kept = sorted((each.stat().st_mtime, each) for each in self._folder.iterdir() if each.suffix != _PART)
        before = self._wall_seconds() - IN_USE_SECONDS
        for used_at, path in kept[: max(0, len(kept) - KEPT + 1)]:
            if used_at < before:
                shutil.rmtree(path, ignore_errors=True)


def _app_in(whole: Path) -> Path | None:
    return next(iter(sorted(whole.glob("*.app"))), None)
