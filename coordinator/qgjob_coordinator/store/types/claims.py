"""What a plan claims for a device, and what it got."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.store.types.contents import NamedBuild


class ClaimWord(StrEnum):
    """Whether a device got its batch."""

    OK = "OK"
    STALE = "STALE"
    MOVED = "MOVED"


@dataclass(slots=True)
class DeviceClaim:
    """A batch that a plan gives to one device. `serving_seen` is None for a warm device.

    `build` is which build the device needs, as `store.builds.name` has it; empty where that is not known.
    """

    agent_id: str
    epoch: int
    device_id: str
    gid: str
    serving_seen: int | None
    jobs: list[tuple[str, str]]  # ulid, token
    build: str = ""


@dataclass(slots=True)
class Grant:
    """A lease. `spec` is line 1 of the job's text, decoded."""

    ulid: str
    token: str
    attempt: int
    round: int
    created_at: int
    spec: dict[str, object]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of one DeviceClaim; jobs that are in neither list had changed since the plan.

    `floor` is the lowest epoch that may claim, after STALE. `build` is what the device is to install, where one was
    pushed.
    """

    word: ClaimWord
    grants: tuple[Grant, ...] = ()
    over_quota: int = 0
    floor: int = 0
    build: NamedBuild | None = None
