"""What sends evidence, as those see it that have some to send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob_agent.evidence.shelf import Evidence


class EvidenceAwayError(Exception):
    """It can't be sent now: no coordinator, no store, no room there. The message says which."""


class EvidenceRefusedError(Exception):
    """It will never be taken: its job is gone, or something of it is wrong. The message says what."""


class EvidenceTooLargeError(Exception):
    """A coordinator takes less. The message says how much."""


Sent: TypeAlias = int | EvidenceAwayError | EvidenceRefusedError | EvidenceTooLargeError
"""Of one attempt how many files were not there yet, or why they are not there now."""


class Push(Protocol):
    """The coordinators' store of evidence. Two calls may be under way, for small evidence and for large."""

    async def __call__(self, several: Sequence[Evidence]) -> list[Sent]:
        """What became of the first ones of these, of one at least. Raises EvidenceAwayError where no one serves."""
