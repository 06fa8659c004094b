"""A call that ends with a fault of ours: its caller is told so in the words of REST, and the log has the traceback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from structlog.testing import capture_logs

from qgjob_coordinator.errors import OURS
from qgjob_coordinator.rpc import interceptor, pushes
from qgjob_coordinator.telemetry import Telemetry
from qgjob_proto.v1 import agent_pb2, agent_pb2_grpc, jobs_pb2_grpc
from qgjob_proto.v1 import jobs_pb2 as pb

INSIDES = "not enough values to unpack"
Channel = grpc.aio.Channel


class Broken(jobs_pb2_grpc.JobServiceServicer, agent_pb2_grpc.AgentServiceServicer):
    """Fails in a call, in a stream after its first message, and in a session."""

    async def GetJob(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise ValueError(INSIDES)

    async def TailLogs(self, request: Any, context: Any) -> AsyncIterator[pb.TailLogsResponse]:  # noqa: N802
        yield pb.TailLogsResponse(attempt=1, data=b"x")
        raise ValueError(INSIDES)

    async def Connect(self, requests: Any, context: Any) -> None:  # noqa: N802
        async for request in requests:
            if request.WhichOneof("body") == "hello":
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "words of its own")
            raise ValueError(INSIDES)


async def get(channel: Channel) -> None:
    await jobs_pb2_grpc.JobServiceStub(channel).GetJob(pb.GetJobRequest())


async def tail(channel: Channel) -> None:
    async for message in jobs_pb2_grpc.JobServiceStub(channel).TailLogs(pb.TailLogsRequest()):
        assert message.data == b"x"


async def connect(channel: Channel, request: agent_pb2.ConnectRequest | None = None) -> None:
    call = agent_pb2_grpc.AgentServiceStub(channel).Connect()
    await call.write(request or agent_pb2.ConnectRequest())
    async for _ in call:
        raise AssertionError("there was an answer")


async def connect_and_be_aborted(channel: Channel) -> None:
    await connect(channel, agent_pb2.ConnectRequest(hello=agent_pb2.Hello()))


async def how_it_ends(
    call: Callable[[Channel], Awaitable[None]], telemetry: Telemetry
) -> tuple[grpc.aio.AioRpcError, list[Any]]:
    server = grpc.aio.server(interceptors=[interceptor.CallInterceptor(telemetry)])
    jobs_pb2_grpc.add_JobServiceServicer_to_server(Broken(), server)
    agent_pb2_grpc.add_AgentServiceServicer_to_server(Broken(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as error:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await call(channel)
    finally:
        await server.stop(None)
    return error.value, list(lines)


@pytest.mark.parametrize(("call", "method"), [(get, "GetJob"), (tail, "TailLogs"), (connect, "Connect")])
async def test_a_fault_of_ours_is_internal_and_tells_nothing_of_our_insides(
    call: Callable[[Channel], Awaitable[None]], method: str
) -> None:
    telemetry = Telemetry()
    error, lines = await how_it_ends(call, telemetry)
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, OURS)
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.reason == "INTERNAL"
    (line,) = [line for line in lines if line["event"] == "call_failed"]
    assert (line["log_level"], line["method"], str(line["exc_info"])) == ("error", method, INSIDES)
    assert [key[-1] for key in telemetry.rpc_handled] == ["INTERNAL"]


async def test_a_call_that_was_aborted_in_its_own_words_keeps_them() -> None:
    telemetry = Telemetry()
    error, lines = await how_it_ends(connect_and_be_aborted, telemetry)
    assert (error.code(), error.details()) == (grpc.StatusCode.DEADLINE_EXCEEDED, "words of its own")
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert [key[-1] for key in telemetry.rpc_handled] == ["DEADLINE_EXCEEDED"]


class Gone:
    """The context of a call whose peer goes while it is written to."""

    async def write(self, _message: Any) -> None:
        raise grpc.aio.InternalError("Failed to write")

    async def send_initial_metadata(self, _metadata: Any) -> None:
        raise grpc.aio.InternalError("Failed to send")

    async def abort_with_status(self, _status: Any) -> None:
        raise grpc.aio.InternalError("Failed to end")

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> None:
        return None


async def _writes(_requests: Any, context: Any) -> None:
    await context.write(agent_pb2.ConnectResponse())


async def _answers(_request: Any, _context: Any) -> AsyncIterator[pb.TailLogsResponse]:
    yield pb.TailLogsResponse(attempt=1, data=b"x")


async def _takes(requests: Any, context: Any) -> None:
    async for _ in pushes.Chunks(requests, context):
        raise AssertionError("there are no bytes")


async def _passes_over(requests: Any, context: Any) -> None:
    await pushes.Chunks(requests, context).pass_over()


@pytest.mark.parametrize(
    ("kind", "call"), [("_stream", _writes), ("_answers", _answers), ("_unary", _takes), ("_unary", _passes_over)]
)
async def test_a_call_whose_peer_goes_while_it_is_told_something_is_no_fault_of_ours(
    kind: str, call: Callable[[Any, Any], Any]
) -> None:
    telemetry = Telemetry()
    served = getattr(interceptor.CallInterceptor(telemetry), kind)(call, ("a kind", "AService", "AMethod"))
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError):
        await served(None, Gone())
    assert lines == []
    assert [key[-1] for key in telemetry.rpc_handled] == ["CANCELLED"]
