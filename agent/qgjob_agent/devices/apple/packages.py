"""The apps on simulators and on Apple devices, as simctl and devicectl have them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob_agent.devices.apple.bundle import Bundle, BundleError, parse_info, read_bundle, read_folder, version_of
from qgjob_agent.devices.apple.failures import failure_of
from qgjob_agent.devices.apple.says import parse_app
from qgjob_agent.devices.apple.xcrun import last_words
from qgjob_agent.devices.installing import MARK
from qgjob_agent.devices.packages import PackageSays
from qgjob_agent.devices.refusals import DeviceSilentError, InstallRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.builds.base import Build
    from qgjob_agent.devices.apple.settings import AppleSettings
    from qgjob_agent.devices.apple.xcrun import Xcrun
    from qgjob_agent.devices.refusals import Failure

_ANDROID = ("apk", "aab")


def _read(build: Build, wanted: str, wants: str) -> Bundle:
    """The app of a build, if that has the wanted format. Errors: InstallRefusedError."""
    name = build.called
    if build.format in _ANDROID:
        raise InstallRefusedError.of_build(f"{name} is an .{build.format}, a build for Android, and {wants}: push that")
    if build.format != wanted:
        what = "an .ipa, which is for iPhones and iPads" if build.format == "ipa" else "a zip of an .app folder"
        raise InstallRefusedError.of_build(f"{name} is {what}, and {wants}: push that")
    try:
        return (read_folder if build.path.is_dir() else read_bundle)(build.path, wanted)
    except BundleError as error:
        raise InstallRefusedError.of_build(f"{name} {error}; {wants}: push that") from error


class SimulatorPackages:
    """See Packages. `data_path_of` gives where the disk of a simulator is; None where that is not known."""

    def __init__(self, xcrun: Xcrun, settings: AppleSettings, data_path_of: Callable[[str], str | None]) -> None:
        self._xcrun = xcrun
        self._settings = settings
        self._data_path_of = data_path_of

    def package_in(self, build: Build) -> str:
        """See Packages."""
        wants = "simulators install a zip of an .app folder that was built for the simulator"
        bundle = _read(build, "app", wants)
        if bundle.for_simulator is False:
            raise InstallRefusedError.of_build(f"{build.called} was built for iPhones, and {wants}: push that")
        return bundle.package

    async def says(self, serial: str, package: str) -> PackageSays | None:
        """See Packages. The folder of an app has a random name in it, another one after each installation."""
        words = ("get_app_container", serial, package, "app")
        ended = await self._xcrun.simctl(*words, seconds=self._settings.answer_seconds)
        place = ended.output.strip()
        if ended.code == 0 and place:
            return PackageSays(await asyncio.to_thread(_version_in, Path(place)), "", place)
        if "no such file or directory" in ended.errors.lower():
            return None
        raise DeviceSilentError(f"`xcrun simctl get_app_container` failed: {last_words(ended)}")

    async def is_absent(self, serial: str, package: str) -> bool:
        """See Packages: `says` has found out."""
        return True

    async def free_bytes(self, serial: str) -> int | None:
        """Of this host's disk, where the simulator is."""
        path = self._data_path_of(serial)
        try:
            return None if not path else (await asyncio.to_thread(shutil.disk_usage, path)).free
        except OSError:
            return None

    async def install(self, serial: str, build: Build) -> tuple[Failure, str] | None:
        """See Packages."""
        mark = {MARK: str(self._settings.installed)}
        limit = self._settings.install_seconds
        ended = await self._xcrun.simctl("install", serial, str(build.path), seconds=limit, mark=mark)
        return None if ended.code == 0 else failure_of(last_words(ended))

    async def remove(self, serial: str, package: str) -> bool:
        """See Packages."""
        ended = await self._xcrun.simctl("uninstall", serial, package, seconds=self._settings.answer_seconds)
        return ended.code == 0

    async def clear(self, serial: str, package: str) -> str | None:
        """See Packages. There is no such command."""
        return "simctl clears no data without removing the app, and apple.uninstall_ours is off; remove it by hand"


def _version_in(app: Path) -> str:
    """Empty where the app has no Info.plist that can be read: its place tells installations apart as well."""
    try:
        return version_of(parse_info((app / "Info.plist").read_bytes()))
    except (OSError, BundleError):
        return ""


class PhonePackages:
    """See Packages: those of iPhones and iPads."""

    def __init__(self, xcrun: Xcrun, settings: AppleSettings) -> None:
        self._xcrun = xcrun
        self._settings = settings

    def package_in(self, build: Build) -> str:
        """See Packages."""
        wants = "iPhones and iPads install an .ipa that is signed for them"
        bundle = _read(build, "ipa", wants)
        if bundle.for_simulator:
            raise InstallRefusedError.of_build(f"{build.called} was built for the simulator, and {wants}: push that")
        return bundle.package

    async def says(self, serial: str, package: str) -> PackageSays | None:
        """See Packages."""
        words = ("device", "info", "apps", "--device", serial, "--bundle-id", package)
        said, problem = await self._xcrun.devicectl(*words, seconds=self._settings.answer_seconds)
        if problem:
            raise DeviceSilentError(f"`xcrun devicectl device info apps` failed: {problem}")
        return parse_app(said, package)

    async def is_absent(self, serial: str, package: str) -> bool:
        """See Packages: `says` has found out."""
        return True

    async def free_bytes(self, serial: str) -> int | None:
        """See Packages: devicectl does not say."""
        return None

    async def install(self, serial: str, build: Build) -> tuple[Failure, str] | None:
        """See Packages."""
        words = ("device", "install", "app", "--device", serial, str(build.path))
        mark = {MARK: str(self._settings.installed)}
        _, problem = await self._xcrun.devicectl(*words, seconds=self._settings.install_seconds, mark=mark)
        return failure_of(problem) if problem else None

    async def remove(self, serial: str, package: str) -> bool:
        """See Packages."""
        words = ("device", "uninstall", "app", "--device", serial, package)
        return not (await self._xcrun.devicectl(*words, seconds=self._settings.answer_seconds))[1]

    async def clear(self, serial: str, package: str) -> str | None:
        """See Packages. There is no such command."""
        return "devicectl clears no data without removing the app, and apple.uninstall_ours is off; remove it by hand"
