"""A quarantine is read from where the product writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_coordinator.config import Settings
from qgjob_coordinator.policy.health.record import CLEAN, Kind, Mark, Record, quarantined
from qgjob_coordinator.store import health
from tests.chaos import quarantines, stores
from tests.chaos.lab import Lab
from tests.chaos.scale import Scale
from tests.chaos.schedule import Form
from tests.chaos.workload import DEVICES

FAILED = Record(marks=(Mark(Kind.DEVICE, ("acme", "g"), "01", 5),))


@pytest.mark.asyncio
async def test_of_what_is_kept_of_devices_the_quarantines_are_read_until_the_store_is_away(tmp_path: Path) -> None:
    store = stores.made(Form.ONE, tmp_path / "store")
    store.start()
    out, suspect, well, *_ = DEVICES
    try:
        async with stores.looking(store) as redis:
            for device_id, record in (
                (out, quarantined(FAILED, 1, 1000, 3000, "it broke")),
                (suspect, FAILED),
                (well, CLEAN),
            ):
                key = f"{quarantines.DEVICE_KEY}{device_id}"
                await redis.hset(key, mapping={"agent": "cmd-1", health.RECORD: health.encode(record)})
            assert await quarantines.read(redis) == {out: (1000, 3000, "it broke")}
            store.stop()
            assert await quarantines.read(redis) is None
    finally:
        store.stop()


def test_quarantines_are_scaled_as_all_times_are(tmp_path: Path) -> None:
    shipped = Settings.model_fields["quarantine_seconds"].default
    assert Lab(tmp_path, Scale(1.0)).coordinator_settings()["QUARANTINE_SECONDS"] == shipped
    assert Lab(tmp_path / "short", Scale(0.2)).coordinator_settings()["QUARANTINE_SECONDS"] == pytest.approx(
        0.2 * shipped
    )
