"""Suites that jobs name: found when they are submitted, and known to be in use from then on."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import NamedSuite

USE_NOTED_MS = 3600 * 1000
"""A use is noted where none was for so long: it only keeps the suite from being forgotten."""


async def find_suites(store: Store, org_id: str, specs: Sequence[JobSpec], prefix: str = "") -> None:
    """Gives jobs the size of the suites that they name: one call to the store for each suite, whatever the jobs.

    `prefix` is the path of a job in its call, as in `jobs[{}].`. Raises InvalidError for the first job whose suite the
    org has not, StoreUnavailableError.
    """
    found: dict[str, NamedSuite | None] = {}
    for i, spec in enumerate(specs):
        digest = spec.suite_digest
        if digest is None:
            continue
        if digest not in found:
            found[digest] = await store.suites.get(org_id, digest)
        there = found[digest]
        if there is None:
            raise InvalidError(f"{prefix.format(i)}suite_digest", _unknown(org_id, digest))
        spec.suite_size_bytes = there.suite.size_bytes
    for there in found.values():
        if there is not None:
            await note_use(store, there)


async def note_use(store: Store, there: NamedSuite) -> None:
    """Somebody wants it. Raises StoreUnavailableError."""
    now = wall_ms()
    if there.used_at < now - USE_NOTED_MS:
        await store.suites.used(there, now)


def _unknown(org_id: str, digest: str) -> str:
    push = f"push it with `qgjob suites push DIR --org-id={org_id}`, or submit with --suite DIR"
    return f"{digest} is no suite of org {org_id}: it was not pushed, or nobody used it for long; {push}"
