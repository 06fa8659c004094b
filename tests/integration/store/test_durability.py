"""A store that forgets more than it should is told apart."""

from __future__ import annotations

import pytest
from redis import Redis

from qgjob_coordinator.store.store import Store


@pytest.mark.parametrize(
    ("append_only", "fsync", "wanted", "weaker"),
    [
        ("no", "everysec", "everysec", "none"),
        ("yes", "no", "everysec", "no"),
        ("yes", "everysec", "everysec", None),
        ("yes", "everysec", "always", "everysec"),
        ("yes", "always", "always", None),
        ("yes", "always", "everysec", None),
    ],
)
async def test_the_tier_is_compared(
    store: Store, raw: Redis, append_only: str, fsync: str, wanted: str, weaker: str | None
) -> None:
    before = {**raw.config_get("appendonly"), **raw.config_get("appendfsync")}
    try:
        raw.config_set("appendonly", append_only)
        raw.config_set("appendfsync", fsync)
        assert await store.weaker_than(wanted) == weaker
    finally:
        for name, value in before.items():
            raw.config_set(name, value)
