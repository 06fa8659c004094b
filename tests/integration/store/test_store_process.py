"""The store of the tests: it has started when it serves, and not when it reads what it had written down."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.store_process import StoreProcess

KEYS = 8000


def test_a_store_has_started_when_all_is_loaded(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store", "--appendonly", "yes")
    store.start()
    with store.client() as client, client.pipeline(transaction=False) as pipeline:
        for n in range(KEYS):
            pipeline.set(f"k{n}", n)
        pipeline.execute()
    store.kill()
    slow = StoreProcess(tmp_path / "store", "--appendonly", "yes", "--key-load-delay", "100")  # us, of each command
    slow.start()
    try:
        with slow.client() as client:
            assert client.info("persistence")["loading"] == 0
            assert client.dbsize() == KEYS
    finally:
        slow.kill()
