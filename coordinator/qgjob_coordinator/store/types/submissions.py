"""What a submission takes and answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SubmitWord(StrEnum):
    """What became of a submitted job."""

    NEW = "NEW"
    REPLAYED = "REPLAYED"
    DEDUP = "DEDUP"
    KEYED = "KEYED"


@dataclass(slots=True)
class Submitted:
    """The job that a submission got; `removed_status` when only its tombstone is left."""

    word: SubmitWord
    ulid: str
    removed_status: str | None = None


class SubmitConflictError(Exception):
    """The job at `index` has the id, or the idempotency key, of one with another content. Nothing was changed.

    `field` says which of them. `holder` is the ulid of the job that the key stands for, None where that is no job yet.
    """

    def __init__(self, index: int, key_of: str | None = None) -> None:
        """`key_of` is None for an id; for a key its job, empty when that came with the same call."""
        super().__init__(index)
        self.index = index
        self.field = "job_id" if key_of is None else "idempotency_key"
        self.holder = key_of or None


@dataclass(frozen=True, slots=True)
class BoundTo:
    """The client to whose life the runs of a submission are bound, and how long it may be silent."""

    client_id: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Manner:
    """How a call submits, beside its jobs. `more_follows`: more calls with jobs of the same runs come after it."""

    more_follows: bool = False
    bound_to: BoundTo | None = None


class OperationReusedError(Exception):
    """The operation id was used for something else within its time. Nothing was changed."""

    def __init__(self, operation_id: str) -> None:
        super().__init__(operation_id)
        self.operation_id = operation_id
