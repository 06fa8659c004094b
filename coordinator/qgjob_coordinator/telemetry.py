"""What a process counts, from 0 when it starts. `http/metrics.py` shows it, or the sum over several processes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from math import inf

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

RECENT_PLANS = 512

QUARANTINE_EVENTS = ("begun", "extended", "ended")
PROBE_ANSWERS = ("good", "bad", "unknown", "maintenance", "no_answer")
ORG_PARTS = (
    "scheduler",
    "plans",
    "claims",
    "undoing",
    "timers",
    "due_jobs",
    "tidy",
    "overtaken",
    "reaper",
    "unbooked",
    "ending_runs",
    "retention",
    "old_contents",
    "old_artifacts",
    "artifacts",
    "start_check",
    "overflow",
    "unbuilt",
    "estimates",
    "reports",
    "logs",
    "revoked",
    "adoption",
    "taking_over",
    "recalls",
    "health",
    "diagnosis",
    "reasons",
    "statistics",
    "metrics",
)
"""Parts of a coordinator that serve org by org, each whatever becomes of another one."""

LAGS_KEPT = 240
"""The last minute: see loops/lag.py."""


class Histogram:
    """Cumulative buckets, cheap to feed."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Adds one value, in the unit of the bounds."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Histogram) -> None:
        """Adds all values of another one. Those of other bounds (another version) count as their upper bound."""
        for bound, n in zip((*other.bounds, inf), other.counts, strict=True):
            self.counts[bisect_left(self.bounds, bound)] += n
        self.sum += other.sum


class Telemetry:
    """Counters and histograms of one coordinator process."""

    def __init__(self) -> None:
        self.submitted: Counter[str] = Counter()  # by target
        self.finished: Counter[tuple[str, str]] = Counter()  # by (outcome, target)
        self.attempts: Counter[str] = Counter()  # by outcome
        self.installs: Counter[str] = Counter()  # by outcome
        self.overflows: Counter[str] = Counter()  # by the target that jobs went to
        self.leases_lost = 0
        self.org_faults: Counter[str] = Counter()  # by part, of ORG_PARTS
        self.quarantines: Counter[str] = Counter()  # by event
        self.probes: Counter[str] = Counter()  # by answer
        self.queue_seconds = Histogram()
        self.run_seconds = Histogram()
        self.start_error = Histogram((0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0))
        self.plan_ms = Histogram((0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0))
        self.plans = 0
        self.recent_plan_ms: deque[float] = deque(maxlen=RECENT_PLANS)
        self.loop_lag_seconds = 0.0
        self._lags: deque[float] = deque(maxlen=LAGS_KEPT)
        self.store_seconds: dict[str, Histogram] = {}
        self.rpc_started: Counter[tuple[str, str, str]] = Counter()  # type, service, method
        self.rpc_handled: Counter[tuple[str, str, str, str]] = Counter()  # and code
        self.rpc_seconds: dict[tuple[str, str, str], Histogram] = {}
        self.process_ends: Counter[str] = Counter()  # by how; of the parent of several processes
        self.processes: Mapping[str, int] = {}  # by state; the same

    def observe_lag(self, seconds: float) -> None:
        """How late the event loop was, each quarter of a second."""
        self.loop_lag_seconds = seconds
        self._lags.append(seconds)

    @property
    def worst_lag_seconds(self) -> float:
        """How late the event loop was at worst in the last minute."""
        return max(self._lags, default=0.0)

    def observe_store(self, name: str, seconds: float) -> None:
        """One call of the store."""
        histogram = self.store_seconds.get(name)
        if histogram is None:
            histogram = self.store_seconds[name] = Histogram()
        histogram.observe(seconds)


Totals = Callable[[], Awaitable[Telemetry]]
"""What all processes of a coordinator have counted together. Raises ParentSilentError."""


def alone(telemetry: Telemetry) -> Totals:
    """Those of a coordinator that is one process."""

    async def totals() -> Telemetry:
        return telemetry

    return totals
