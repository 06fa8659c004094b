"""What finding devices needs to be told, and what a look at one of them gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgjob_agent.core.values import App, DeviceFacts


class FindSettings(Protocol):
    """What of a provider's settings is needed here. Times are seconds."""

    @property
    def agent_id(self) -> str:
        """Whose devices they are."""

    @property
    def named(self) -> Mapping[str, DeviceFacts]:
        """What is set of a device, by serial: its name, and what goes before what it says."""

    @property
    def fetch_seconds(self) -> float:
        """For a build to come to this host."""

    @property
    def look_seconds(self) -> float:
        """Between two looks at a device that is well."""

    @property
    def wait_seconds(self) -> float:
        """Between two looks at one that is not."""

    @property
    def probe_seconds(self) -> float:
        """For a probe: the coordinator waits for a session's timeout, and takes silence for bad."""

    @property
    def blind_seconds(self) -> float:
        """Without a list, until devices count as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at a device found. `silent`: it did not answer; `settled`: nothing about it is about to change.

    `installed` is None where that was not looked for: the device does not answer, or is installing. It is the least
    recently used first. `properties` is what it says of itself; where it says nothing, what it said last is kept.
    """

    properties: Mapping[str, str]
    installed: list[App] | None = None
    silent: bool = False
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Words:
    """What to say of a device that is not listed any more (`gone`), or when there is no list for too long (`unseen`).

    `blinded`: of an installation that went on when the list ended, where it can't go on without what lists; else None.
    """

    gone: str
    unseen: str
    blinded: str | None = None


def unanswered(seconds: float) -> str:
    """Why a device counts as silent that was looked at for so long."""
    return f"not within {seconds:g} s"
