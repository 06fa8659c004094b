"""The four probes."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse

from qgjob_coordinator.errors import ParentSilentError, StoreUnavailableError
from qgjob_coordinator.http import health_shapes, render, times
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.http.status import error_body
from qgjob_coordinator.http.strict import StrictRoute
from qgjob_coordinator.model.fleet import Stats
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.service.shared import Shared
from qgjob_coordinator.service.views.readiness import Readiness, StoreView, Verdict

OK, NOT_READY = 200, 503


def routes(services: Services, readiness: Readiness) -> APIRouter:
    """The routes; uptime counts from this call."""
    router = APIRouter(prefix="/health", route_class=StrictRoute, tags=["health"])
    begun = time.monotonic()
    counts = Shared(lambda: services.overview.stats(LOCAL_ADMIN, None), "stats")

    def head(verdict: Verdict) -> dict[str, Any]:
        return {
            "status": "healthy" if verdict.ready else "unhealthy",
            "timestamp": times.text(wall_ms()),
            "version": services.version,
        }

    @router.get(
        "",
        response_model=None,
        responses={OK: {"model": health_shapes.HealthShape}, NOT_READY: {"model": health_shapes.UnhealthyShape}},
        summary="In short",
    )
    async def health() -> JSONResponse:
        """200 as long as the coordinator can serve."""
        verdict = await readiness.look()
        return _answer(verdict, head(verdict))

    @router.get(
        "/detailed",
        response_model=None,
        responses={OK: {"model": health_shapes.DetailedHealthShape}},
        summary="Every part",
    )
    async def health_detailed() -> JSONResponse:
        """Always 200: it is for people who look for what is wrong."""
        verdict = await readiness.look()
        diagnosis = await services.doctor.diagnose(LOCAL_ADMIN)
        content = {
            **head(verdict),
            "uptime_seconds": round(time.monotonic() - begun, 3),
            "reasons": list(verdict.reasons),
            "store": _store(verdict.store),
            **await _stats(counts, verdict.store),
            "level": diagnosis.level.value,
            "findings": [render.finding(f) for f in diagnosis.findings],
        }
        return JSONResponse(content)

    _probes(router, readiness)
    return router


def _probes(router: APIRouter, readiness: Readiness) -> None:
    @router.get(
        "/ready",
        response_model=None,
        responses={OK: {"model": health_shapes.ReadyShape}, NOT_READY: {"model": health_shapes.NotReadyShape}},
        summary="For load balancers",
    )
    async def health_ready() -> JSONResponse:
        """200 when the store takes writes and the coordinator is not stopping."""
        verdict = await readiness.look()
        content: dict[str, Any] = {
            "status": "ready" if verdict.ready else "not_ready",
            "timestamp": times.text(wall_ms()),
            "reasons": list(verdict.reasons),
        }
        return _answer(verdict, content)

    @router.get(
        "/live", response_model=None, responses={OK: {"model": health_shapes.LiveShape}}, summary="For restarts"
    )
    async def health_live() -> JSONResponse:
        """200 while the process turns, whatever the store does."""
        return JSONResponse({"status": "alive", "timestamp": times.text(wall_ms())})


def _answer(verdict: Verdict, content: dict[str, Any]) -> JSONResponse:
    """The content; with the error body beside it, and 503, when there is a reason against it."""
    if verdict.ready:
        return JSONResponse(content)
    return JSONResponse({**content, **error_body("unavailable", "; ".join(verdict.reasons))}, NOT_READY)


def _store(view: StoreView) -> dict[str, Any]:
    return {
        "status": "down" if view.fault else "up",
        "message": view.told,
        "version": view.version,
        "latency_ms": view.latency_ms,
    }


async def _stats(counts: Shared[Stats], store: StoreView) -> dict[str, Any]:
    """Queue and scheduler; null when the store is away, also when it went away this moment, or the parent is silent."""
    if store.fault is None:
        try:
            stats = await counts.get(0)
        except (StoreUnavailableError, ParentSilentError):
            return {"queue": None, "scheduler": None}
        return {"queue": render.queue(stats.queue), "scheduler": render.scheduler(stats.scheduler)}
    return {"queue": None, "scheduler": None}
