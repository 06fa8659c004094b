"""Which builds the app versions of an org have. See store/contents.py.

A build's name is `<app version> <platform> <kind>`. What is named is the list [size, file name, format, package,
version name, version code, pushed at], what the content is the list [size, format, platform, kind, package, version
name, version code].
"""

from __future__ import annotations

import json
from collections.abc import Collection

from qgjob_coordinator.model.builds import SLOTS, Build, BuildFacts, Format, Kind
from qgjob_coordinator.store.contents import ContentStore
from qgjob_coordinator.store.types.contents import NamedBuild, NameWord


def name(app_version_id: str, slot: str) -> str:
    """How a build is named in the store; `slot` is that of `model.builds`."""
    return f"{app_version_id} {slot}"


class BuildStore(ContentStore):
    """Builds of one org at a time. All methods raise StoreUnavailableError."""

    async def get(self, org_id: str, app_version_id: str, slot: str) -> NamedBuild | None:
        """The build that an app version has for a slot."""
        field = name(app_version_id, slot)
        found = await self._named(org_id, field)
        return named(org_id, field, found) if found else None

    async def pushed(self, org_id: str, versions: Collection[str]) -> dict[str, frozenset[str]]:
        """For which slots each of some app versions has a build; in one read."""
        fields = [(version, each) for version in versions for each in SLOTS]
        found = await self._are_named(org_id, [name(*field) for field in fields])
        slots: dict[str, set[str]] = {version: set() for version in versions}
        for (version, each), there in zip(fields, found, strict=True):
            if there:
                slots[version].add(each)
        return {version: frozenset(those) for version, those in slots.items()}

    async def all(self, org_id: str) -> list[NamedBuild]:
        """All builds of an org, by app version, platform and kind."""
        return [named(org_id, field, value) for field, value in await self._all_named(org_id) if is_build(field)]

    async def expect(self, org_id: str, digest: str, size_bytes: int, facts: BuildFacts, now: int) -> bool:
        """A content is about to be kept. False while one of the same digest is removed: later, then."""
        f = facts
        what = [size_bytes, f.format.value, f.platform, f.kind.value, f.package, f.version_name, f.version_code]
        return await self._expect(org_id, digest, what, now)

    async def give(self, build: Build, now: int, *, replace: bool) -> tuple[NameWord, NamedBuild | None]:
        """Gives a content to an app version; with what that has then. LEAVING and CONFLICT change nothing."""
        field = name(build.app_version_id, build.slot)
        f = build.facts
        what = [build.size_bytes, build.file_name, f.format.value, f.package, f.version_name, f.version_code]
        what.append(build.pushed_at)
        word, found = await self._give(build.org_id, field, build.digest, what, now, replace=replace)
        return word, named(build.org_id, field, found) if found else None

    async def used(self, there: NamedBuild, now: int) -> bool:
        """Notes that a build is in use; False when another one has its place."""
        return await self._of_build("build_used", there, now)

    async def forget(self, there: NamedBuild, now: int) -> bool:
        """Takes a build from its app version; False when it was used since, or another one has its place."""
        return await self._of_build("build_forgotten", there, now)

    async def _of_build(self, script: str, there: NamedBuild, now: int) -> bool:
        build = there.build
        return await self._if_found(script, build.org_id, name(build.app_version_id, build.slot), there.found, now)


def is_build(field: str) -> bool:
    """Whether a name is that of a build."""
    return field.count(" ") == 2


def named(org_id: str, field: str, found: str) -> NamedBuild:
    """A build as it lies in the store, under its name."""
    app_version_id, platform, kind = field.split(" ")
    used, _, digest, text = found.split(" ", 3)
    size, file_name, format_, package, version_name, version_code, pushed_at = json.loads(text)
    facts = BuildFacts(Format(format_), platform, Kind(kind), package, version_name, version_code)
    return NamedBuild(Build(org_id, app_version_id, digest, size, file_name, facts, pushed_at), int(used), found)
