"""Which builds the app versions of an org have, and which contents it keeps. The bytes are in the blob store.

`bd`  app version, platform and kind  ->  `<used at> <NEW or REPLACED> <digest> <build>`
`bc`  digest                          ->  `<names> <since, or leaving:since> <what it is>`

A build is the JSON list [size, file name, format, package, version name, version code, pushed at], what a content is
the list [size, format, platform, kind, package, version name, version code].
"""

from __future__ import annotations

import json

from qgjob_coordinator.model.builds import Build, BuildFacts, Format, Kind
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import Arg, ScriptRunner
from qgjob_coordinator.store.types import Content, NamedBuild, NameWord

MOVED = "MOVED"


def name(app_version_id: str, slot: str) -> str:
    """How a build is named in the store; `slot` is that of `model.builds`."""
    return f"{app_version_id} {slot}"


class BuildStore:
    """Builds of one org at a time. All methods raise StoreUnavailableError."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def get(self, org_id: str, app_version_id: str, slot: str) -> NamedBuild | None:
        """The build that an app version has for a slot."""
        field = name(app_version_id, slot)
        found = await self._call("HGET", f"{keys.org(org_id)}bd", field)
        return named(org_id, field, found) if found else None

    async def all(self, org_id: str) -> list[NamedBuild]:
        """All builds of an org, by app version, platform and kind."""
        found: dict[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}bd")
        return [named(org_id, field, value) for field, value in sorted(found.items())]

    async def content(self, org_id: str, digest: str) -> Content | None:
        """What is known of a content; its bytes may not be there yet, or not any more."""
        found = await self._call("HGET", f"{keys.org(org_id)}bc", digest)
        return _content(digest, found) if found else None

    async def contents(self, org_id: str) -> list[Content]:
        """All contents of an org."""
        found: dict[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}bc")
        return [_content(digest, value) for digest, value in sorted(found.items())]

    async def expect(self, org_id: str, digest: str, size_bytes: int, facts: BuildFacts, now: int) -> bool:
        """A content is about to be kept. False while one of the same digest is removed: later, then."""
        f = facts
        what = [size_bytes, f.format.value, f.platform, f.kind.value, f.package, f.version_name, f.version_code]
        args: list[Arg] = [now, digest, names.dumps(what)]
        return bool(await self._runner.run("build_expected", keys.org(org_id), args) == "OK")

    async def give(self, build: Build, now: int, *, replace: bool) -> tuple[NameWord, NamedBuild | None]:
        """Gives a content to an app version; with what that has then. LEAVING and CONFLICT change nothing."""
        field = name(build.app_version_id, build.slot)
        f = build.facts
        line = [build.size_bytes, build.file_name, f.format.value, f.package, f.version_name, f.version_code]
        args: list[Arg] = [now, field, build.digest, "1" if replace else "", names.dumps([*line, build.pushed_at])]
        word, found = await self._runner.run("build_name", keys.org(build.org_id), args)
        return NameWord(word), named(build.org_id, field, found) if found else None

    async def used(self, there: NamedBuild, now: int) -> bool:
        """Notes that a build is in use; False when another one has its place."""
        return await self._if_found("build_used", there, now)

    async def forget(self, there: NamedBuild, now: int) -> bool:
        """Takes a build from its app version; False when it was used since, or another one has its place."""
        return await self._if_found("build_forgotten", there, now)

    async def _if_found(self, script: str, there: NamedBuild, now: int) -> bool:
        build = there.build
        args: list[Arg] = [now, name(build.app_version_id, build.slot), there.found]
        return bool(await self._runner.run(script, keys.org(build.org_id), args) == "OK")

    async def leave(self, org_id: str, content: Content, now: int) -> Content | None:
        """From now on nobody can name a content, and who called deletes its bytes; the content as it is then.

        None: it has a name by now, or another remover.
        """
        args: list[Arg] = [content.digest, content.found, now]
        found = await self._runner.run("build_leaving", keys.org(org_id), args)
        return None if found == MOVED else _content(content.digest, found)

    async def left(self, org_id: str, content: Content) -> None:
        """The bytes of a content that `leave` answered are deleted."""
        await self._runner.run("build_leaving", keys.org(org_id), [content.digest, content.found, ""])


def named(org_id: str, field: str, found: str) -> NamedBuild:
    """A build as it lies in the store, under its name."""
    app_version_id, platform, kind = field.split(" ")
    used, _, digest, text = found.split(" ", 3)
    size, file_name, format_, package, version_name, version_code, pushed_at = json.loads(text)
    facts = BuildFacts(Format(format_), platform, Kind(kind), package, version_name, version_code)
    return NamedBuild(Build(org_id, app_version_id, digest, size, file_name, facts, pushed_at), int(used), found)


def _content(digest: str, found: str) -> Content:
    count, mark, text = found.split(" ", 2)
    size, format_, platform, kind, package, version_name, version_code = json.loads(text)
    facts = BuildFacts(Format(format_), platform, Kind(kind), package, version_name, version_code)
    leaving, _, at = mark.partition(":")
    if at:
        return Content(digest, int(count), None, size, facts, found, int(at))
    return Content(digest, int(count), int(leaving), size, facts, found)
