"""/metrics: CONTRACT's names and labels, from what the coordinator's processes counted and what the store holds."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, TypeVar

import structlog
from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.http import gauges
from qgjob_coordinator.http.gauges import FleetGauges, JobGauges
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.http.strict import StrictRoute
from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, Status, Target
from qgjob_coordinator.telemetry import ORG_PARTS, PROBE_ANSWERS, QUARANTINE_EVENTS, SECONDS, Histogram, Telemetry

RPC = ("grpc_type", "grpc_service", "grpc_method")

T = TypeVar("T")

log = structlog.get_logger(__name__)


def routes(services: Services) -> APIRouter:
    """The route."""
    router = APIRouter(route_class=StrictRoute, tags=["health"])

    @router.get(
        "/metrics",
        response_model=None,
        responses={200: {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}},
        summary="Metrics",
    )
    async def metrics(request: Request) -> Response:
        """While the store is away, only what the coordinator counted itself; while a part of it is, also the rest."""
        counted = await services.totals()
        fleet = await _unless_away("fleet", gauges.fleet(services.reader))
        jobs = None if fleet is None else await _unless_away("jobs", gauges.jobs(services.store, services.faults))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Scrape(services.version, counted, fleet, jobs))
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return router


async def _unless_away(what: str, read: Coroutine[Any, Any, T]) -> T | None:
    try:
        return await read
    except StoreUnavailableError as e:
        log.warning("scrape_without_store", what=what, error=e.message)
        return None


class _Scrape(Collector):
    """One scrape's worth of metrics; without the gauges that could not be read."""

    def __init__(self, version: str, counted: Telemetry, fleet: FleetGauges | None, jobs: JobGauges | None) -> None:
        self._version = version
        self._counted = counted
        self._fleet = fleet
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """All families."""
        info = GaugeMetricFamily("qgjob_build_info", "Which version runs.", labels=("version",))
        info.add_metric((self._version,), 1)
        yield info
        if self._jobs is not None:
            yield from _of_jobs(self._jobs)
        if self._fleet is not None:
            yield from _of_fleet(self._fleet)
        yield from _from_process(self._counted)
        yield from _from_rpc(self._counted)


def _of_jobs(held: JobGauges) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("qgjob_jobs", "Jobs that the store holds.", labels=("status", "target"))
    for status in Status:
        for target in Target:
            jobs.add_metric((status.value, target.value), max(0, held.jobs.get((status, target), 0)))
    yield jobs
    yield GaugeMetricFamily(
        "qgjob_oldest_queued_age_seconds", "Age of the oldest queued job.", value=held.oldest_queued_age_seconds
    )


def _of_fleet(held: FleetGauges) -> Iterator[Metric]:
    devices = GaugeMetricFamily("qgjob_devices", "Devices ever seen.", labels=("state", "health", "target"))
    for state in DeviceState:
        for health in DeviceHealth:
            for target in Target:
                labels = (state.value, health.value, target.value)
                devices.add_metric(labels, held.devices.get((state, health, target), 0))
    yield devices
    agents = GaugeMetricFamily("qgjob_agents", "Agents ever seen.", labels=("state",))
    for word in AgentState:
        agents.add_metric((word.value,), held.agents.get(word, 0))
    yield agents


def _from_process(t: Telemetry) -> Iterator[Metric]:
    yield _counter("qgjob_jobs_submitted", "Jobs accepted here.", ("target",), _keyed(t.submitted))
    yield _counter("qgjob_jobs_finished", "Verdicts given here.", ("outcome", "target"), t.finished)
    yield _counter("qgjob_attempts", "Attempts that ended here.", ("outcome",), _keyed(t.attempts))
    yield _counter("qgjob_installs", "Installations reported here.", ("outcome",), _keyed(t.installs))
    events = "Quarantines that failures led to: begun, made longer by a probe, ended."
    yield _counter("qgjob_device_quarantines", events, ("event",), _all_of(QUARANTINE_EVENTS, t.quarantines))
    yield _counter(
        "qgjob_device_probes", "Probes of quarantined devices.", ("health",), _all_of(PROBE_ANSWERS, t.probes)
    )
    moves = "Jobs that went to their second target, by that one."
    yield _counter("qgjob_overflows", moves, ("target",), _all_of([each.value for each in Target], t.overflows))
    lost = "Begun attempts that ended because their agent was not heard, or came back without them."
    yield CounterMetricFamily("qgjob_leases_lost", lost, t.leases_lost)
    faults = "Tries to serve an org whose data could not be used, by part of the coordinator."
    yield _counter("qgjob_org_faults", faults, ("part",), _all_of(ORG_PARTS, t.org_faults))
    yield _histogram("qgjob_job_queue_seconds", "From submission to the first claim.", (), {(): t.queue_seconds})
    yield _histogram("qgjob_job_run_seconds", "Run time of attempts.", (), {(): t.run_seconds})
    error = "How far estimated starts of waiting jobs were off, as a share of the wait; of a sample."
    yield _histogram("qgjob_start_estimate_error_ratio", error, (), {(): t.start_error})
    commands = _sum(t.store_seconds.values())
    yield _histogram("qgjob_redis_command_seconds", "Calls of the store.", (), {(): commands})
    yield GaugeMetricFamily("qgjob_event_loop_lag_seconds", "How late the latest event loop is.", t.loop_lag_seconds)
    processes = GaugeMetricFamily("qgjob_processes", "Processes on this port.", labels=("state",))
    for state, n in sorted(t.processes.items()):
        processes.add_metric((state,), n)
    yield processes
    yield _counter("qgjob_process_ends", "Processes of this port that ended.", ("how",), _keyed(t.process_ends))


def _from_rpc(t: Telemetry) -> Iterator[Metric]:
    yield _counter("grpc_server_started", "Calls begun.", RPC, t.rpc_started)
    yield _counter("grpc_server_handled", "Calls ended.", (*RPC, "grpc_code"), t.rpc_handled)
    yield _histogram("grpc_server_handling_seconds", "Time of calls.", RPC, t.rpc_seconds)


def _keyed(counts: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    return {(word,): n for word, n in counts.items()}


def _all_of(words: Iterable[str], counts: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    """Of a small closed set also those that are 0: what rises from nothing is seen to rise."""
    return {(word,): counts.get(word, 0) for word in words}


def _counter(name: str, text: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, n in sorted(counts.items()):
        family.add_metric(values, n)
    return family


def _histogram(
    name: str, text: str, labels: tuple[str, ...], histograms: Mapping[Any, Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, h in sorted(histograms.items()):
        bounds = [*map(str, h.bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(h.counts)), strict=True))
        family.add_metric(values, buckets, h.sum)
    return family


def _sum(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of all: the contract's metric has no label for the script."""
    total = Histogram(SECONDS)
    for h in list(histograms):
        total.add(h)
    return total
