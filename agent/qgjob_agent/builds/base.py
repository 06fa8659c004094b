"""What an installation is given, and why there may be nothing to give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.core.values import Assignment


@dataclass(frozen=True, slots=True)
class Build:
    """A build on this host's disk. `format` is apk, aab, ipa or app; `package` is None where nobody has said it yet.

    `version` is the app version that it is of.
    """

    path: Path
    digest: str
    format: str
    package: str | None = None
    version: str = ""

    @property
    def called(self) -> str:
        """What people know it by: what was pushed lies here by its digest."""
        return f"the build of {self.version!r}" if self.version else f"the build {self.path.name!r}"


class BuildUnresolvedError(Exception):
    """There is no such build, or it fits no device of this kind: another try would end the same. Says what to push."""


class BuildAwayError(Exception):
    """The build could not be had now: network, coordinator, disk. Another try may have it.

    `host_unfit`: not on this host, as it is set up; one on another host may.
    """

    def __init__(self, message: str, *, host_unfit: bool = False) -> None:
        super().__init__(message)
        self.host_unfit = host_unfit


class Builds(Protocol):
    """Where the builds of assignments come from."""

    async def get(self, assignment: Assignment, platform: str, kind: str) -> Build:
        """The build of an assignment for `platform` (android, ios) and `kind` (device, simulator).

        The file stays for as long as an installation may take. Raises BuildUnresolvedError, BuildAwayError.
        """


class ClosableBuilds(Builds, Protocol):
    """Builds that are fetched in the background."""

    async def close(self) -> None:
        """Ends what is being fetched."""
