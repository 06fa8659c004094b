"""The apps on a device: what is asked of its package manager, whichever that is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Build
    from qgjob_agent.devices.refusals import Failure

_OWN_FOLDER = re.compile(r"-[A-Za-z0-9_-]{16,}={0,2}$")


@dataclass(frozen=True, slots=True)
class PackageSays:
    """What a device says of a package that tells one installation of it from any other.

    `last_update` is in the device's time zone, which a test may change; empty where devices don't say it.
    """

    version_code: str
    last_update: str
    code_path: str

    def is_of(self, other: PackageSays) -> bool:
        """Whether both are of the same installation. Android 8 and later put each in a folder with a random name, as
        iOS does.
        """
        if (self.version_code, self.code_path) != (other.version_code, other.code_path):
            return False
        return self.last_update == other.last_update or _OWN_FOLDER.search(self.code_path) is not None


class Packages(Protocol):
    """The package manager of a kind of devices. Errors of all: DeviceSilentError, HostError."""

    def package_in(self, build: Build) -> str:
        """What a build is, as it was told or as its file says. It may be read from the disk.

        Errors: InstallRefusedError where it fits no such device, or does not tell what it is.
        """

    async def says(self, serial: str, package: str) -> PackageSays | None:
        """Of an app that is installed; None where it is not, or the device does not say so."""

    async def is_absent(self, serial: str, package: str) -> bool:
        """Whether the device says that it has no such app, and not that something fails."""

    async def free_bytes(self, serial: str) -> int | None:
        """Of the storage that apps go to; None where it does not say."""

    async def install(self, serial: str, build: Build) -> tuple[Failure, str] | None:
        """Installs; gives what a refusal means and its own words. Errors: TimeoutError."""

    async def remove(self, serial: str, package: str) -> bool:
        """Removes an app and its data. False where it stays."""

    async def clear(self, serial: str, package: str) -> str | None:
        """Clears an app's data; gives why it could not."""
