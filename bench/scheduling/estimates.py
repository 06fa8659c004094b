"""What the simulated system knows of durations: the coordinator's own estimates, fed by history and by what ends."""

from __future__ import annotations

from bench.scheduling.durations import Durations
from bench.scheduling.learning import rounded
from bench.scheduling.trace import TestKey, Trace, TraceJob
from qgjob_coordinator.policy.estimates.measurement import LONGEST_MS, reported_ms

_BEFORE = ""
"""The group of what ran before the trace begins, since a history names none."""


def group_of(job: TraceJob) -> str:
    """The gid of a job's group."""
    return f"{job.target.value}-{job.app_version_id}"


def _told(seconds: float) -> float | None:
    """A duration as the store learns it from an agent's report, in whole ms; None for what it does not learn."""
    if not 0 <= seconds <= LONGEST_MS / 1000:
        return None
    ms = reported_ms(rounded(seconds * 1000))
    return None if ms is None else ms / 1000


class Estimates:
    """A trace's view of `Durations`: what is kept in them, and forgotten, is what the store keeps and forgets."""

    def __init__(self, trace: Trace) -> None:
        self._durations = Durations()
        for test, measured in trace.history.items():
            for seconds in measured:
                self._observe(test, _BEFORE, seconds)

    def observe(self, job: TraceJob) -> None:
        """The job ran to its end."""
        self._observe((job.org_id, job.test_path, job.target), group_of(job), job.seconds)

    def forget_group(self, org_id: str, gid: str) -> None:
        """The group has no unfinished jobs any more."""
        self._durations.forget_group(org_id, gid)

    def _observe(self, test: TestKey, gid: str, seconds: float) -> None:
        told = _told(seconds)
        if told is not None:
            org_id, test_path, target = test
            self._durations.observe(org_id, gid, test_path, target, told)

    def of_test(self, job: TraceJob) -> float | None:
        """What its test is expected to take by its own history (s)."""
        return self._durations.of_test(job.org_id, job.test_path, job.target)

    def typical(self, job: TraceJob) -> float:
        """What a job of its group is expected to take of which nothing is known (s)."""
        return self.typical_of(job.org_id, group_of(job))

    def typical_of(self, org_id: str, gid: str) -> float:
        """As `typical`, of a group."""
        return self._durations.typical(org_id, gid)
