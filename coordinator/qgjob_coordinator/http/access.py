"""What goes around every call: an id for its log lines and its answer, one debug line, and an answer in any case."""

from __future__ import annotations

import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qgjob_coordinator.errors import OURS, QgjobError
from qgjob_coordinator.http.status import INTERNAL, ErrorResponse, error_body
from qgjob_coordinator.service.request_id import REQUEST_ID, request_id

log = structlog.get_logger(__name__)


class AccessLog:
    """Says method, path, status and time; never a query or a body, which may hold what nobody should log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call_id = request_id(Headers(scope=scope).getlist(REQUEST_ID))
        begun = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = call_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=call_id):
            try:
                await self._app(scope, receive, watched)
            finally:
                ms = round((time.perf_counter() - begun) * 1000, 3)
                log.debug("http_request", method=scope["method"], path=scope["path"], status=status, ms=ms)


class Faults:
    """Answers a call that failed by a fault of ours: the caller learns nothing of our insides, the log everything.

    An answer that has begun is cut off instead.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            log.exception("http_failed", method=scope["method"], path=scope["path"], exc_info=error)
            if begun:
                raise
            broken = ErrorResponse(error_body(QgjobError.short, OURS), INTERNAL)
            await broken(scope, receive, send)
