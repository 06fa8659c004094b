"""Why a device has not got a build: whose fault it is, and what becomes of the attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qgjob_agent.core.values import Outcome


class Blame(Enum):
    """Who a refused installation is put down to, and so what becomes of it."""

    BUILD = "build"  # it installs on no such device: not tried again
    DEVICE = "device"  # another device may take it
    IN_THE_WAY = "in_the_way"  # what is installed keeps it out: tried once more where that was ours, and is removed
    ROOM = "room"  # tried again while removing builds of ours makes room
    HOST = "host"  # the programs of this host, which no device and no build can help


@dataclass(frozen=True, slots=True)
class Failure:
    """A refused installation. `reason` is what to tell people: what happened, and what to do.

    `else_build`: it is in the way, or, where no earlier build of it is there, the build's own fault.
    """

    blame: Blame
    reason: str
    else_build: bool = False


class DeviceSilentError(Exception):
    """A device, or what speaks for it, gave no answer that could be understood. The message says what was asked."""


class InstallRefusedError(Exception):
    """The installation failed: with which outcome, and whether any other try could end otherwise."""

    def __init__(self, outcome: Outcome, message: str, *, unresolvable: bool = False) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.unresolvable = unresolvable

    @classmethod
    def of_build(cls, message: str) -> InstallRefusedError:
        """The build installs on no device of this kind."""
        return cls(Outcome.PROVIDER_ERROR, message, unresolvable=True)
