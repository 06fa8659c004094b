"""Reads what a plan is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.snapshot import GroupView, Head, Queue
from qgjob_coordinator.store import codec, keys
from qgjob_coordinator.store.scripts import ScriptRunner


@dataclass(frozen=True, slots=True)
class OrgSnapshot:
    """One org: attempts it holds, its groups, and when its next retry and queue deadline are due (ms)."""

    org_id: str
    held: int
    next_retry_at: int | None
    next_deadline_at: int | None
    groups: tuple[GroupView, ...]

    @property
    def waits(self) -> bool:
        """There is work that a device could take now or later."""
        return bool(self.groups) or self.next_retry_at is not None


def _queue(row: list[Any]) -> Queue:
    requirements, avoid = codec.parse_signature(row[0])
    heads = tuple(Head(int(float(row[i + 1])), row[i]) for i in range(2, len(row), 2))
    return Queue(requirements, avoid, int(row[1]), heads)


def _group(org_id: str, row: list[Any]) -> GroupView:
    gid, version, target, unfinished, installs, serving, *queues = row
    return GroupView(
        org_id=org_id,
        gid=gid,
        app_version_id=version,
        target=Target(target),
        unfinished=int(unfinished),
        installs=int(installs),
        serving={d: int(n) for d, n in codec.pairs(serving).items()},
        queues=tuple(_queue(q) for q in queues),
    )


class SnapshotStore:
    """Aggregates and heads, never a list of all jobs."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def org(self, org_id: str, heads: int) -> OrgSnapshot:
        """One org with the first `heads` jobs of each of its queues. Raises StoreUnavailableError."""
        held, retry, deadline, *groups = await self._runner.run("snapshot", keys.org(org_id), [heads])
        return OrgSnapshot(
            org_id,
            int(held),
            int(float(retry)) if retry else None,
            int(float(deadline)) if deadline else None,
            tuple(_group(org_id, g) for g in groups if g[1]),
        )

    async def tidy(self, org_id: str, gids: list[str]) -> None:
        """Forgets empty queues of groups."""
        await self._runner.run("tidy", keys.org(org_id), gids)
