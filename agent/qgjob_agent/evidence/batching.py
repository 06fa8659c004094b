"""Which of the evidence that waits goes together. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgjob_agent.evidence.shelf import Evidence
    from qgjob_agent.evidence.waiting import Waiting

MOST_ATTEMPTS = 100
MOST_BYTES = 900_000
"""Of one call, of which coordinators take 1 MiB."""
SMALL_BYTES = 300_000
"""An attempt with more is sent by itself, file by file."""
_FILE_BYTES = 700
_REASON_BYTES = 2_100
"""What is said of a file, and of one that is left out, at most."""


def weight(evidence: Evidence) -> int:
    """Bytes of a message with all of it, or somewhat less than that."""
    return evidence.size_bytes + _FILE_BYTES * len(evidence.kept or ()) + _REASON_BYTES * len(evidence.left_out)


def is_small(evidence: Evidence) -> bool:
    """Whether it may go with others."""
    return weight(evidence) <= SMALL_BYTES


def together(waiting: Iterable[Evidence]) -> list[Evidence]:
    """The first one; if it is small, with others that are, in their order, as many as one call takes."""
    batch: list[Evidence] = []
    size = 0
    for each in waiting:
        if batch and (not is_small(each) or size + weight(each) > MOST_BYTES):
            continue
        batch.append(each)
        size += weight(each)
        if len(batch) == MOST_ATTEMPTS or size > MOST_BYTES - _FILE_BYTES or not is_small(each):
            break
    return batch


def fills_a_call(waiting: Waiting) -> bool:
    """Whether there is no point in more of it for one call."""
    return len(waiting) >= MOST_ATTEMPTS or waiting.size_bytes >= MOST_BYTES
