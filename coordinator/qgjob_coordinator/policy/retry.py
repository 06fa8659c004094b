"""The limits of automatic retries. The store's scripts apply them where a failure is written down, in one step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How long a failed attempt's job waits, and how often the infrastructure may fail it.

    The wait before retry n (counted from 0 in its class and round) is a random share, from 0 to all, of
    min(`cap_ms`, `base_ms` * 2^n): formula "full jitter" of M. Brooker, Exponential Backoff And Jitter (AWS
    Architecture Blog, 2015). `infra_max` retries follow failures of the infrastructure; those of a test have the limit
    that their job brings.
    """

    base_ms: int = 2_000
    cap_ms: int = 300_000
    infra_max: int = 5
