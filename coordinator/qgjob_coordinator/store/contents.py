"""What an org keeps beside the store: which names stand for which contents. The bytes are in the blob store.

`bd`  name    ->  `<used at> <NEW or REPLACED> <digest> <what is named>`
`bc`  digest  ->  `<names> <since, or leaving:since> <what it is>`

What is named and what a content is are JSON; store/builds.py and store/suites.py say of which form.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from qgjob_coordinator.model.builds import BuildFacts, Format, Kind
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import Arg, ScriptRunner
from qgjob_coordinator.store.types.contents import Content, NameWord

MOVED = "MOVED"
SUITE = "suite"
"""Stands where a content that is a build has its format."""


class ContentStore:
    """Contents of one org at a time, and their names. All methods raise StoreUnavailableError."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def content(self, org_id: str, digest: str) -> Content | None:
        """What is known of a content; its bytes may not be there yet, or not any more."""
        found = await self._call("HGET", f"{keys.org(org_id)}bc", digest)
        return _content(digest, found) if found else None

    async def contents(self, org_id: str) -> list[Content]:
        """All contents of an org."""
        found: dict[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}bc")
        return [_content(digest, value) for digest, value in sorted(found.items())]

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

    async def _named(self, org_id: str, name: str) -> str | None:
        """What stands for a name."""
        found: str | None = await self._call("HGET", f"{keys.org(org_id)}bd", name)
        return found

    async def _are_named(self, org_id: str, names_: Sequence[str]) -> list[bool]:
        """Whether something stands for each of some names."""
        if not names_:
            return []
        found: list[str | None] = await self._call("HMGET", f"{keys.org(org_id)}bd", *names_)
        return [value is not None for value in found]

    async def _all_named(self, org_id: str) -> list[tuple[str, str]]:
        """All names of an org, sorted, and what stands for them."""
        found: dict[str, str] = await self._call("HGETALL", f"{keys.org(org_id)}bd")
        return sorted(found.items())

    async def _expect(self, org_id: str, digest: str, what: Sequence[object], now: int) -> bool:
        """A content is about to be kept. False while one of the same digest is removed: later, then."""
        args: list[Arg] = [now, digest, names.dumps(what)]
        return bool(await self._runner.run("build_expected", keys.org(org_id), args) == "OK")

    async def _give(
        self, org_id: str, name: str, digest: str, what: Sequence[object], now: int, *, replace: bool
    ) -> tuple[NameWord, str]:
        """Lets a name stand for a content; with what stands there then. LEAVING and CONFLICT change nothing."""
        args: list[Arg] = [now, name, digest, "1" if replace else "", names.dumps(what)]
        word, found = await self._runner.run("build_name", keys.org(org_id), args)
        return NameWord(word), found

    async def _if_found(self, script: str, org_id: str, name: str, found: str, now: int) -> bool:
        return bool(await self._runner.run(script, keys.org(org_id), [now, name, found]) == "OK")


def _content(digest: str, found: str) -> Content:
    count, mark, text = found.split(" ", 2)
    size, format_, *rest = json.loads(text)
    facts = None
    if format_ != SUITE:
        platform, kind, package, version_name, version_code = rest
        facts = BuildFacts(Format(format_), platform, Kind(kind), package, version_name, version_code)
    leaving, _, at = mark.partition(":")
    if at:
        return Content(digest, int(count), None, size, facts, found, int(at))
    return Content(digest, int(count), int(leaving), size, facts, found)
