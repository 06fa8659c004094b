"""Builds as the store has them, without their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from qgjob_coordinator.model.builds import Build, BuildFacts, Format, Kind
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import NameWord
from tests.fakes.jobs import NOW

APK = BuildFacts(Format.APK, "android", Kind.DEVICE, "com.example.app", "1.4.2", "42")
SIMULATOR = BuildFacts(Format.APP, "ios", Kind.SIMULATOR, "com.example.app", "1.4.2", "42")


def digest(text: str) -> str:
    """The digest of a content that stands for a file."""
    return hashlib.sha256(text.encode()).hexdigest()


def build(content: str = "one", app_version_id: str = "v1", now: int = NOW, **changes: Any) -> Build:
    """A build of an app version with that content."""
    found = Build("acme", app_version_id, digest(content), len(content), f"{content}.apk", APK, now)
    return replace(found, **changes)


async def kept(store: Store, wanted: Build, now: int = NOW, *, replace_: bool = False) -> NameWord:
    """A build whose content is expected and given; what that did."""
    assert await store.builds.expect(wanted.org_id, wanted.digest, wanted.size_bytes, wanted.facts, now)
    return (await store.builds.give(wanted, now, replace=replace_))[0]
