"""What is kept of devices' failures, in the fleet's tag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from qgjob_coordinator.policy.health.record import CLEAN, Kind, Mark, Quarantine, Record
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.scripts import Arg, ScriptRunner

RECORD = "record"
"""The field of a device's hash. An operator's word that the device is well takes it away, with a new version."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it stands in the store; the version counts how often it was written, whoever did."""

    version: int = 0
    record: Record = CLEAN


class KeptWord(StrEnum):
    """Whether a record was written. CHANGED: not, since another one stands there than it was made from."""

    OK = "OK"
    CHANGED = "CHANGED"


class HealthStore:
    """Writes records of the devices of one session."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def write(self, agent_id: str, epoch: int, rows: Mapping[str, Kept]) -> dict[str, KeptWord] | None:
        """By device: the record, with the version that it replaces. None: the session is over."""
        args: list[Arg] = [agent_id, epoch]
        for device_id, kept in rows.items():
            args += (device_id, kept.version, encode(kept.record), "1" if kept.record.proven else "")
        words: Sequence[str] = await self._runner.run("health", keys.FLEET, args)
        if words == ["STALE"]:
            return None
        return dict(zip(rows, map(KeptWord, words), strict=True))


def encode(record: Record) -> str:
    """What a record is without being proven, as JSON; "" for nothing."""
    if record.clean:
        return ""
    kept: dict[str, object] = {"n": record.in_a_row, "g": record.good}
    own = [m for m in record.marks if m.kind is not Kind.HOST]
    if own:
        kept["m"] = [[m.kind, *m.build, m.ulid, m.at, round(m.left, 3), int(m.sure)] for m in own]
    of_host = [(n, m) for n, m in enumerate(record.marks) if m.kind is Kind.HOST]
    if of_host:  # by themselves, each with its place: earlier versions know no such kind
        kept["h"] = [[n, *m.build, m.ulid, m.at, round(m.left, 3), int(m.sure)] for n, m in of_host]
    if record.quarantine is not None:
        q = record.quarantine
        kept["q"] = [q.since, q.until, q.reason]
    return names.dumps(kept)


def kept(fields: Mapping[str, str]) -> Kept:
    """From a device's hash."""
    version, proven = fields.get("record_v"), fields.get("proven") == "1"
    if version is None:
        return Kept()
    return Kept(int(version), _record(fields.get(RECORD, ""), proven))


@lru_cache(maxsize=8192)  # read again and again, changed rarely
def _record(text: str, proven: bool) -> Record:
    if not text:
        return Record(proven=proven)
    found = json.loads(text)
    marks = [
        Mark(Kind(kind), (org_id, gid), ulid, at, left, bool(sure))
        for kind, org_id, gid, ulid, at, left, sure in found.get("m", ())
    ]
    for place, org_id, gid, ulid, at, left, sure in found.get("h", ()):
        marks.insert(place, Mark(Kind.HOST, (org_id, gid), ulid, at, left, bool(sure)))
    quarantine = Quarantine(*found["q"]) if "q" in found else None
    return Record(tuple(marks), found["n"], found["g"], quarantine, proven)
