"""Installs a build on a device, removes builds of ours where that helps, and never another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.values import App, Outcome
from qgjob_agent.devices.facts import MB
from qgjob_agent.devices.refusals import Blame, DeviceSilentError, Failure, InstallRefusedError
from qgjob_agent.devices.remembered import Ours
from qgjob_agent.host.process_tree import hunt
from qgjob_agent.host.program import HostError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qgjob_agent.builds.base import Build
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.devices.packages import Packages, PackageSays
    from qgjob_agent.devices.remembered import Remembered

MARK = "QGJOB_INSTALLS_FOR"
"""In the environment of installations, with the folder of what is installed: by it the next life of an agent that was
killed finds them.
"""
_LEFT_SECONDS = 5.0
_ROOM_FOR_EACH_BYTE = 2  # a build lies on the device twice while it is installed


class InstallSettings(Protocol):
    """What of a provider's settings an installer needs. MB are 1,000,000 bytes."""

    @property
    def installed(self) -> Path:
        """The folder in which is kept what was installed."""

    @property
    def install_seconds(self) -> float:
        """How long an installation may take."""

    @property
    def min_free_mb(self) -> int:
        """What of a device's storage is to stay free, beside what a build needs."""

    @property
    def uninstall_ours(self) -> bool:
        """Whether what this agent installed may be removed."""


async def told_apart(packages: Packages, serial: str, claims: Iterable[Ours]) -> tuple[list[Ours], list[Ours]]:
    """Of what was remembered of a device: what it confirms, and what it denies. Errors: see Installer.confirmed."""
    confirmed: list[Ours] = []
    denied: list[Ours] = []
    for ours in claims:
        says = await packages.says(serial, ours.package)
        if says is None and not await packages.is_absent(serial, ours.package):
            raise DeviceSilentError(f"it does not say whether {ours.package} is installed")
        (confirmed if says is not None and says.is_of(ours.says) else denied).append(ours)
    return confirmed, denied


class Installer:
    """Installs on any device of one kind; one installation a device at a time."""

    def __init__(self, packages: Packages, settings: InstallSettings, remembered: Remembered, log: Any) -> None:
        self._packages = packages
        self._settings = settings
        self._remembered = remembered
        self._log = log

    async def end_leftovers(self) -> None:
        """Ends installations of an earlier life of this agent that was killed: they would go on beside new ones."""
        left = await asyncio.to_thread(hunt, MARK, str(self._settings.installed), None, _LEFT_SECONDS)
        if left:
            self._log.warning("installation_left", pids=left)

    async def confirmed(self, serial: str) -> list[Ours]:
        """Ours on the device, as it says itself, the least recently used first; what it denies is forgotten.

        Errors: those of Packages; DeviceSilentError also where the device neither denies nor confirms.
        """
        found, denied = await told_apart(self._packages, serial, self._remembered.of(serial))
        for ours in denied:
            self._remembered.forget(serial, ours)
        return found

    def package_of(self, serial: str, assignment: Assignment) -> str | None:
        """What was installed for such an assignment, as far as it was remembered."""
        wanted = App(assignment.org_id, assignment.app_version_id, assignment.build_digest)
        return next((each.package for each in self._remembered.of(serial) if each.app == wanted), None)

    async def install(self, serial: str, assignment: Assignment, build: Build) -> bool:
        """Has the build on the device, by an installation where it is not there yet. False where it is.

        Errors: InstallRefusedError.
        """
        try:
            async with asyncio.timeout(self._settings.install_seconds):
                package = await asyncio.to_thread(self._packages.package_in, build)
                return await self._install(serial, assignment, build, package)
        except TimeoutError as error:
            text = (
                f"the installation did not end in {self._settings.install_seconds:g} s: look whether the device asks "
                "something, or restart it"
            )
            raise InstallRefusedError(Outcome.DEVICE_ERROR, text) from error
        except HostError as error:
            raise InstallRefusedError(Outcome.PROVIDER_ERROR, str(error)) from error
        except DeviceSilentError as error:
            raise InstallRefusedError(Outcome.DEVICE_ERROR, f"the device does not answer: {error}") from error

    async def _install(self, serial: str, assignment: Assignment, build: Build, package: str) -> bool:
        confirmed = await self.confirmed(serial)
        content = (assignment.org_id, build.digest)
        same = next((each for each in confirmed if (each.org_id, each.build_digest) == content), None)
        if same is not None:
            self._remember(serial, assignment, build, same.package, same.says)
            return False
        there = next((each for each in confirmed if each.package == package), None)
        others = [each for each in confirmed if each is not there]
        if there is not None and there.org_id != assignment.org_id:
            await self._leave_nothing(serial, there)
        await self._make_room(serial, build, others)
        while True:
            refused = await self._packages.install(serial, build)
            if refused is None:
                break
            failure, said = refused
            if failure.blame is Blame.ROOM and await self._remove_one(serial, others):
                continue
            if failure.blame is Blame.IN_THE_WAY and there is not None and self._settings.uninstall_ours:
                removed = await self._remove(serial, there, said)
                there = None  # it is tried once more, and no more
                if removed:
                    continue
            raise await self._refused(serial, package, failure, said)
        says = await self._packages.says(serial, package)
        if says is None:
            text = f"the device says that it installed the build, and has no {package}"
            raise InstallRefusedError(Outcome.DEVICE_ERROR, text)
        self._remember(serial, assignment, build, package, says)
        return True

    async def _refused(self, serial: str, package: str, failure: Failure, said: str) -> InstallRefusedError:
        text = f"{failure.reason} ({said})"
        if failure.blame is Blame.HOST:
            return InstallRefusedError(Outcome.PROVIDER_ERROR, text)
        if failure.blame is Blame.BUILD:
            return InstallRefusedError.of_build(f"the build can't be installed: {text}")
        if failure.blame is Blame.IN_THE_WAY:
            if failure.else_build and await self._packages.says(serial, package) is None:
                return InstallRefusedError.of_build(f"the build can't be installed, and nothing is in its way: {text}")
            text += f"; this agent removes only what it installed itself: uninstall {package} by hand, once"
        return InstallRefusedError(Outcome.DEVICE_ERROR, f"the device refused the build: {text}")

    def _remember(self, serial: str, assignment: Assignment, build: Build, package: str, says: PackageSays) -> None:
        app = (assignment.org_id, assignment.app_version_id, assignment.build_digest)
        self._remembered.put(serial, Ours(package, *app, build.digest, says, wall_ms()))

    async def _leave_nothing(self, serial: str, ours: Ours) -> None:
        """What an org's tests left in the app is nothing for another org's: an update would keep it."""
        if self._settings.uninstall_ours and await self._remove(serial, ours, "another org's"):
            return
        why_not = await self._packages.clear(serial, ours.package)
        if why_not is not None:
            text = f"the data that another org's tests left in {ours.package} can't be cleared: {why_not}"
            raise InstallRefusedError(Outcome.DEVICE_ERROR, text)

    # ---- room ----

    async def _make_room(self, serial: str, build: Build, others: list[Ours]) -> None:
        """Removes the least recently used of ours until the build has room. Whether it has, the device will say."""
        if not others:
            return
        size = await asyncio.to_thread(_size, build.path)
        needed = _ROOM_FOR_EACH_BYTE * size + self._settings.min_free_mb * MB
        while (free := await self._packages.free_bytes(serial)) is not None and free < needed:
            if not await self._remove_one(serial, others):
                return

    async def _remove_one(self, serial: str, others: list[Ours]) -> bool:
        """Removes the least recently used of these. False where there is none."""
        while others and self._settings.uninstall_ours:
            if await self._remove(serial, others.pop(0), "room"):
                return True
        return False

    async def _remove(self, serial: str, ours: Ours, why: str) -> bool:
        """Removes one of ours, if it still is. False where it is not, or stays."""
        if not await self._is_ours(serial, ours):
            self._remembered.forget(serial, ours)
            return False
        removed = await self._packages.remove(serial, ours.package)
        if removed:
            self._remembered.forget(serial, ours)
        self._log.info("build_removed", serial=serial, package=ours.package, why=why, removed=removed)
        return removed

    async def _is_ours(self, serial: str, ours: Ours) -> bool:
        says = await self._packages.says(serial, ours.package)
        return says is not None and says.is_of(ours.says)


def _size(path: Path) -> int:
    """Of a file, or of a folder with all that is in it."""
    each = path.rglob("*") if path.is_dir() else [path]
    return sum(entry.lstat().st_size for entry in each)
