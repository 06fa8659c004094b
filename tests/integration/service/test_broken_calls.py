"""A call that ends with a fault of ours: its caller is told so in the words of REST, and the log has the traceback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from structlog.testing import capture_logs

from qgjob_coordinator.errors import OURS
from qgjob_coordinator.rpc import interceptor
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


async def test_a_session_whose_peer_goes_while_it_is_written_to_is_no_fault_of_ours() -> None:
    async def writes(_requests: Any, _context: Any) -> None:
        raise grpc.aio.InternalError("Failed to write")

    telemetry = Telemetry()
    session = interceptor.CallInterceptor(telemetry)._stream(writes, ("bidi_stream", "AgentService", "Connect"))
    with capture_logs() as lines:
        await session(None, None)
    assert lines == []
    assert [key[-1] for key in telemetry.rpc_handled] == ["CANCELLED"]
