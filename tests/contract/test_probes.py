"""The probes, while the store is stopped and started again, and while the coordinator stops."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.store_process import StoreProcess


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path / "store", "--appendonly", "yes")
    yield store
    store.stop()


@pytest.fixture
def own(tmp_path: Path, own_store: StoreProcess) -> Iterator[CoordinatorProcess]:
    """A coordinator whose store the test may stop."""
    own_store.start()
    process = CoordinatorProcess(tmp_path / "coordinator", own_store.url)
    yield process
    process.kill()


def submit(own: CoordinatorProcess, path: str = "a.js") -> httpx2.Response:
    body = {"org_id": "acme", "app_version_id": "v1", "test_path": path}
    return httpx2.post(f"{own.url}/api/jobs", json=body, timeout=20.0)


def test_the_store_goes_and_comes_back(own: CoordinatorProcess, own_store: StoreProcess) -> None:
    own.start()
    accepted = submit(own).json()["job_id"]
    own_store.stop()

    refusal = json.loads(own.wait_for("/health/ready", 503))
    assert refusal["status"] == "not_ready"
    assert refusal["reasons"][0].startswith("store: ")
    assert refusal["error"] == "unavailable"
    short = json.loads(own.wait_for("/health", 503))
    assert list(short) == ["status", "timestamp", "version", "error", "message"]
    assert (short["status"], short["error"]) == ("unhealthy", "unavailable")
    assert short["message"]  # of this look: the store may be away in another way by now
    assert refusal["message"]
    own.wait_for("/health/live", 200)
    detailed = json.loads(own.wait_for("/health/detailed", 200))
    assert detailed["status"] == "unhealthy"
    assert detailed["store"]["status"] == "down"
    assert detailed["scheduler"] is None
    away = submit(own, "b.js")
    assert away.status_code == 503
    assert away.headers["retry-after"] == "1"
    assert away.json()["error"] == "unavailable"
    assert "qgjob_build_info" in own.wait_for("/metrics", 200).decode()

    own_store.start()
    own.wait_for("/health/ready", 200)
    assert json.loads(own.wait_for("/health/detailed", 200))["store"]["status"] == "up"
    own.wait_for(f"/api/jobs/{accepted}", 200)
    assert submit(own, "c.js").status_code == 201
    assert own.stop() == 0


def test_a_probe_that_meets_a_new_life_of_the_store_first_hides_it_from_nobody(
    own: CoordinatorProcess, own_store: StoreProcess
) -> None:
    own.start()
    own.says("coordinator_ready")  # only then it knows the life that is over soon; a probe asks the store before
    own_store.kill()
    own.wait_for("/health/ready", 503)
    own_store.start()
    own.wait_for("/health/ready", 200)  # asks more often, so it is the first to meet the store again
    own.says("store_new_life")


def test_it_lives_and_says_so_before_the_store_is_there(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store")
    store.start()
    store.stop()
    own = CoordinatorProcess(tmp_path / "coordinator", store.url)
    try:
        own.launch()
        own.wait_for("/health/live", 200)
        own.wait_for("/health/ready", 503)
        own.says("store_away")
        store.start()
        own.wait_for("/health/ready", 200)
    finally:
        own.kill()
        store.stop()


def test_a_store_that_takes_no_writes_is_not_ready(own: CoordinatorProcess, own_store: StoreProcess) -> None:
    own.start()
    with own_store.client() as client:
        client.config_set("maxmemory", "1kb")
        refusal = json.loads(own.wait_for("/health/ready", 503))
        assert "maxmemory" in refusal["reasons"][0]
        assert submit(own).status_code == 503
        client.config_set("maxmemory", "0")
    own.wait_for("/health/ready", 200)


def test_a_store_that_hangs_is_away_in_seconds(own: CoordinatorProcess, own_store: StoreProcess) -> None:
    own.start()
    own_store.pause()
    try:
        assert httpx2.get(f"{own.url}/health/ready", timeout=4.0).status_code == 503
        assert httpx2.get(f"{own.url}/health/live", timeout=1.0).status_code == 200
    finally:
        own_store.resume()
    own.wait_for("/health/ready", 200)


def test_a_port_in_use_is_named_and_a_signal_ends_it_in_order(own: CoordinatorProcess) -> None:
    own.start()
    other = CoordinatorProcess(own.folder.parent / "other", own.environ["REDIS_URL"], PORT=own.port)
    other.launch()
    assert other.process is not None
    try:
        assert other.process.wait(20.0) == 1
    finally:
        other.kill()
    assert other.said().strip().splitlines()[-1].startswith(f"error: PORT: {own.port} (from the environment) can't")

    with httpx2.Client() as idle:  # a connection that is kept open holds nothing up
        assert idle.get(f"{own.url}/health/live").status_code == 200
        assert own.stop() == 0
    assert "coordinator_stopped" in own.said()
