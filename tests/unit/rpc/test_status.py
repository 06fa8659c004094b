"""How a call ends with an error, also when it is over before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import pytest

from qgjob_coordinator.errors import InvalidError
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
