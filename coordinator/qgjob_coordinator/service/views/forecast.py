"""What is expected to happen: starts of waiting jobs, ends of groups, the next plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.reasons.considered import Judge, unjudged
from qgjob_coordinator.policy.reasons.pending import StartEstimate


class Forecast(Protocol):
    """Answers for readers. All times in ms; what is missing is not known. Raises StoreUnavailableError."""

    async def starts(
        self, org_id: str, jobs: Sequence[Job], places: Sequence[int | None], *, fresh: bool = False
    ) -> Sequence[StartEstimate | None]:
        """When queued jobs of an org are expected to start, in their order; `places` are theirs in their groups.

        `fresh`: as it is now, and not as it was a moment ago.
        """

    async def group_ends(self, org_id: str) -> Mapping[str, int]:
        """When an org's groups are expected to have no unfinished job, by the org's id of the group.

        A group with a job that no device could serve is not in it, nor one of which all that waits is to start later.
        """

    async def judge(self, job: Job) -> Judge:
        """What the plan says of devices that idle while the job waits; as it was at the last look, or a moment ago."""


class NoForecast:
    """Knows nothing."""

    async def starts(
        self, org_id: str, jobs: Sequence[Job], places: Sequence[int | None], *, fresh: bool = False
    ) -> Sequence[StartEstimate | None]:
        """None for each."""
        del org_id, places, fresh
        return [None] * len(jobs)

    async def group_ends(self, org_id: str) -> Mapping[str, int]:
        """Nothing."""
        del org_id
        return {}

    async def judge(self, job: Job) -> Judge:
        """Says nothing."""
        del job
        return unjudged
