"""What the simulated system knows of durations: the coordinator's own estimates, fed by history and by what ends."""

from __future__ import annotations

from bench.scheduling.trace import Trace, TraceJob
from qgjob_coordinator.policy.estimates.durations import Durations

_BEFORE = ""
"""The group of what ran before the trace begins, since a history names none."""


def group_of(job: TraceJob) -> str:
    """The gid of a job's group."""
    return f"{job.target.value}-{job.app_version_id}"


class Estimates:
    """A trace's view of `Durations`."""

    def __init__(self, trace: Trace) -> None:
        self._durations = Durations()
        for (org_id, test_path, target), measured in trace.history.items():
            for seconds in measured:
                self._durations.observe(org_id, _BEFORE, test_path, target, seconds)

    def observe(self, job: TraceJob) -> None:
        """The job ran to its end."""
        self._durations.observe(job.org_id, group_of(job), job.test_path, job.target, job.seconds)

    def of_test(self, job: TraceJob) -> float | None:
        """What its test is expected to take by its own history (s)."""
        return self._durations.of_test(job.org_id, job.test_path, job.target)

    def typical(self, job: TraceJob) -> float:
        """What a job of its group is expected to take of which nothing is known (s)."""
        return self.typical_of(job.org_id, group_of(job))

    def typical_of(self, org_id: str, gid: str) -> float:
        """As `typical`, of a group."""
        return self._durations.typical(org_id, gid)
