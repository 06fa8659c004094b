"""The stream to a coordinator: connected, kept, lost, connected again. The only place of gRPC in the agent.

Keepalive finds a peer that stopped within 15 s; all three numbers are needed for that (without the ping timeout it
takes 70 s, and more frequent pings make the server end the stream). Calls are cancelled, awaited and closed in this
order: grpc.aio leaks or hangs on what is merely abandoned.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import Event, HeartbeatConfirmed, SessionConnecting, SessionLost, Welcomed
from qgjob_agent.core.instructions import SendHeartbeat, SendReports
from qgjob_agent.errors import RefusedError
from qgjob_agent.stream import wire, wire_down
from qgjob_agent.stream.log_buffer import LogBuffer, Piece
from qgjob_agent.stream.peer_probe import speaks_http2
from qgjob_agent.stream.retry_pace import RetryPace
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import agent_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.state_dir import EpochFile

_CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
]
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 1.5  # with the jitter at most 2 s
_JITTER_SECONDS = 0.5
_TURN_JITTER_SECONDS = 0.1
_CONNECT_SECONDS = 5.0
_WELCOME_SECONDS = 10.0
_FAREWELL_SECONDS = 2.0
_SHORTEST_SESSION_SECONDS = 1.0  # one that ends sooner counts as a failed try, so that retries slow down
_QUEUE_MESSAGES = 4_096
_LOG_MESSAGES = 1_024  # logs give way long before anything else does


_FATAL = (pb.REFUSED_REASON_VERSION, pb.REFUSED_REASON_INVALID)
_IN_USE = {
    pb.REFUSED_REASON_AGENT_ID_IN_USE: "another agent_id in agent.toml, or QGJOB_AGENT_ID",
    pb.REFUSED_REASON_DEVICE_ID_IN_USE: "another device_id for that device, in its [[devices]] table of agent.toml",
}


class _NotConnectedError(Exception):
    """A try that led to no lasting session. The message says why."""


class _InUseError(_NotConnectedError):
    """A name is another agent's. `word` says which, `what_to_do` is for whoever runs the agent."""

    def __init__(self, word: str, message: str, what_to_do: str) -> None:
        super().__init__(message)
        self.word = word
        self.what_to_do = what_to_do


@dataclass(frozen=True, slots=True)
class Coordinators:
    """Where to connect, tried in turn, and as whom."""

    addresses: tuple[str, ...]
    agent_id: str
    token: str | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What identifies the agent beside its messages."""
        who = (("qgjob-agent-id", self.agent_id),)
        return who if self.token is None else (*who, ("authorization", f"Bearer {self.token}"))


@dataclass(slots=True, eq=False)
class _Stream:
    """One stream. `opened_at` is set by the Welcome; None in the queue means that nothing follows.

    `sent_away` is set by a coordinator that stops; `passed_over` has the kinds of messages that we do not know.
    """

    epoch: int
    call: Any
    address: str
    queue: asyncio.Queue[pb.ConnectRequest | None] = field(default_factory=asyncio.Queue)
    opened_at: float | None = None
    sent_away: bool = False
    passed_over: set[str | None] = field(default_factory=set)


class Session:
    """Keeps one session open, for as long as `run` runs. `dispatch` gets what comes in."""

    def __init__(
        self, coordinators: Coordinators, epochs: EpochFile, dispatch: Callable[[Event], None], log: Any
    ) -> None:
        self._coordinators = coordinators
        self._epochs = epochs
        self._dispatch = dispatch
        self._log = log
        self._turn = 0
        self._floor = 0  # the highest epoch that a refusal named
        self._stream: _Stream | None = None
        self._logs = LogBuffer()
        self._leaving = False
        self._refused_by: set[str] = set()  # addresses that will not have us, since the last session
        self._pace = RetryPace()

    # ---- what the driver asks for ----

    def send(self, told: Any) -> None:
        """Queues what is to be told; a peer that does not read for so long loses the session and nothing else."""
        stream = self._stream
        if stream is None or told.epoch != stream.epoch:
            return
        if stream.queue.qsize() >= _QUEUE_MESSAGES:
            self.end_session(stream.epoch, "the coordinator does not read")
            return
        if type(told) is SendReports and self._logs:
            self._send_logs_of(stream, told)
        for message in wire.up(told):
            stream.queue.put_nowait(message)
        if type(told) is SendHeartbeat:
            self._logs.mark(told.seq)

    def _send_logs_of(self, stream: _Stream, told: SendReports) -> None:
        """Queues what ended attempts have printed: a coordinator keeps nothing that comes after their last report."""
        for report in told.reports:
            piece = self._logs.take_of(report.lease.token) if report.final else None
            if piece is not None:
                stream.queue.put_nowait(wire.log_chunk(stream.epoch, *piece))

    def send_log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """Queues a piece of a log; the end of each log is kept until a coordinator has it."""
        self._logs.add(Piece(job_id, token, offset, data))
        self._send_logs()

    def _send_logs(self) -> None:
        stream = self._stream
        if stream is None or stream.opened_at is None:
            return
        while stream.queue.qsize() < _LOG_MESSAGES and (piece := self._logs.take()) is not None:
            stream.queue.put_nowait(wire.log_chunk(stream.epoch, *piece))

    def end_session(self, epoch: int, reason: str) -> None:
        """Ends the stream of this epoch; `run` opens a new one."""
        if self._stream is not None and epoch == self._stream.epoch:
            self._log.warning("session_ended", epoch=epoch, reason=reason)
            self._stream.call.cancel()

    def leave(self) -> bool:
        """Sends what is queued, then ends `run`. False if no session is open, so that there is nothing to wait for."""
        self._leaving = True
        if self._stream is None or self._stream.opened_at is None:
            return False
        self._stream.queue.put_nowait(None)
        return True

    # ---- the life of the stream ----

    async def run(self) -> None:
        """Connects, and connects again, until `leave`. Raises RefusedError when no coordinator will ever have us."""
        while not self._leaving:
            retrying = AsyncRetrying(
                wait=self._pause,
                retry=retry_if_exception_type(_NotConnectedError),
                before_sleep=self._say_retry,
            )
            async for attempt in retrying:
                with attempt:
                    await self._one_session()

    def _pause(self, state: RetryCallState) -> float:
        """Hardly any before the next address, which may well be there; longer ones when all of them were tried."""
        rounds, others_tried = divmod(state.attempt_number, len(self._coordinators.addresses))
        if others_tried:
            usual = random.uniform(0, _TURN_JITTER_SECONDS)  # noqa: S311 - jitter
        else:
            usual = min(_FIRST_WAIT_SECONDS * 2 ** min(rounds - 1, 10), _LONGEST_WAIT_SECONDS)
            usual += random.uniform(0, _JITTER_SECONDS)  # noqa: S311 - jitter
        return self._pace.pause_seconds(usual, in_use=isinstance(_error_of(state), _InUseError))

    def _say_retry(self, state: RetryCallState) -> None:
        error = _error_of(state)
        if not self._pace.is_news(str(error)):
            return
        wait = state.next_action.sleep if state.next_action is not None else 0.0
        word, more = "not_connected", {}
        if isinstance(error, _InUseError):
            word, more = error.word, {"what_to_do": error.what_to_do}
        self._log.warning(word, reason=str(error), tries=state.attempt_number, next_try_seconds=round(wait, 2), **more)

    async def _one_session(self) -> None:
        """One try. Raises _NotConnectedError when it led to no lasting session."""
        if self._leaving:
            return
        address = self._coordinators.addresses[self._turn % len(self._coordinators.addresses)]
        channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        try:
            await self._reach(channel, address)
            await self._speak(channel, address)
        finally:
            # The next address has its turn, also after a session that was lost: a coordinator that hangs still takes
            # connections, and waiting for it could cost what runs here its leases.
            self._turn += 1
            await channel.close()

    async def _reach(self, channel: grpc.aio.Channel, address: str) -> None:
        """Waits until the address answers; fails as soon as it can't be reached."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                state = channel.get_state(try_to_connect=True)
                while state is not grpc.ChannelConnectivity.READY:
                    if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                        raise _NotConnectedError(await _why_unreachable(address))
                    await channel.wait_for_state_change(state)
                    state = channel.get_state(try_to_connect=True)
        except TimeoutError:
            raise _NotConnectedError(f"{address} did not answer within {_CONNECT_SECONDS:.0f} s") from None

    async def _speak(self, channel: grpc.aio.Channel, address: str) -> None:
        """One stream from Hello to its end."""
        try:
            epoch = self._epochs.raise_above(self._floor)
        except OSError as error:
            raise _NotConnectedError(f"the epoch can't be written down: {error.strerror}") from error
        call = pb_grpc.AgentServiceStub(channel).Connect(metadata=self._coordinators.metadata)
        stream = self._stream = _Stream(epoch, call, address)
        self._dispatch(SessionConnecting(epoch))
        writer = asyncio.create_task(self._write(stream), name="session-writer")
        try:
            reason = await self._read(stream)
        finally:
            self._stream = None
            self._logs.rewind()
            call.cancel()
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._dispatch(SessionLost(epoch))
        if stream.opened_at is None:
            raise _NotConnectedError(f"{address}: {reason}")
        if self._leaving:
            return
        self._log.warning("session_lost", epoch=epoch, coordinator=address, reason=reason)
        if monotonic_seconds() - stream.opened_at < _SHORTEST_SESSION_SECONDS and not stream.sent_away:
            raise _NotConnectedError(f"{address}: {reason}")

    async def _read(self, stream: _Stream) -> str:
        """Takes what comes in until the stream ends; gives why it ended."""
        try:
            async with asyncio.timeout(_WELCOME_SECONDS) as first:
                while True:
                    message = await stream.call.read()
                    if message is grpc.aio.EOF:
                        return await _status(stream.call)
                    if message.HasField("refused"):
                        return self._refused(stream, message.refused)
                    self._take(stream, message)
                    if stream.opened_at is not None and first.when() is not None:
                        first.reschedule(None)
        except TimeoutError:
            return f"no answer to Hello within {_WELCOME_SECONDS:.0f} s"
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        except asyncio.CancelledError:
            if stream.call.cancelled() and not _being_cancelled():
                return "ended by this agent"
            raise

    def _take(self, stream: _Stream, message: pb.ConnectResponse) -> None:
        event = wire_down.event_of(message)
        if event is None:
            kind = message.WhichOneof("body")
            if kind not in stream.passed_over:
                stream.passed_over.add(kind)
                what_to_do = "the coordinator is newer; upgrade this agent when it suits"
                self._log.warning("unknown_message", body=kind, epoch=stream.epoch, what_to_do=what_to_do)
            return
        if isinstance(event, Welcomed) and event.epoch == stream.epoch:
            stream.opened_at = monotonic_seconds()
            self._refused_by.clear()
            self._pace.connected()
        elif isinstance(event, HeartbeatConfirmed) and event.epoch == stream.epoch:
            self._logs.confirm(event.seq)
        self._dispatch(event)
        if isinstance(event, Welcomed):
            self._send_logs()

    def _refused(self, stream: _Stream, refused: pb.Refused) -> str:
        """What a refusal asks for: a higher epoch, another coordinator, patience, or a person."""
        reason = _word_of(refused.reason)
        self._floor = max(self._floor, refused.stored_epoch)
        stream.sent_away = refused.reason == pb.REFUSED_REASON_GOING_AWAY
        if refused.reason in _FATAL and stream.opened_at is None:
            self._refused_by.add(stream.address)
            if self._refused_by.issuperset(self._coordinators.addresses):  # else one may be of another version
                raise RefusedError(f"the coordinator refuses this agent ({reason}): {refused.message}")
        if stream.opened_at is None and (setting := _IN_USE.get(refused.reason)) is not None:
            raise _InUseError(reason, refused.message, f"stop the other agent, or set {setting}; this one keeps trying")
        return f"refused, {reason}: {refused.message}"

    async def _write(self, stream: _Stream) -> None:
        """Sends what is queued, in order. Ends with the stream."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                message = await stream.queue.get()
                if message is None:
                    await stream.call.done_writing()
                    await asyncio.sleep(_FAREWELL_SECONDS)  # the coordinator ends the stream; if not, this does
                    stream.call.cancel()
                    return
                await stream.call.write(message)
                if self._logs:
                    self._send_logs()


def _error_of(state: RetryCallState) -> BaseException | None:
    """Why the last try failed."""
    return state.outcome.exception() if state.outcome is not None else None


async def _why_unreachable(address: str) -> str:
    if await speaks_http2(address) is not False:
        return f"{address} can't be reached"
    return f"what listens at {address} does not speak gRPC; name the coordinator's gRPC port (50051 by default)"


def _word_of(reason: int) -> str:
    """A reason in words; one of a newer coordinator by its number."""
    known = pb.RefusedReason.DESCRIPTOR.values_by_number.get(reason)
    return f"reason {reason}" if known is None else known.name.removeprefix("REFUSED_REASON_").lower()


async def _status(call: Any) -> str:
    code = await call.code()
    return "the coordinator ended it" if code is grpc.StatusCode.OK else f"{code.name}: {await call.details()}"


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
