"""What every call goes through: errors become codes, calls are counted and timed, their ids are bound to the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import grpc
import structlog
from google.protobuf.message import DecodeError

from qgjob_coordinator.errors import OURS, InvalidError, QgjobError, SlowReaderError, TooLargeError
from qgjob_coordinator.rpc.peer import told
from qgjob_coordinator.rpc.status import abort, abort_plainly, code_of
from qgjob_coordinator.rpc.unknown import has_unknown, unknown_fields
from qgjob_coordinator.service.request_id import REQUEST_ID, request_id
from qgjob_coordinator.telemetry import Histogram, Telemetry

MAX_REQUEST_BYTES = 1024 * 1024
"""Size of one request; messages of streams may be larger, see the server."""

WRITE_SECONDS = 60.0
"""A stream whose caller takes nothing for so long is cut: else it would hold what it has for ever."""

log = structlog.get_logger(__name__)
_OURS = QgjobError(OURS)
Context = grpc.aio.ServicerContext[Any, Any]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our own services; health and reflection go through as they are."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._wrapped: dict[str, Any] = {}
        self._streams: set[asyncio.Task[Any]] = set()
        self._cut = False

    def cut_streams(self) -> None:
        """Ends watches and logs that are followed: they have no end of their own, and their callers go on elsewhere."""
        self._cut = True
        for task in self._streams:
            task.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The handler of a method, wrapped once."""
        name = handler_call_details.method
        handler = self._wrapped.get(name)
        if handler is None:
            handler = await continuation(handler_call_details)
            if handler is None or not name.startswith("/qgjob."):
                return handler
            handler = self._wrapped[name] = self._wrap(handler, name)
        return handler

    def _wrap(self, handler: Any, name: str) -> Any:
        _, service, method = name.split("/")
        bidi = handler.request_streaming and handler.response_streaming
        kind = "bidi_stream" if bidi else "client_stream" if handler.request_streaming else "unary"
        read = handler.request_deserializer if bidi else _checked(handler.request_deserializer)
        if handler.request_streaming and not bidi:
            inner = self._unary(handler.stream_unary, (kind, service, method))
            make = grpc.stream_unary_rpc_method_handler
        elif bidi:
            inner = self._stream(handler.stream_stream, (kind, service, method))
            make = grpc.stream_stream_rpc_method_handler
        elif handler.response_streaming:
            inner = self._answers(handler.unary_stream, ("server_stream", service, method))
            make = grpc.unary_stream_rpc_method_handler
        else:
            inner = self._unary(handler.unary_unary, (kind, service, method))
            make = grpc.unary_unary_rpc_method_handler
        return make(
            inner,
            request_deserializer=read,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, call: Callable[[Any, Context], Awaitable[Any]], key: tuple[str, str, str]) -> Any:
        async def unary(request: Any, context: Context) -> Any:
            watch = _Call(self._telemetry, key)
            structlog.contextvars.bind_contextvars(request_id=_request_id(context))
            try:
                async with asyncio.timeout(context.time_remaining()):
                    return await call(_readable(request), context)
            except QgjobError as e:
                watch.code = code_of(e).name
                await _fail(context, e, key)
            except TimeoutError:
                watch.code = "DEADLINE_EXCEEDED"
                message = f"{key[2]} took longer than the caller allowed"
                await abort_plainly(context, grpc.StatusCode.DEADLINE_EXCEEDED, message)
            except asyncio.CancelledError:
                watch.code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                watch.code = _ended_with(context)
                raise
            except Exception as e:  # noqa: BLE001 - `_broke` logs it
                watch.code = code_of(_OURS).name
                await _broke(context, e, key)
            finally:
                watch.end()

        return unary

    def _answers(self, call: Callable[[Any, Context], AsyncIterator[Any]], key: tuple[str, str, str]) -> Any:
        async def answers(request: Any, context: Context) -> None:
            watch = _Call(self._telemetry, key)
            structlog.contextvars.bind_contextvars(request_id=_request_id(context))
            task = cast("asyncio.Task[Any]", asyncio.current_task())
            self._streams.add(task)
            try:
                messages = cast("AsyncGenerator[Any]", call(_readable(request), context))
                async with aclosing(messages):  # what it holds is free before the caller is told, who may never read
                    await told(_write(messages, context))
            except QgjobError as e:
                watch.code = code_of(e).name
                await _fail(context, e, key)
            except (asyncio.CancelledError, GeneratorExit) as e:
                watch.code = "CANCELLED"
                if not self._cut or isinstance(e, GeneratorExit):
                    raise
                watch.code = "UNAVAILABLE"
                await abort_plainly(context, grpc.StatusCode.UNAVAILABLE, "the coordinator stops; ask again")
            except grpc.aio.AbortError:
                watch.code = _ended_with(context)
                raise
            except Exception as e:  # noqa: BLE001 - `_broke` logs it
                watch.code = code_of(_OURS).name
                await _broke(context, e, key)
            finally:
                self._streams.discard(task)
                watch.end()

        return answers

    def _stream(self, call: Callable[[Any, Context], Awaitable[None]], key: tuple[str, str, str]) -> Any:
        async def stream(requests: Any, context: Context) -> None:
            watch = _Call(self._telemetry, key)
            try:
                await told(call(requests, context))
            except QgjobError as e:
                watch.code = code_of(e).name
                await _fail(context, e, key)
            except DecodeError:
                malformed = _malformed()
                watch.code = code_of(malformed).name
                await _fail(context, malformed, key)
            except (asyncio.CancelledError, GeneratorExit):
                watch.code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                watch.code = _ended_with(context)
                raise
            except Exception as e:  # noqa: BLE001 - `_broke` logs it
                watch.code = code_of(_OURS).name
                await _broke(context, e, key)
            finally:
                watch.end()

        return stream


BODY = "body"
"""As REST calls the whole of a request."""


@dataclass(frozen=True, slots=True)
class _Unread:
    """Stands for a request that can't be read: a deserializer can't refuse with a message of its own."""

    error: QgjobError


def _checked(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        if len(data) > MAX_REQUEST_BYTES:
            message = f"the request has {len(data)} bytes and may have {MAX_REQUEST_BYTES}; send less at once"
            return _Unread(TooLargeError(message, field=BODY))
        try:
            request = deserialize(data)
            # Streams of agents are read without this: each side may be a version ahead.
            return _Unread(next(unknown_fields(deserialize(data)))) if has_unknown(request) else request
        except DecodeError:
            return _Unread(_malformed())

    return read


def _malformed() -> InvalidError:
    return InvalidError(BODY, "is not a message of this method: the bytes are cut, or a text is not UTF-8")


def _readable(request: Any) -> Any:
    """The request. Raises TooLargeError for one over the limit, InvalidError for bytes that are no message of it.

    Of a stream of requests each does so when it comes.
    """
    if type(request) is _Unread:
        raise request.error
    return _each_readable(request) if isinstance(request, AsyncIterator) else request


async def _each_readable(requests: AsyncIterator[Any]) -> AsyncGenerator[Any]:
    async for request in requests:
        yield _readable(request)


class _Call:
    """One call, counted and timed."""

    __slots__ = ("_begun", "_key", "_telemetry", "code")

    def __init__(self, telemetry: Telemetry, key: tuple[str, str, str]) -> None:
        self._telemetry = telemetry
        self._key = key
        self.code = "OK"
        self._begun = time.perf_counter()
        telemetry.rpc_started[key] += 1

    def end(self) -> None:
        """The call is over."""
        self._telemetry.rpc_handled[*self._key, self.code] += 1
        histogram = self._telemetry.rpc_seconds.get(self._key)
        if histogram is None:
            histogram = self._telemetry.rpc_seconds[self._key] = Histogram()
        histogram.observe(time.perf_counter() - self._begun)


async def _write(messages: AsyncIterator[Any], context: Context) -> None:
    """Sends all. Raises SlowReaderError, which says from where to go on, when one is not taken in time."""
    last: Any = None
    async for message in messages:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await context.write(message)
        except TimeoutError:
            begun = f"the stream was cut: its reader took nothing for {WRITE_SECONDS:g} s"
            raise SlowReaderError(f"{begun}; go on {_place(last)}") from None
        last = message


def _place(last: Any) -> str:
    if getattr(last, "cursor", ""):
        return f"after cursor {last.cursor}"
    if hasattr(last, "chunk"):
        return f"from offset {last.offset + len(last.chunk)}"
    if hasattr(last, "offset"):
        return f"from offset {last.offset + len(last.data)} of attempt {last.attempt}"
    return "from the start"


async def _fail(context: Context, error: QgjobError, key: tuple[str, str, str]) -> None:
    """Ends the call with the error; never returns normally."""
    log.info("call_refused", method=key[2], error=error.short, message=error.message)
    await abort(context, error)


def _ended_with(context: Context) -> str:
    """The code of a call that its own handler has ended."""
    ended: Any = context.code()
    return next(code.name for code in grpc.StatusCode if ended in (code, code.value[0]))


async def _broke(context: Context, error: Exception, key: tuple[str, str, str]) -> None:
    """Ends a call that met a fault of ours: the caller learns nothing of our insides, the log everything."""
    log.error("call_failed", method=key[2], exc_info=error)
    await abort(context, _OURS)


def _request_id(context: Context) -> str:
    metadata = context.invocation_metadata() or ()
    return request_id(value for name, value in metadata if name == REQUEST_ID and isinstance(value, str))
