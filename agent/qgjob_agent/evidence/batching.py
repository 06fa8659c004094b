"""Which of the evidence that waits goes together. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob_agent.evidence.shelf import Evidence

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


def together(waiting: Sequence[Evidence]) -> list[Evidence]:
    """The first one; if it is small, with others that are, in their order, as many as one call takes."""
    first, *rest = waiting
    if not is_small(first):
        return [first]
    batch, size = [first], weight(first)
    for each in rest:
        if len(batch) == MOST_ATTEMPTS:
            break
        if is_small(each) and size + weight(each) <= MOST_BYTES:
            batch.append(each)
            size += weight(each)
    return batch
