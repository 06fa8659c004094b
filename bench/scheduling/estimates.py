"""What the simulated system knows of durations: the coordinator's own estimates, fed by history and by what ends."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from bench.scheduling.trace import TestKey, Trace, TraceJob
from qgjob_coordinator.policy.snapshot import TYPICAL_SECONDS


class Estimates:
    """Draft: EWMA of what was seen."""

    def __init__(self, trace: Trace) -> None:
        self._tests: dict[TestKey, float] = {}
        self._orgs: dict[str, list[float]] = defaultdict(list)
        for key, seconds in trace.history.items():
            for s in seconds:
                self._learn(key, s)

    def _learn(self, key: TestKey, seconds: float) -> None:
        known = self._tests.get(key)
        self._tests[key] = seconds if known is None else known + 0.3 * (seconds - known)
        self._orgs[key[0]].append(seconds)

    def observe(self, job: TraceJob) -> None:
        self._learn((job.org_id, job.test_path, job.target), job.seconds)

    def of_test(self, job: TraceJob) -> float | None:
        return self._tests.get((job.org_id, job.test_path, job.target))

    def typical(self, job: TraceJob) -> float:
        return self.typical_of(job.org_id, "")

    def typical_of(self, org_id: str, gid: str) -> float:
        known = self._orgs.get(org_id)
        return median(known[-101:]) if known else TYPICAL_SECONDS
