"""How a call ends with an error, also when it is over before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from qgjob_coordinator.errors import (
    AgentSilentError,
    InvalidError,
    NotFoundError,
    ParentSilentError,
    QgjobError,
    SchemaOlderError,
    StoreUnavailableError,
)
from qgjob_coordinator.rpc.status import abort, abort_plainly


class CallThatIsOver:
    """What gRPC does when the caller's time was over first."""

    async def abort(self, *_: object) -> None:
        raise grpc.aio.InternalError("execute_batch failed")

    abort_with_status = abort


@pytest.mark.parametrize(
    "end",
    [
        lambda context: abort(context, InvalidError("org_id", "is empty")),
        lambda context: abort_plainly(context, grpc.StatusCode.DEADLINE_EXCEEDED, "took too long"),
    ],
)
async def test_a_call_that_is_over_can_be_told_nothing_and_is_no_fault(end: Callable[[Any], Awaitable[Any]]) -> None:
    """gRPC logs a traceback of all but a cancel and its own error of the abort, as if the service had failed."""
    with pytest.raises(asyncio.CancelledError, match="over before"):
        await end(cast("Any", CallThatIsOver()))


class AbortedError(Exception):
    """What a call is ended with."""


class OpenCall:
    """Ends as gRPC lets it end."""

    async def abort_with_status(self, status: Any) -> None:
        raise AbortedError(dict(status.trailing_metadata)["grpc-status-details-bin"])


@pytest.mark.parametrize(
    ("error", "metadata"),
    [
        (StoreUnavailableError("later"), {"away": "store"}),
        (SchemaOlderError("4"), {"away": "store"}),
        (AgentSilentError("later"), {"away": "agent"}),
        (ParentSilentError("later"), {"away": "parent"}),
        (NotFoundError("no job", field="job_id"), {"field": "job_id"}),
    ],
)
async def test_an_error_names_in_its_details_what_is_to_blame(error: QgjobError, metadata: dict[str, str]) -> None:
    with pytest.raises(AbortedError) as ended:
        await abort(cast("Any", OpenCall()), error)
    (detail,) = status_pb2.Status.FromString(ended.value.args[0]).details
    info = error_details_pb2.ErrorInfo()
    assert detail.Unpack(info)
    assert (info.reason, dict(info.metadata)) == (error.short.upper(), metadata)
