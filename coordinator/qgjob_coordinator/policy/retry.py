"""When a failed attempt is tried again: the limits, and the formula as the specification of the store's script.

Nothing that runs calls the formula: what a failure leads to is decided where it is written down, in one step. The tests
hold the script against it.
"""

from __future__ import annotations

BASE_MS = 2_000
CAP_MS = 300_000


def backoff_ms(used: int, share: float, *, base_ms: int = BASE_MS, cap_ms: int = CAP_MS) -> int:
    """Full jitter: `share` (0..1, random) of an exponential step that starts at `base_ms` and ends at `cap_ms`.

    `used` counts the retries made before. Formula "full jitter" of M. Brooker, Exponential Backoff And Jitter (AWS
    Architecture Blog, 2015).
    """
    step = min(float(cap_ms), base_ms * 2.0 ** min(used, 64))
    return int(step * share)
