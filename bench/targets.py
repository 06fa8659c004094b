"""What the figures are to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.figures import Figures, number, quotient


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for the figure at a dotted path, or for its quotient with the figure at `per`."""

    path: str
    rule: Literal[">=", "<="]
    bound: float
    per: str | None = None

    def met(self, figures: Figures) -> bool | None:
        """Whether it is reached; None when the figure was not measured."""
        value = number(figures, self.path) if self.per is None else quotient(figures, self.path, self.per)
        if value is None:
            return None
        return value >= self.bound if self.rule == ">=" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.rule} {self.bound:g}" + (f" x {self.per}" if self.per else "")


TARGETS = (
    Target("ratios.end_to_end_to_bullmq_live", ">=", 1.3),
    Target("ratios.submit_jobs_to_add_bulk.one_in_flight", ">=", 1.2),
    Target("ratios.submit_jobs_to_add_bulk.four_in_flight", ">=", 2),
    Target("ratios.client_submit_to_add_200", ">=", 0.7),
    Target("submit_to_start_ms.p50", "<=", 3),
    Target("submit_to_start_ms.p99", "<=", 6),
    Target("submit_to_start_ms.p50", "<=", 2, per="echo_plus_two_redis_hops_ms.p50"),
    Target("end_to_end_fsync_always_loss_percent", "<=", 30),
    Target("store_us_per_job.process", "<=", 45),
    Target("redis_bytes_per_finished_job", "<=", 1.1 * 1024),
    Target("million_queued.plan_ms_p99", "<=", 1),
    Target("million_queued.coordinator_rss_mb", "<=", 200),
)
