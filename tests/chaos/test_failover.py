"""The Sentinels of the lab hand over when they are told to, also when they gave it up once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos.faults.failover import handed_over
from tests.fakes.store_sentinel import SentinelStore
from tests.fakes.waiting import until


async def test_a_hand_over_that_the_sentinels_gave_up_is_asked_for_again(tmp_path: Path) -> None:
    store = SentinelStore(tmp_path / "store")
    await asyncio.to_thread(store.start)
    try:
        old = store.master
        replicas = [server for server in store.servers if server is not old]
        for replica in replicas:
            replica.pause()
        asked = asyncio.create_task(handed_over(store, old))
        gave_up = "-failover-abort-slave-timeout"
        await until(lambda: gave_up in store.sentinels[0].said(), f"no {gave_up}")
        for replica in replicas:
            replica.resume()
        await asked
        assert store.master in replicas
    finally:
        store.stop()
