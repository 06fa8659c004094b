"""Errors as gRPC codes: one table, with details that name the field."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from qgjob_coordinator.errors import (
    AgentSilentError,
    BlobsUnavailableError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    JobDamagedError,
    NotAuthenticatedError,
    NotFoundError,
    OrgDamagedError,
    ParentSilentError,
    PortTakenError,
    QgjobError,
    QuotaError,
    SchemaOlderError,
    SlowReaderError,
    StoreRightsError,
    StoreUnavailableError,
    TooLargeError,
)
from qgjob_coordinator.rpc.peer import told

DOMAIN = "qgjob"

CODES: dict[type[QgjobError], grpc.StatusCode] = {
    InvalidError: grpc.StatusCode.INVALID_ARGUMENT,
    NotAuthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.FAILED_PRECONDITION,
    TooLargeError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    QuotaError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    SlowReaderError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StoreUnavailableError: grpc.StatusCode.UNAVAILABLE,
    SchemaOlderError: grpc.StatusCode.UNAVAILABLE,
    StoreRightsError: grpc.StatusCode.UNAVAILABLE,
    BlobsUnavailableError: grpc.StatusCode.UNAVAILABLE,
    AgentSilentError: grpc.StatusCode.UNAVAILABLE,
    OrgDamagedError: grpc.StatusCode.INTERNAL,
    JobDamagedError: grpc.StatusCode.INTERNAL,
    ParentSilentError: grpc.StatusCode.UNAVAILABLE,
    ConfigError: grpc.StatusCode.INTERNAL,
    PortTakenError: grpc.StatusCode.INTERNAL,
}


def code_of(error: QgjobError) -> grpc.StatusCode:
    """The code of an error of the tree."""
    return CODES.get(type(error), grpc.StatusCode.INTERNAL)


def _details(error: QgjobError) -> list[AnyMessage]:
    info = AnyMessage()
    metadata = {name: value for name, value in (("field", error.field), ("away", error.away)) if value}
    info.Pack(error_details_pb2.ErrorInfo(reason=error.short.upper(), domain=DOMAIN, metadata=metadata))
    details = [info]
    if isinstance(error, InvalidError):
        bad = AnyMessage()
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.reason)
        bad.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        details.append(bad)
    if isinstance(error, QuotaError):
        retry = AnyMessage()
        message = error_details_pb2.RetryInfo()
        message.retry_delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        retry.Pack(message)
        details.append(retry)
    return details


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: QgjobError) -> NoReturn:
    """Ends a call with the error's code, message and details."""
    status = status_pb2.Status(code=code_of(error).value[0], message=error.message, details=_details(error))
    await told(context.abort_with_status(rpc_status.to_status(status)))


async def abort_plainly(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, message: str) -> NoReturn:
    """Ends a call with a code and a message."""
    await told(context.abort(code, message))
