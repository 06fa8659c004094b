"""/metrics is what a scraper reads, and has the contract's names and labels."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.contract import scenarios
from tests.contract.rest import RestApi
from tests.contract.rpc import RpcApi
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.waiting import until

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

GRPC = {"grpc_type", "grpc_service", "grpc_method"}
LABELS: dict[str, set[str]] = {
    "qgjob_jobs": {"status", "target"},
    "qgjob_jobs_submitted_total": {"target"},
    "qgjob_jobs_finished_total": {"outcome", "target"},
    "qgjob_job_queue_seconds": set(),
    "qgjob_job_run_seconds": set(),
    "qgjob_start_estimate_error_ratio": set(),
    "qgjob_oldest_queued_age_seconds": set(),
    "qgjob_attempts_total": {"outcome"},
    "qgjob_devices": {"state", "health", "target"},
    "qgjob_agents": {"state"},
    "qgjob_overflows_total": {"target"},
    "qgjob_leases_lost_total": set(),
    "qgjob_org_faults_total": {"part"},
    "qgjob_device_quarantines_total": {"event"},
    "qgjob_device_probes_total": {"health"},
    "qgjob_installs_total": {"outcome"},
    "qgjob_redis_command_seconds": set(),
    "qgjob_event_loop_lag_seconds": set(),
    "qgjob_build_info": {"version"},
    "grpc_server_started_total": GRPC,
    "grpc_server_handled_total": GRPC | {"grpc_code"},
    "grpc_server_handling_seconds": GRPC,
}
"""Every metric of the contract with its labels."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(http: httpx2.AsyncClient) -> Samples:
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(answer.text)
        for s in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, frozenset(labels.items())), 0.0)


async def test_names_and_labels(
    fleet: CoordinatorProcess, http: httpx2.AsyncClient, rest: RestApi, rpc: RpcApi
) -> None:
    done = (await rest.submit(scenarios.job("metrics", target="device"))).job
    await scenarios.until(rpc, done["job_id"], "completed")
    found: dict[str, set[str]] = {}
    for name, labels in await scrape(http):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found.setdefault(base, set()).update({label for label, _ in labels} - {"le"})
    assert found == LABELS


def test_the_operations_page_explains_every_metric() -> None:
    page = OPERATIONS.read_text()
    assert {name for name in LABELS if f"`{name}`" not in page} == set()


async def test_a_job_is_counted_through_its_life(
    fleet: CoordinatorProcess, http: httpx2.AsyncClient, rest: RestApi
) -> None:
    before = await scrape(http)
    done = (await rest.submit(scenarios.job("counted", target="device"))).job
    await scenarios.until(rest, done["job_id"], "completed")

    def grew(first: Samples, second: Samples, name: str, **labels: str) -> float:
        return value(second, name, **labels) - value(first, name, **labels)

    async def counted() -> bool:
        return grew(before, await scrape(http), "qgjob_attempts_total", outcome="passed") == 1

    await until(counted, "the attempt is not counted")  # which is when its verdict can be read already
    waits = (await rest.submit(scenarios.job("counted"))).job
    between = await scrape(http)
    await rest.cancel(waits["job_id"])
    after = await scrape(http)

    assert grew(before, between, "qgjob_jobs_submitted_total", target="device") == 1
    assert grew(before, between, "qgjob_jobs_finished_total", outcome="passed", target="device") == 1
    assert grew(before, between, "qgjob_attempts_total", outcome="passed") == 1
    assert grew(before, between, "qgjob_job_queue_seconds_count") == 1
    assert grew(before, between, "qgjob_job_run_seconds_count") == 1
    assert grew(before, between, "qgjob_jobs", status="completed", target="device") == 1
    assert grew(before, between, "qgjob_jobs", status="queued", target="emulator") == 1
    assert grew(between, after, "qgjob_jobs", status="queued", target="emulator") == -1
    assert grew(between, after, "qgjob_jobs", status="cancelled", target="emulator") == 1
    assert value(after, "qgjob_agents", state="online") == 1

    async def all_idle() -> bool:
        return value(await scrape(http), "qgjob_devices", state="idle", health="good", target="device") == 2

    await until(all_idle, "a device is not seen to be done")  # which the store is told a moment later


async def test_a_cancelled_job_is_counted_under_its_target(http: httpx2.AsyncClient, rest: RestApi) -> None:
    before = await scrape(http)
    waits = (await rest.submit(scenarios.job("counted", target="browserstack"))).job
    await rest.cancel(waits["job_id"])
    after = await scrape(http)
    labels = {"outcome": "cancelled", "target": "browserstack"}
    name = "qgjob_jobs_finished_total"
    assert value(after, name, **labels) - value(before, name, **labels) == 1


async def test_calls_are_counted_by_how_they_ended(http: httpx2.AsyncClient, rpc: RpcApi) -> None:
    labels = {"grpc_type": "unary", "grpc_service": "qgjob.v1.JobService", "grpc_method": "GetJob"}
    before = await scrape(http)
    assert (await rpc.get("nonsense")).code == "invalid"
    after = before

    def grew(name: str, **more: str) -> float:
        return value(after, name, **labels, **more) - value(before, name, **labels, **more)

    async def ended() -> bool:
        nonlocal after
        after = await scrape(http)
        return grew("grpc_server_handling_seconds_count") == 1

    await until(ended, "its end is not counted")  # which is when the caller has its answer already
    assert grew("grpc_server_started_total") == 1
    assert grew("grpc_server_handled_total", grpc_code="INVALID_ARGUMENT") == 1
    assert grew("grpc_server_handled_total", grpc_code="OK") == 0


async def test_open_metrics_is_spoken_to_those_who_ask(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
