"""What a failed attempt leads to, as the specification that the store's scripts are held against.

Nothing that runs calls it: a script decides it where it writes it down, in one step.
"""

from __future__ import annotations

from qgjob_coordinator.model.enums import Charge
from qgjob_coordinator.policy.retry import RetryRules


def may_retry(charge: Charge, *, retries_used: int, max_retries: int, infra_used: int, infra_max: int) -> bool:
    """Whether the budget that `charge` uses up has something left.

    `retries_used` and `infra_used` count this round's retries of each class; a budget of n allows n + 1 attempts.
    """
    if charge is Charge.TEST:
        return retries_used < max_retries
    if charge is Charge.INFRASTRUCTURE:
        return infra_used < infra_max
    return charge is Charge.NOBODY


def backoff_ms(used: int, share: float, rules: RetryRules) -> int:
    """Full jitter: `share` (0..1, random) of an exponential step that starts at `base_ms` and ends at `cap_ms`.

    `used` counts the retries made before.
    """
    step = min(float(rules.cap_ms), rules.base_ms * 2.0 ** min(used, 64))
    return int(step * share)
