"""One table from gRPC codes to errors; each names the field and says what to do."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2
from pydantic import TypeAdapter, ValidationError

import qgjob
from qgjob import (
    AsyncClient,
    ConfigError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InvalidError,
    NotAuthenticatedError,
    NotFoundError,
    ProtocolError,
    QgjobError,
    QuotaError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from qgjob._failover import parse_addresses
from qgjob._probe import speaks_http2
from qgjob._transport import to_error
from qgjob_coordinator.http.faults import invalid_of
from qgjob_coordinator.http.schemas import Target
from tests.fakes.coordinator_services import FakeCoordinator, Fault

CODES = [
    (grpc.StatusCode.INVALID_ARGUMENT, InvalidError),
    (grpc.StatusCode.OUT_OF_RANGE, InvalidError),
    (grpc.StatusCode.UNAUTHENTICATED, NotAuthenticatedError),
    (grpc.StatusCode.PERMISSION_DENIED, ForbiddenError),
    (grpc.StatusCode.NOT_FOUND, NotFoundError),
    (grpc.StatusCode.FAILED_PRECONDITION, ConflictError),
    (grpc.StatusCode.ALREADY_EXISTS, ConflictError),
    (grpc.StatusCode.ABORTED, ConflictError),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, QuotaError),
    (grpc.StatusCode.UNAVAILABLE, UnavailableError),
    (grpc.StatusCode.CANCELLED, UnavailableError),
    (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
    (grpc.StatusCode.INTERNAL, ProtocolError),
    (grpc.StatusCode.UNIMPLEMENTED, UnsupportedError),
    (grpc.StatusCode.UNKNOWN, ProtocolError),
]


def raised(code: grpc.StatusCode, message: str, *details: object) -> QgjobError:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)  # type: ignore[arg-type]
        status.details.append(packed)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=message)
    return to_error(error, "GetJob", "host:1")


def info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain="qgjob", metadata=metadata)


@pytest.mark.parametrize(("code", "kind"), CODES)
def test_each_code_has_its_error(code: grpc.StatusCode, kind: type[QgjobError]) -> None:
    assert type(raised(code, "why", info("X"))) is kind


def test_the_field_comes_from_bad_request_or_error_info_and_is_named_in_the_message() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="test_path", description="no `..`")
    by_request = raised(
        grpc.StatusCode.INVALID_ARGUMENT, "no `..`", error_details_pb2.BadRequest(field_violations=[violation])
    )
    assert (by_request.field, by_request.message) == ("test_path", "test_path: no `..`")

    by_info = raised(grpc.StatusCode.NOT_FOUND, "job_id: no such job", info("NOT_FOUND", field="job_id"))
    assert (by_info.field, by_info.message) == ("job_id", "job_id: no such job")
    assert by_info.to_dict() == {"error": "not_found", "message": "job_id: no such job", "field": "job_id"}


def test_a_quota_says_when_to_come_back() -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(2500)
    error = raised(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", info("QUOTA"), retry)
    assert isinstance(error, QuotaError)
    assert error.retry_after_seconds == 2.5


@pytest.mark.parametrize(
    ("message", "details"),
    [("over 1 MB", [info("TOO_LARGE")]), ("Received message larger than max (9 vs. 4)", [])],
)
def test_a_message_that_is_too_large_is_no_quota(message: str, details: list[object]) -> None:
    assert type(raised(grpc.StatusCode.RESOURCE_EXHAUSTED, message, *details)) is TooLargeError


def test_a_store_that_is_away_is_told_in_the_coordinators_words() -> None:
    error = raised(grpc.StatusCode.UNAVAILABLE, "the store is away; try again", info("UNAVAILABLE"))
    assert error.message == "the store is away; try again"
    assert isinstance(error, UnavailableError)
    assert not error.unreached


@pytest.mark.parametrize(
    ("message", "away", "advice"),
    [
        ("no answer came in time", "store", "; `qgjob doctor` says more"),
        ("the store", "agent", ""),
        ("the store", None, ""),
    ],
)
def test_what_a_coordinator_could_not_ask_is_told_by_a_field_and_not_by_its_words(
    message: str, away: str | None, advice: str
) -> None:
    details = info("UNAVAILABLE") if away is None else info("UNAVAILABLE", away=away)
    error = raised(grpc.StatusCode.UNAVAILABLE, message, details)
    assert isinstance(error, UnavailableError)
    assert (error.away, error.advice, str(error)) == (away, advice, message + advice)


def test_details_that_are_garbage_do_not_hide_the_error() -> None:
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    error = grpc.aio.AioRpcError(grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), trailers, details="gone")
    assert type(to_error(error, "GetJob", "host:1")) is NotFoundError


async def test_over_the_wire_with_the_field_of_the_request(fake: FakeCoordinator, client: AsyncClient) -> None:
    with pytest.raises(InvalidError) as caught:
        await client.submit_many([qgjob.JobSpec("acme", "v1", "ok"), qgjob.JobSpec("acme", "v1", "../x")])
    assert caught.value.field == "jobs[1].test_path"
    assert fake.jobs == {}


@pytest.mark.parametrize(("code", "shows_grpc"), [(grpc.StatusCode.NOT_FOUND, False), (grpc.StatusCode.INTERNAL, True)])
async def test_a_traceback_shows_what_grpc_said_only_where_the_error_may_not_say_all(
    fake: FakeCoordinator, client: AsyncClient, code: grpc.StatusCode, shows_grpc: bool
) -> None:
    fake.faults.append(Fault("GetJob", code))
    with pytest.raises(QgjobError) as caught:
        await client.get("acme~1")
    assert ("AioRpcError" in "".join(traceback.format_exception(caught.value))) is shows_grpc


async def test_a_coordinator_that_is_not_there_is_named() -> None:
    async with AsyncClient("127.0.0.1:1", timeout_seconds=0.3) as client:
        with pytest.raises(UnavailableError, match=r"no coordinator answers at 127\.0\.0\.1:1: .*refused"):
            await client.get("acme~1")


async def test_who_calls_the_library_is_told_what_to_do_and_shown_no_machinery() -> None:
    async with AsyncClient("127.0.0.1:1", timeout_seconds=0.3) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.get("acme~1")
    error = caught.value
    for way in ("`qgjob up`", "QGJOB_COORDINATOR", "`qgjob doctor`"):
        assert way in str(error)
        assert way not in error.message
    shown = "".join(traceback.format_exception(error))
    assert "tenacity" not in shown
    assert shown.count("Traceback") == 1
    assert shown.count("UnavailableError") <= 3


async def test_an_unknown_word_is_told_as_rest_tells_it(client: AsyncClient) -> None:
    with pytest.raises(InvalidError) as caught:
        await client.submit(qgjob.JobSpec("acme", "v1", "a.js", target="emu"))  # type: ignore[arg-type]
    told = "target: 'emu' is unknown; use one of emulator, device, browserstack"
    assert caught.value.message == told
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(Target).validate_python("emu")
    (error,) = refused.value.errors()
    assert invalid_of([{**error, "loc": ("body", "target")}]).message == told


GRPC_SAYS = {
    "refused": (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.5:1: Failed to connect to remote host: "
        "Connection refused"
    ),
    "no name": (
        "errors resolving host:1: [field:hostname lookup error:address lookup failed for host:1: Domain name not found]"
    ),
    "no resolver": (
        "DNS resolution failed for host:1: C-ares status is not ARES_SUCCESS qtype=A name=host is_balancer=0: "
        "Timeout while contacting DNS servers"
    ),
}


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("refused", "Connection refused"),
        ("no name", "the name host does not resolve (Domain name not found)"),
        ("no resolver", "the name host does not resolve (Timeout while contacting DNS servers)"),
    ],
)
def test_what_grpc_says_of_its_own_tries_is_told_in_plain_words(says: str, why: str) -> None:
    error = raised(grpc.StatusCode.UNAVAILABLE, GRPC_SAYS[says])
    assert error.message == f"no coordinator answers at host:1: {why}"
    assert isinstance(error, UnavailableError)
    assert error.unreached


async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a server of REST says to gRPC."""
    await reader.read(1000)
    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get("acme~1"),
        lambda client: anext(client.watch("acme")),
        lambda client: anext(client.logs("acme~1")),
    ],
    ids=["get", "watch", "logs"],
)
async def test_a_port_that_does_not_speak_grpc_is_told_at_once_from_one_where_no_one_answers(
    ask: Callable[[AsyncClient], Awaitable[object]],
) -> None:
    server = await asyncio.start_server(http1, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    told: list[UnavailableError] = []
    async with server, AsyncClient(f"localhost:{port}", timeout_seconds=3600, on_trouble=told.append) as client:
        with pytest.raises(UnavailableError) as caught:
            await asyncio.wait_for(ask(client), 60)
    assert told == []
    assert caught.value.message == (
        f"no coordinator answers at localhost:{port}: what listens there does not speak gRPC; name the coordinator's "
        "gRPC port (50051 by default; 3000 is that of REST)"
    )


async def test_what_the_probe_of_a_peer_says(fake: FakeCoordinator) -> None:
    assert await speaks_http2(fake.address) is True
    assert await speaks_http2("127.0.0.1:1") is None
    for says, found in ((b"", None), (b"SSH-2.0-OpenSSH_9.2\r\n", False), (b"-ERR\r\n", False)):

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, says: bytes = says) -> None:
            await reader.read(1000)
            writer.write(says)
            writer.close()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            assert await speaks_http2(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") is found


async def test_an_error_is_not_repeated_unless_it_is_an_outage(fake: FakeCoordinator, client: AsyncClient) -> None:
    for code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INTERNAL):
        fake.faults.append(Fault("GetJob", code))
        with pytest.raises(QgjobError):
            await client.get("acme~1")
    assert fake.calls["GetJob"] == 3


@pytest.mark.parametrize("text", ["", ",", "host:0", "host:x", "host:70000", "http://host:3000", ":50051"])
def test_an_address_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="coordinator"):
        parse_addresses(text)


def test_addresses() -> None:
    assert parse_addresses("a:1, b ,[::1]:5,[::1]") == ("a:1", "b:50051", "[::1]:5", "[::1]:50051")


def test_the_tree_is_drawn_in_one_docstring() -> None:
    import qgjob._errors as errors  # noqa: PLC0415

    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, QgjobError)]
    assert len(kinds) == 14
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")
        assert getattr(qgjob, kind.__name__) is kind
