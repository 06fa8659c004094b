"""The HTTP application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from qgjob_coordinator.errors import QgjobError
from qgjob_coordinator.http import docs, health, jobs, metrics
from qgjob_coordinator.http.access import AccessLog, Faults
from qgjob_coordinator.http.described import describe
from qgjob_coordinator.http.faults import invalid_of
from qgjob_coordinator.http.guard import Cors, Guard
from qgjob_coordinator.http.head import Head
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.http.status import ErrorResponse, MethodError, PathError, error_body, error_response
from qgjob_coordinator.service.validation import shown

TITLE = "qgjob"
DESCRIPTION = (
    "Jobs, devices and groups of qgjob. The same calls, and more, are served over gRPC. "
    "Of an answer every field is there: what is unset or empty by its description is `null`."
)
NOT_FOUND, NOT_ALLOWED = 404, 405


class _App(FastAPI):
    """Its page says what each field means."""

    def openapi(self) -> dict[str, Any]:
        """The page, made once."""
        if self.openapi_schema is None:
            describe(super().openapi())
        return super().openapi()


def create_app(services: Services) -> FastAPI:
    """The application over `services`. Every answer that is no page or metric is JSON, errors too."""
    readiness = services.readiness

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await readiness.close()

    app = _App(
        title=TITLE,
        description=DESCRIPTION,
        version=services.version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        middleware=[
            Middleware(AccessLog),
            Middleware(Cors, origins=services.allowed_origins),
            Middleware(Faults),
            Middleware(Guard, origins=services.allowed_origins),
            Middleware(Head),
        ],
    )
    routers = (jobs.routes(services), health.routes(services, readiness), metrics.routes(services), docs.routes(TITLE))
    for router in routers:
        app.include_router(router)
    app.state.served = [route for router in routers for route in router.routes if isinstance(route, Route)]
    app.state.served += [route for route in app.routes if isinstance(route, Route)]  # the application's own page
    app.mount(docs.ASSETS, docs.assets())
    app.add_exception_handler(QgjobError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unrouted)
    return app


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, QgjobError)  # noqa: S101 - registered for it
    return error_response(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    return error_response(invalid_of(error.errors()))


async def _unrouted(request: Request, error: Exception) -> Response:
    """What the router itself refuses."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    path = shown(request.url.path)
    if error.status_code == NOT_FOUND:
        return error_response(PathError(f"there is nothing at {path}; /docs lists what there is"))
    if error.status_code == NOT_ALLOWED:
        known = {"allow": ", ".join(_methods(request))}
        return error_response(MethodError(f"{path} does not know {request.method}; see /docs"), known)
    return ErrorResponse(error_body("http", str(error.detail)), error.status_code, error.headers)


def _methods(request: Request) -> list[str]:
    """What the path is served with. Routes are one for each method; the router's own error knows the first one's.

    A fixed name is no job id: what is there for job ids does not work on it.
    """
    path = request.scope["path"]
    if path.startswith(f"{docs.ASSETS}/"):
        return ["GET", "HEAD"]
    served: list[Route] = request.app.state.served
    at_path = [route for route in served if route.matches(request.scope)[0] is not Match.NONE]
    named = [route for route in at_path if route.path == path]
    return sorted({method for route in named or at_path for method in route.methods or ()})
