"""How much each figure measures. The full sizes are those that the figures are quoted for."""

from __future__ import annotations

from dataclasses import dataclass

BATCH_JOBS = 500
"""Jobs in one SubmitJobs and in one of BullMQ's addBulk."""
SUBMITTERS = 200
"""Single submissions in flight; also BullMQ's worker concurrency."""
DEVICES = 200
MAX_PAUSE_SECONDS = 0.010
"""Between two lone jobs the idle system is left alone for a random time up to this."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts of jobs, calls and plans."""

    end_to_end_jobs: int
    submit_jobs: int
    client_submit_jobs: int
    lone_jobs: int
    warm_up_jobs: int
    queued_jobs: int
    plans: int
    peer_jobs: int


FULL = Sizes(
    end_to_end_jobs=20_000,
    submit_jobs=40_000,
    client_submit_jobs=20_000,
    lone_jobs=500,
    warm_up_jobs=20,
    queued_jobs=1_000_000,
    plans=200,
    peer_jobs=20_000,
)
QUICK = Sizes(
    end_to_end_jobs=4_000,
    submit_jobs=8_000,
    client_submit_jobs=4_000,
    lone_jobs=50,
    warm_up_jobs=5,
    queued_jobs=20_000,
    plans=50,
    peer_jobs=4_000,
)
