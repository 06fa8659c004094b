"""Suites that jobs name: found when they are submitted, and known to be in use from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import NamedSuite

USE_NOTED_MS = 3600 * 1000
"""A use is noted where none was for so long: it only keeps the suite from being forgotten."""
BELIEVED_MS = 60 * 1000
"""So long one that was found is not looked for again. The bytes of one that is forgotten stay for a day."""
MOST_BELIEVED = 10_000


@dataclass(frozen=True, slots=True)
class _Found:
    size_bytes: int
    until: int


class NamedSuites:
    """Finds suites for submissions. It believes what it has found lately: most submissions cost nothing more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[tuple[str, str], _Found] = {}

    async def find(self, org_id: str, specs: Sequence[JobSpec], prefix: str = "") -> None:
        """Gives jobs the size of the suites that they name: at most one call to the store for each suite.

        `prefix` is the path of a job in its call, as in `jobs[{}].`. Raises InvalidError for the first job whose suite
        the org has not, StoreUnavailableError.
        """
        for i, spec in enumerate(specs):
            if spec.suite_digest is not None:
                size = await self._size(org_id, spec.suite_digest)
                if size is None:
                    raise InvalidError(f"{prefix.format(i)}suite_digest", _unknown(org_id, spec.suite_digest))
                spec.suite_size_bytes = size

    async def _size(self, org_id: str, digest: str) -> int | None:
        now = wall_ms()
        found = self._found.get((org_id, digest))
        if found is not None and found.until > now:
            return found.size_bytes
        there = await self._store.suites.get(org_id, digest)
        if there is None:
            self._found.pop((org_id, digest), None)
            return None
        await note_use(self._store, there)
        if len(self._found) >= MOST_BELIEVED:
            self._found.clear()
        self._found[org_id, digest] = _Found(there.suite.size_bytes, now + BELIEVED_MS)
        return there.suite.size_bytes


async def note_use(store: Store, there: NamedSuite) -> None:
    """Somebody wants it. Raises StoreUnavailableError."""
    now = wall_ms()
    if there.used_at < now - USE_NOTED_MS:
        await store.suites.used(there, now)


def _unknown(org_id: str, digest: str) -> str:
    push = f"push it with `qgjob suites push DIR --org-id={org_id}`, or submit with --suite DIR"
    return f"{digest} is no suite of org {org_id}: it was not pushed, or nobody used it for long; {push}"
