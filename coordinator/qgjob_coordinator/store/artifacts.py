"""What is kept of jobs, and of which. The bytes are in the blob store.

`ar:<ulid>`  `<attempt>`          ->  who was the first to push files of it
             `<attempt> <name>`   ->  [kind, digest, size, pushed at]
             `<attempt> <prefix>` ->  [[files, bytes, why], …] left out, when the rest has come; a prefix is empty or
                                      ends with a slash
             `#<attempt>`         ->  how many files it has, and their bytes in all
             `gone`               ->  all of it is removed, and nothing is added any more
`ak`         ulid                 ->  when something was added last (ms)
`ag`         ulid                 ->  when its removal began (ms)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qgjob_coordinator.model.artifacts import Artifact, ArtifactKind, Bounds, Evidence, LeftOut, OfferedFile, Omission
from qgjob_coordinator.store import codec, keys, names
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.scripts import Arg, ScriptRunner, Step

_Row: TypeAlias = tuple[str, int, list[Arg]]
"""Of one attempt: ulid, its number, and what the script is told of each entry."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An attempt of which files are about to be kept. `owner` names the lease."""

    ulid: str
    attempt: int
    owner: str


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """Files of an attempt that are kept.

    `end`: with these all of the attempt's have come whose names begin with that prefix, and this is left out.
    """

    ulid: str
    attempt: int
    files: Sequence[OfferedFile]
    end: tuple[str, Sequence[LeftOut]] | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """What an attempt has, that may have no more of it."""

    files: int
    size_bytes: int


class ArtifactStore:
    """Evidence of one org at a time. All methods raise StoreUnavailableError."""

    def __init__(self, runner: ScriptRunner, call: Commands) -> None:
        self._runner = runner
        self._call = call

    async def expect(self, org_id: str, expected: Sequence[Expected], now: int) -> list[Evidence | None]:
        """Files of attempts are about to be kept; for each what is kept of its job. None: that is being removed."""
        rows: list[_Row] = [(e.ulid, e.attempt, [str(e.attempt), e.owner, ""]) for e in expected]
        found = await self._add(org_id, rows, now, Bounds(0))
        return [each for each in found if not isinstance(each, Full)]  # where no file comes none is too many

    async def keep(
        self, org_id: str, kept: Sequence[KeptFiles], now: int, bounds: Bounds
    ) -> list[Evidence | Full | None]:
        """Files are kept, their bytes being there; for each what is kept of its job.

        None: that is being removed, and so are they. Full: none of them is kept, as the attempt would have more than
        `bounds`.
        """
        return await self._add(org_id, [(k.ulid, k.attempt, _entries(k, now)) for k in kept], now, bounds)

    async def _add(self, org_id: str, rows: Sequence[_Row], now: int, bounds: Bounds) -> list[Evidence | Full | None]:
        args: list[Arg] = [now, bounds.files, bounds.size_bytes]
        for ulid, attempt, entries in rows:
            args += [ulid, attempt, len(entries) // 3, *entries]
        replies = await self._runner.run("artifacts", keys.org(org_id), args) if rows else []
        found: list[Evidence | Full | None] = []
        for (ulid, _, _), reply in zip(rows, replies, strict=True):
            if reply == "GONE":
                found.append(None)
            elif reply[0] == "FULL":
                found.append(Full(int(reply[1]), int(reply[2])))
            else:
                found.append(_evidence(org_id, ulid, codec.pairs(reply)))
        return found

    async def of(self, org_id: str, ulids: Sequence[str]) -> list[Evidence]:
        """What is kept of jobs, in their order."""
        prefix = keys.org(org_id)
        found = await self._runner.batch([Step(None, "", ("HGETALL", f"{prefix}ar:{ulid}")) for ulid in ulids])
        return [_evidence(org_id, ulid, each) for ulid, each in zip(ulids, found, strict=True)]

    async def old(self, org_id: str, before: int, most: int) -> list[tuple[str, int]]:
        """Jobs to whose evidence nothing was added since `before` (ms): (ulid, when it was)."""
        return await self._scored(f"{keys.org(org_id)}ak", f"({before}", "LIMIT", 0, most)

    async def leaving(self, org_id: str) -> list[tuple[str, int]]:
        """Jobs whose evidence is being removed: (ulid, since when in ms)."""
        return await self._scored(f"{keys.org(org_id)}ag", "+inf")

    async def _scored(self, key: str, until: str, *limit: str | int) -> list[tuple[str, int]]:
        found: list[tuple[str, float]] = await self._call("ZRANGEBYSCORE", key, "-inf", until, "WITHSCORES", *limit)
        return [(ulid, int(at)) for ulid, at in found]

    async def leave(self, org_id: str, ulid: str, found_at: int, now: int) -> bool:
        """Begins to remove what is kept of a job; False when something was added since, or another one does it."""
        return bool(await self._runner.run("artifacts_leaving", keys.org(org_id), [now, ulid, found_at]) == "OK")

    async def left(self, org_id: str, ulids: Sequence[str]) -> None:
        """The bytes of these jobs' evidence are deleted, and nobody can be about to add to it any more."""
        await self._runner.run("artifacts_left", keys.org(org_id), list(ulids))


def _entries(kept: KeptFiles, now: int) -> list[Arg]:
    entries: list[Arg] = []
    for each in kept.files:
        value = names.dumps([each.kind.value, each.digest, each.size_bytes, now])
        entries += [f"{kept.attempt} {each.name}", value, each.size_bytes]
    if kept.end is not None:
        prefix, left_out = kept.end
        value = names.dumps([[p.files, p.size_bytes, p.reason] for p in left_out])
        entries += [f"{kept.attempt} {prefix}", value, ""]
    return entries


def _evidence(org_id: str, ulid: str, fields: dict[str, str]) -> Evidence:
    job_id = f"{org_id}~{ulid}"
    artifacts: list[Artifact] = []
    omissions: list[Omission] = []
    owners: list[tuple[int, str]] = []
    complete: list[int] = []
    for field, value in fields.items():
        number, space, name = field.partition(" ")
        if not number.isdigit():
            continue
        attempt = int(number)
        if not space:
            owners.append((attempt, value))
        elif not name or name.endswith("/"):
            complete += [] if name else [attempt]
            omissions += [Omission(job_id, attempt, LeftOut(*each)) for each in json.loads(value)]
        else:
            kind, digest, size, pushed_at = json.loads(value)
            artifacts.append(Artifact(job_id, attempt, OfferedFile(name, ArtifactKind(kind), digest, size), pushed_at))
    artifacts.sort(key=lambda each: (each.attempt, each.file.name))
    omissions.sort(key=lambda each: each.attempt)
    return Evidence(tuple(artifacts), tuple(omissions), tuple(owners), tuple(sorted(complete)))
