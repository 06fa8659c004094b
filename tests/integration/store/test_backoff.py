"""The scripts wait as long as its specification says, to the millisecond."""

from __future__ import annotations

import random

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.retrying import backoff_ms

SHARES = (0.0, 1.0, 0.5, 1 / 3, 0.1 + 0.2, 1 - 2**-53, 5e-324, 1e-5)
RETRIES = 12
RULES = RetryRules(base_ms=1_999, cap_ms=299_999, infra_max=RETRIES)
RANDOM = random.Random(7)  # noqa: S311 - the same shares each time


async def test_lua_and_python_agree_on_every_wait(redis_url: str) -> None:
    shares = [*SHARES, *(RANDOM.random() for _ in range(40))]
    store = Store(redis_url, rules=RULES)
    try:
        jobs = [spec(n, max_retries=RETRIES) for n in range(len(shares))]
        await scenes.submit(store, *jobs)
        for outcome in (Outcome.TEST_FAILED, Outcome.DEVICE_ERROR):
            for used in range(RETRIES):
                tokens = [(j.ulid, f"{outcome}{used}") for j in jobs]
                assert len((await scenes.claim(store, jobs[0], *tokens)).grants) == len(jobs)
                endings = [ending(u, t, outcome, share=s) for (u, t), s in zip(tokens, shares, strict=True)]
                answers = await store.leases.finish("acme", endings, NOW)
                waits = [backoff_ms(used, s, RULES) for s in shares]
                # What is due at once is on its queue and has no time to wait for.
                assert [a.not_before for a in answers] == [NOW + w if w else None for w in waits]
                await store.jobs.promote("acme", NOW + 300_000)
    finally:
        await store.close()
