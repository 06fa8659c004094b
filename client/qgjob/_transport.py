"""gRPC to one coordinator: the only place that opens a channel, and the table from status codes to errors."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from qgjob._errors import (
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
from qgjob._probe import speaks_http2
from qgjob_proto.v1 import artifacts_pb2, builds_pb2, fleet_pb2, jobs_pb2, suites_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

HEALTH_CHECK = "Check"
"""The one method outside of `qgjob.v1`; its request and answer are bytes."""

WANTS, BYTES = "qgjob-wants", "bytes"
"""Metadata by which a coordinator asks for what follows a header."""
BROKE_OFF = "Internal error from Core"
"""What gRPC says where a message could not be sent, whatever the reason."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024

# A peer that stopped is noticed after 15 s. The three times belong together, and with the least interval that the
# coordinator allows (see its server options); without the third, gRPC waits a minute for a ping's answer.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Repeating is decided in one place, _failover, which knows what may be repeated.
    ("grpc.enable_retries", 0),
)

ERRORS: dict[grpc.StatusCode, type[QgjobError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidError,
    grpc.StatusCode.UNAUTHENTICATED: NotAuthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: QuotaError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    # What a call gets that outlives the grace of a stopping coordinator.
    grpc.StatusCode.CANCELLED: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedError,
}
"""Every other code is a ProtocolError."""


class Transport(Protocol):
    """One coordinator. Requests and answers are messages of `qgjob_proto.v1`; what it raises is in `_errors`."""

    address: str

    async def connect(self, *, timeout_seconds: float) -> None:
        """Return when the coordinator has answered. Raises UnavailableError when it does not in time."""

    async def call(self, method: str, request: Any, *, timeout_seconds: float) -> Any:
        """The answer of a method with one answer, such as `GetJob`."""

    def stream(self, method: str, request: Any) -> AsyncGenerator[Any]:
        """The answers of a method with many. To end it early, close the iterator."""

    async def upload(self, method: str, header: Any, messages: AsyncIterator[Any], *, idle_seconds: float) -> Any:
        """The answer of a method that takes many requests: `header`, then `messages` if they are wanted.

        Each step may take so long, the answer too.
        """

    async def close(self) -> None:
        """Give the connection up, and with it what is under way."""


UPLOADS = ("PushBuild", "PushSuite")


@dataclass(frozen=True, slots=True)
class _Method:
    path: str
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _methods() -> dict[str, _Method]:
    methods = {HEALTH_CHECK: _Method("/grpc.health.v1.Health/Check", bytes, bytes)}
    files = (jobs_pb2, fleet_pb2, builds_pb2, artifacts_pb2, suites_pb2)
    for file in (each.DESCRIPTOR for each in files):
        for service in file.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                methods[method.name] = _Method(path, _serialize, GetMessageClass(method.output_type).FromString)
    return methods


METHODS = _methods()
STREAMS = ("WatchJobs", "TailLogs", "FetchBuild", "FetchSuite", "FetchArtifact")
"""Methods with many answers."""


class GrpcTransport:
    """A coordinator at `address` (host:port). The channel is opened by the first call, in that call's event loop."""

    def __init__(self, address: str, *, token: str | None = None) -> None:
        self.address = address
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._channel: grpc.aio.Channel | None = None
        self._callables: dict[str, Any] = {}
        self._closed = False
        self._answered = False

    async def connect(self, *, timeout_seconds: float) -> None:
        """A connection that died unheard counts as one until something is sent on it: so something is asked."""
        end = asyncio.get_running_loop().time() + timeout_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                if await self._connected(self._open()):
                    left = max(end - asyncio.get_running_loop().time(), 0.001)
                    await self.call(HEALTH_CHECK, b"", timeout_seconds=left)
                    return
        raise await self._no_one(_unreached(f"no coordinator answers at {self.address}"))

    async def _connected(self, channel: grpc.aio.Channel) -> bool:
        """False as soon as it failed; `channel_ready` would go on."""
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                return False
            await channel.wait_for_state_change(state)
        return True

    async def call(self, method: str, request: Any, *, timeout_seconds: float) -> Any:
        """Send `request`, return the answer."""
        call = self._callables.get(method) or self._callable(method)
        try:
            answer = await call(request, timeout=timeout_seconds, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            found = await self._error(error, method)
            raise found from _cause(error, found)
        self._answered = True
        return answer

    async def stream(self, method: str, request: Any) -> AsyncGenerator[Any]:
        """Send `request`, yield the answers."""
        call = (self._callables.get(method) or self._callable(method))(request, metadata=self._metadata)
        try:
            async for answer in call:
                self._answered = True
                yield answer
        except grpc.aio.AioRpcError as error:
            found = await self._error(error, method)
            raise found from _cause(error, found)
        finally:
            # grpc.aio never cancels an abandoned call.
            call.cancel()

    async def upload(self, method: str, header: Any, messages: AsyncIterator[Any], *, idle_seconds: float) -> Any:
        """Send `header`, then `messages` once the coordinator asks for them, return the answer."""
        call = (self._callables.get(method) or self._callable(method))(metadata=self._metadata)
        try:
            async with asyncio.timeout(idle_seconds) as limit:
                await self._send(call, header, messages, limit, idle_seconds)
                answer = await call
        except TimeoutError:
            raise DeadlineError(f"{method} at {self.address} got no further for {idle_seconds:g} s") from None
        except grpc.aio.AioRpcError as error:
            found = await self._error(error, method)
            raise found from _cause(error, found)
        finally:
            call.cancel()
        self._answered = True
        return answer

    async def _send(
        self, call: Any, header: Any, messages: AsyncIterator[Any], limit: asyncio.Timeout, idle_seconds: float
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            await call.write(header)
            if dict(await call.initial_metadata() or ()).get(WANTS) == BYTES:
                async for message in messages:
                    await call.write(message)
                    limit.reschedule(loop.time() + idle_seconds)
            await call.done_writing()
        except asyncio.InvalidStateError:
            return  # it is answered by now: the answer says what there is to say
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INTERNAL and error.details() == BROKE_OFF:
                raise UnavailableError(f"the connection to {self.address} broke while bytes were sent") from None
            raise

    async def _error(self, error: grpc.aio.AioRpcError, method: str) -> QgjobError:
        found = to_error(error, method, self.address)
        return await self._no_one(found) if type(found) is UnavailableError else found

    async def _no_one(self, error: UnavailableError) -> UnavailableError:
        """The error of a peer that is not there; where none ever was, with what is to be said of a wrong port."""
        if self._answered or await speaks_http2(self.address) is not False:
            return error
        wrong = UnavailableError(
            f"no coordinator answers at {self.address}: what listens there does not speak gRPC; name the coordinator's "
            "gRPC port (50051 by default; 3000 is that of REST)"
        )
        wrong.wrong_peer = wrong.unsent = True  # nothing of it was understood
        return wrong

    async def close(self) -> None:
        """Close the channel, for good."""
        self._closed = True
        channel, self._channel = self._channel, None
        self._callables.clear()
        if channel is not None:
            await channel.close()

    def _open(self) -> grpc.aio.Channel:
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        return self._channel

    def _callable(self, name: str) -> Any:
        method = METHODS[name]
        channel = self._open()
        make: Any = channel.unary_stream if name in STREAMS else channel.unary_unary
        if name in UPLOADS:
            make = channel.stream_unary
        call = make(method.path, request_serializer=method.write, response_deserializer=method.read)
        self._callables[name] = call
        return call


# --- errors -----------------------------------------------------------------------------------------------------------


def _cause(raised: grpc.aio.AioRpcError, found: QgjobError) -> grpc.aio.AioRpcError | None:
    """What a traceback shows before the error: gRPC's own only where the error may not say all that there is to it."""
    return raised if type(found) is ProtocolError else None


@dataclass(frozen=True, slots=True)
class _Details:
    """What google.rpc says beside code and message."""

    field: str | None = None
    reason: str = ""
    away: str | None = None
    retry_after_seconds: float | None = None


def to_error(error: grpc.aio.AioRpcError, method: str, address: str) -> QgjobError:
    """The error of the tree for what gRPC raised."""
    code = error.code()
    details = _read_details(error)
    message = error.details() or code.name
    kind = ERRORS.get(code, ProtocolError)
    if kind is InvalidError and details.field and details.field not in message:
        message = f"{details.field}: {message}"  # other errors are of a thing, which their message names
    if kind is QuotaError:
        if details.reason.lower() == "too_large" or _TOO_LARGE.search(message):
            return TooLargeError(message, field=details.field)
        return QuotaError(message, field=details.field, retry_after_seconds=details.retry_after_seconds)
    if kind is DeadlineError:
        return DeadlineError(f"{method} at {address} was not answered in time")
    if kind is UnavailableError and not details.reason:
        # From gRPC itself and not from the coordinator: that peer is not there.
        away = _unreached(f"no coordinator answers at {address}: {_why(message, address)}")
        away.unsent = _UNSENT.search(message) is not None
        return away
    if kind is UnavailableError:
        unavailable = UnavailableError(message, field=details.field)
        unavailable.away = details.away
        return unavailable
    if kind is UnsupportedError:
        message = f"the coordinator at {address} does not know {method}: it is older than this client; update it"
    if kind is ProtocolError:
        message = f"{method} at {address} failed ({code.name.lower()}): {message}"
    return kind(message, field=details.field)


def _unreached(message: str) -> UnavailableError:
    error = UnavailableError(message)
    error.unreached = True
    return error


def _why(message: str, address: str) -> str:
    """What happened, without what gRPC tells of its own tries."""
    if _UNRESOLVED.search(message):
        return f"the name {address.rpartition(':')[0]} does not resolve ({message.rpartition(': ')[2].rstrip(']')})"
    return _SHORTEN.sub("", message)


_TOO_LARGE = re.compile(r"larger than max")
_UNSENT = re.compile(r"^failed to connect to all addresses|errors resolving|resolution failed|lookup failed")
_UNRESOLVED = re.compile(r"errors resolving|resolution failed|lookup failed")
# gRPC's text repeats the address and tells of its own tries; what follows these words is what happened.
_SHORTEN = re.compile(r"^.*(?:remote host: |error: )", re.DOTALL)


def _read_details(error: grpc.aio.AioRpcError) -> _Details:
    metadata = error.trailing_metadata() or ()
    raw = next((value for key, value in metadata if key == "grpc-status-details-bin"), None)
    if raw is None:
        return _Details()
    try:
        status = status_pb2.Status.FromString(cast("bytes", raw))
        return _unpack(status)
    except DecodeError:
        return _Details()


def _unpack(status: status_pb2.Status) -> _Details:
    field, reason, away, retry_after = None, "", None, None
    bad, info, retry = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field or None
        elif detail.Unpack(info):
            reason = info.reason
            field = field or info.metadata.get("field") or None
            away = info.metadata.get("away") or None
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return _Details(field, reason, away, retry_after)
