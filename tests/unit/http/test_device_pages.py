"""Pages of devices: each device once, and the fleet is not read anew for each page."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from qgjob_coordinator.http.services import Services
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.store.store import Store

DEVICES = 40
AGENTS = ("a1", "a2")


@pytest.fixture
async def fleet(store: Store) -> Store:
    """Two agents, with the even and the odd devices."""
    for n, agent in enumerate(AGENTS):
        infos = [DeviceInfo(f"d{i:02}", "u", Target.DEVICE) for i in range(n, DEVICES, 2)]
        ids = [d.device_id for d in infos]
        await store.sessions.open(agent, "life", 1, {"version": "1", "host": "h"}, "c", ids, wall_ms())
        assert await store.fleet.inventory(agent, 1, infos, (), wall_ms(), complete=True)
    return store


@pytest.fixture
def reads(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Which agents were read, read by read; () is the whole fleet."""
    seen: list[tuple[str, ...]] = []
    read = services.store.fleet.read

    async def counted(agents: Any = ()) -> Any:
        seen.append(tuple(agents))
        return await read(agents)

    monkeypatch.setattr(services.store.fleet, "read", counted)
    return seen


async def pages(http: httpx2.AsyncClient, **query: Any) -> list[str]:
    found: list[str] = []
    token = None
    while True:
        more = {} if token is None else {"page_token": token}
        page = (await http.get("/api/jobs/devices", params={"page_size": 3} | query | more)).json()
        found += [d["device_id"] for d in page["devices"]]
        token = page["next_page_token"]
        if token is None:
            return found


async def test_the_fleet_is_read_once_for_all_its_pages(
    fleet: Store, http: httpx2.AsyncClient, reads: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qgjob_coordinator.service.calls.operating.CACHE_SECONDS", 60.0)
    assert await pages(http) == [f"d{i:02}" for i in range(DEVICES)]
    assert reads == [()]


async def test_pages_of_an_agent_read_that_agent_only(
    fleet: Store, http: httpx2.AsyncClient, reads: list[tuple[str, ...]]
) -> None:
    assert await pages(http, agent_id="a2", target="device") == [f"d{i:02}" for i in range(1, DEVICES, 2)]
    assert set(reads) == {("a2",)}
    assert await pages(http, agent_id="nobody") == []


async def test_a_first_page_is_as_the_store_has_it(fleet: Store, http: httpx2.AsyncClient) -> None:
    before = await pages(http)
    info = DeviceInfo("d99", "u", Target.DEVICE)
    await fleet.fleet.inventory("a1", 1, [info], (), wall_ms(), complete=False)
    assert await pages(http, page_size=1000) == [*before, "d99"]
