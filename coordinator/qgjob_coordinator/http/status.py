"""Errors as HTTP sees them: one table from error to status, and the body that all of them share."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from starlette.responses import JSONResponse

from qgjob_coordinator.errors import (
    AgentSilentError,
    BlobsUnavailableError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    JobDamagedError,
    NotAuthenticatedError,
    NotFoundError,
    ParentSilentError,
    QgjobError,
    QuotaError,
    SchemaOlderError,
    StoreRightsError,
    StoreUnavailableError,
    TooLargeError,
)

INTERNAL = 500
STORE_RETRY_SECONDS = 1


class PathError(QgjobError):
    """There is nothing at the path. Unlike NotFoundError it has no field: nothing that the request names is missing."""

    short = "not_found"


class MethodError(QgjobError):
    """The path exists and does not know the method."""

    short = "method_not_allowed"


STATUS: dict[type[QgjobError], int] = {
    InvalidError: 400,
    NotAuthenticatedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    PathError: 404,
    MethodError: 405,
    ConflictError: 409,
    TooLargeError: 413,
    QuotaError: 429,
    JobDamagedError: INTERNAL,
    StoreUnavailableError: 503,
    SchemaOlderError: 503,
    StoreRightsError: 503,
    BlobsUnavailableError: 503,
    AgentSilentError: 503,
    ParentSilentError: 503,
}
"""What each error is in HTTP. An error that is not here is a fault of ours: INTERNAL."""


class ErrorResponse(JSONResponse):
    """JSON in pure ASCII: what is wrong with a request may hold text that no encoding can carry."""

    def render(self, content: object) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def status_of(error: QgjobError) -> int:
    """The status code of an error."""
    return STATUS.get(type(error), INTERNAL)


def error_body(short: str, message: str, field: str | None = None) -> dict[str, str]:
    """The contract's error body: `error`, `message`, and `field` where one is to blame."""
    body = {"error": short, "message": message}
    if field is not None:
        body["field"] = field
    return body


def error_response(error: QgjobError, headers: Mapping[str, str] | None = None) -> ErrorResponse:
    """The answer to a call that failed with `error`."""
    extra = dict(headers or {})
    if isinstance(error, QuotaError):
        extra["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    elif isinstance(error, StoreUnavailableError):
        extra["Retry-After"] = str(STORE_RETRY_SECONDS)
    return ErrorResponse(error_body(error.short, error.message, error.field), status_of(error), extra)
