"""What tests are told of the build that their device has: its file on this host, and its package."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.core.values import Target
from qgjob_agent.devices.app import App, AppUnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.builds.base import Builds
    from qgjob_agent.core.values import Assignment, DeviceFacts


class InstalledApps:
    """Asks for a build again that was installed: it is on this host, or is fetched anew where it had to go.

    `package_of` says what was installed for an assignment where the build itself does not; None where it can't be told.
    """

    def __init__(self, builds: Builds, package_of: Callable[[Assignment], str | None], fetch_seconds: float) -> None:
        self._builds = builds
        self._package_of = package_of
        self._fetch_seconds = fetch_seconds

    async def __call__(self, assignment: Assignment, device: DeviceFacts) -> App:
        """The build of an attempt. Raises AppUnknownError."""
        platform = device.platform or "android"
        kind = "simulator" if platform == "ios" and device.target is Target.EMULATOR else "device"
        try:
            async with asyncio.timeout(self._fetch_seconds):
                build = await self._builds.get(assignment, platform, kind)
        except BuildUnresolvedError as error:
            raise AppUnknownError(str(error), unresolvable=True) from error
        except BuildAwayError as error:
            raise AppUnknownError(str(error)) from error
        except TimeoutError as error:
            text = f"the build did not come to this host in {self._fetch_seconds:g} s"
            raise AppUnknownError(text) from error
        return App(build.path, build.package or self._package_of(assignment))
