"""Which suites an org has. See store/contents.py.

A suite's name is `suite <digest>`: it stands for that content and never for another. What is named is the list [size,
files, name, pushed at], what the content is the list [size, `suite`, files].
"""

from __future__ import annotations

import json

from qgjob_coordinator.model.suites import Suite
from qgjob_coordinator.store.contents import SUITE, ContentStore
from qgjob_coordinator.store.types.contents import NamedSuite, NameWord


class SuiteStore(ContentStore):
    """Suites of one org at a time. All methods raise StoreUnavailableError."""

    async def get(self, org_id: str, digest: str) -> NamedSuite | None:
        """The suite with this content."""
        found = await self._named(org_id, _name(digest))
        return _read(org_id, digest, found) if found else None

    async def all(self, org_id: str) -> list[NamedSuite]:
        """All suites of an org, by digest."""
        own = [(field.split(" "), value) for field, value in await self._all_named(org_id)]
        return [_read(org_id, words[1], value) for words, value in own if len(words) == 2]

    async def expect(self, org_id: str, digest: str, size_bytes: int, file_count: int, now: int) -> bool:
        """A content is about to be kept. False while one of the same digest is removed: later, then."""
        return await self._expect(org_id, digest, [size_bytes, SUITE, file_count], now)

    async def give(self, suite: Suite, now: int) -> tuple[NameWord, NamedSuite | None]:
        """Lets the org have a suite that is kept; with what it has then. LEAVING changes nothing."""
        what = [suite.size_bytes, suite.file_count, suite.name, suite.pushed_at]
        word, found = await self._give(suite.org_id, _name(suite.digest), suite.digest, what, now, replace=False)
        return word, _read(suite.org_id, suite.digest, found) if found else None

    async def used(self, there: NamedSuite, now: int) -> bool:
        """Notes that a suite is in use; False when it was forgotten, or noted by another caller."""
        return await self._if_found("build_used", there.suite.org_id, _name(there.suite.digest), there.found, now)

    async def forget(self, there: NamedSuite, now: int) -> bool:
        """The org has the suite no more; False when it was used since."""
        return await self._if_found("build_forgotten", there.suite.org_id, _name(there.suite.digest), there.found, now)


def _name(digest: str) -> str:
    return f"{SUITE} {digest}"


def _read(org_id: str, digest: str, found: str) -> NamedSuite:
    used, _, _, text = found.split(" ", 3)
    size, file_count, name, pushed_at = json.loads(text)
    return NamedSuite(Suite(org_id, digest, size, file_count, name, pushed_at), int(used), found)
