"""Builds and suites that an org has by name, the bytes behind them, and uploads of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.model.builds import Build, BuildFacts
from qgjob_coordinator.model.suites import Suite


class NameWord(StrEnum):
    """What giving a name to a content did."""

    NEW = "NEW"
    SAME = "SAME"
    REPLACED = "REPLACED"
    CONFLICT = "CONFLICT"
    LEAVING = "LEAVING"


class UploadWord(StrEnum):
    """How an upload to the store of a provider of devices stands, for the agent that asks."""

    YOURS = "YOURS"
    TAKEN = "TAKEN"
    KNOWN = "KNOWN"
    STALE = "STALE"
    FREE = "FREE"


@dataclass(frozen=True, slots=True)
class NamedBuild:
    """A build that an app version has, when it was last used (ms), and the value that says so in the store."""

    build: Build
    used_at: int
    found: str


@dataclass(frozen=True, slots=True)
class NamedSuite:
    """A suite that an org has, when it was last used (ms), and the value that says so in the store."""

    suite: Suite
    used_at: int
    found: str


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that an org has, or had. `since` (ms) is when their names changed last, `facts` None for a suite.

    While they are removed `since` is None, and `leaving_at` (ms) is when that began.
    """

    digest: str
    names: int
    since: int | None
    size_bytes: int
    facts: BuildFacts | None
    found: str
    leaving_at: int | None = None
