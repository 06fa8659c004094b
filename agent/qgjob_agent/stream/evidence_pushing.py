"""Sends evidence to whichever coordinator serves. One of the places of gRPC in the agent.

It has a connection of its own: a film must not stand before a heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpc

from qgjob_agent.disk_watch import may_pass
from qgjob_agent.evidence.batching import is_small
from qgjob_agent.evidence.pushing import EvidenceAwayError, EvidenceRefusedError, EvidenceTooLargeError, Sent
from qgjob_agent.host.plain_file import opened
from qgjob_proto.v1 import artifacts_pb2 as pb
from qgjob_proto.v1 import artifacts_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgjob_agent.evidence.shelf import Evidence
    from qgjob_agent.stream.session import Coordinators

_CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
]
_CHUNK_BYTES = 256 * 1024
_IDLE_SECONDS = 120.0
"""A coordinator may have others to take bytes from first; one that gets no further for so long is given up."""
_MOST_LEFT_OUT = 20
_BROKE_OFF = "Internal error from Core"
"""What gRPC says of a write to a call that has ended, whatever that ended with."""
_NEVER = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
)
_ONE_BY_ONE = (
    *(*_NEVER, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED),
    *(grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL),
)
"""What is wrong may be of one attempt, or of the call; so may be a fault of the coordinator, which says no more."""


class PushedEvidence:
    """The coordinators' store of evidence. What is small has a connection of its own, which no film fills."""

    def __init__(self, coordinators: Coordinators) -> None:
        self._small, self._large = _Way(coordinators), _Way(coordinators)

    async def __call__(self, several: Sequence[Evidence]) -> list[Sent]:
        """Sends small evidence of several attempts together, or all of the first one's. See Push.

        Where a coordinator takes none together, being older, or finds a fault with the call, the first goes alone.
        """
        return await (self._small if is_small(several[0]) else self._large).push(several)

    async def close(self) -> None:
        """Gives the connections up."""
        await self._small.close()
        await self._large.close()


class _Way:
    """One connection, with one call at a time. The address that served last is asked first."""

    def __init__(self, coordinators: Coordinators) -> None:
        self._coordinators = coordinators
        self._turn = 0
        self._channel: grpc.aio.Channel | None = None
        self._taken = False  # what was announced; from then on this side's pauses may be what is wrong

    async def push(self, several: Sequence[Evidence]) -> list[Sent]:
        """See PushedEvidence."""
        addresses = self._coordinators.addresses
        problems, alone = [], not is_small(several[0])
        for _ in addresses:
            address = addresses[self._turn % len(addresses)]
            try:
                async with asyncio.timeout(_IDLE_SECONDS) as limit:
                    if not alone and (sent := await self._together(address, several)) is not None:
                        return sent
                    alone = True
                    return [await self._alone(address, several[0], limit)]
            except TimeoutError:
                problems.append(f"{address}: no answer in time")
            except grpc.aio.AioRpcError as error:
                said = f"{address}: {error.details() or error.code().name}"
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    said = f"{address} is older than this agent and keeps no evidence; update it"
                problems.append(said)
            except EvidenceAwayError as error:
                problems.append(str(error))
            await self.close()
            self._turn += 1
        away = EvidenceAwayError("; ".join(problems))
        if alone and len(several) > 1:  # it says nothing of the others
            return [away]
        raise away

    async def close(self) -> None:
        """Gives it up."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _stub(self, address: str) -> Any:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        return pb_grpc.ArtifactServiceStub(self._channel)

    # ---- several in one call ----

    async def _together(self, address: str, several: Sequence[Evidence]) -> list[Sent] | None:
        """What became of each; None where they are to be sent one by one. Raises AioRpcError."""
        ready = [await asyncio.to_thread(_read_whole, each) for each in several]
        wanted = [each for each in ready if isinstance(each, pb.SmallArtifacts)]
        answers: list[Sent] = []
        if wanted:
            try:
                told: pb.PushSmallArtifactsResponse = await self._stub(address).PushSmallArtifacts(
                    pb.PushSmallArtifactsRequest(attempts=wanted), metadata=self._coordinators.metadata
                )
            except grpc.aio.AioRpcError as error:
                if error.code() in _ONE_BY_ONE:
                    return None
                raise
            answers = [_sent(address, each) for each in told.attempts]
            if len(answers) != len(wanted):
                raise EvidenceAwayError(f"{address} answered {len(answers)} of {len(wanted)} attempts")
        in_turn = iter(answers)
        return [next(in_turn) if isinstance(each, pb.SmallArtifacts) else each for each in ready]

    # ---- one, file by file ----

    async def _alone(self, address: str, evidence: Evidence, limit: asyncio.Timeout) -> Sent:
        """How many files were not there yet, or why they never will be. Raises AioRpcError, EvidenceAwayError."""
        try:
            return await self._stream(address, evidence, limit)
        except grpc.aio.AioRpcError as error:
            said = f"{address}: {error.details() or error.code().name}"
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and evidence.kept:
                return EvidenceTooLargeError(said)
            if error.code() in _NEVER and not (self._taken and error.code() is grpc.StatusCode.INVALID_ARGUMENT):
                return EvidenceRefusedError(said)
            raise
        except TimeoutError:
            raise
        except OSError as error:
            return _unreadable(error)

    async def _stream(self, address: str, evidence: Evidence, limit: asyncio.Timeout) -> int:
        call = self._stub(address).PushArtifacts(metadata=self._coordinators.metadata)
        self._taken = False
        try:
            await call.write(pb.PushArtifactsRequest(header=_header(evidence)))
            wanted = list((await _read(call)).wanted.files)
            self._taken = True
            await _send(call, evidence, wanted, limit)
            return len(wanted)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError) as error:
            if isinstance(error, grpc.aio.AioRpcError) and error.details() != _BROKE_OFF:
                raise
            # It was answered while this side still sent, and gRPC has lost what the answer was: the next try tells.
            raise EvidenceAwayError(f"{address} broke off while bytes were sent") from None
        except EOFError:
            raise EvidenceAwayError(f"{address} broke off") from None
        finally:
            call.cancel()


def _sent(address: str, told: pb.SmallArtifactsPushed) -> Sent:
    said = f"{address}: {told.message}"
    if told.verdict == pb.PUSH_VERDICT_KEPT:
        return told.files
    if told.verdict == pb.PUSH_VERDICT_TOO_LARGE:
        return EvidenceTooLargeError(said)
    if told.verdict == pb.PUSH_VERDICT_REFUSED:
        return EvidenceRefusedError(said)
    if told.verdict == pb.PUSH_VERDICT_AWAY:
        return EvidenceAwayError(said)
    return EvidenceAwayError(f"{said}; the coordinator is newer and says {told.verdict}: update this agent")


def _unreadable(error: OSError) -> EvidenceAwayError | EvidenceRefusedError:
    """A file of it can't be read, now or for good."""
    why = error.strerror or str(error)
    if may_pass(error):
        return EvidenceAwayError(f"the agent's disk does not give it back now: {why}")
    return EvidenceRefusedError(f"it can't be read any more: {why}")


def _read_whole(evidence: Evidence) -> pb.SmallArtifacts | EvidenceAwayError | EvidenceRefusedError:
    contents = []
    try:
        for each in evidence.kept or ():
            with opened(evidence.path / each.file.path) as file:
                contents.append(file.read())
    except OSError as error:
        return _unreadable(error)
    return pb.SmallArtifacts(header=_header(evidence), contents=contents)


async def _send(call: Any, evidence: Evidence, wanted: list[int], limit: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()

    def further() -> None:
        limit.reschedule(loop.time() + _IDLE_SECONDS)

    for place in wanted:
        kept = (evidence.kept or ())[place]
        await _send_file(call, place, evidence.path / kept.file.path, further)
        await _read(call)  # that it is kept
        further()
    await call.done_writing()
    with contextlib.suppress(EOFError):
        await _read(call)


async def _send_file(call: Any, place: int, path: Path, further: Any) -> None:
    file = await asyncio.to_thread(opened, path)
    try:
        while data := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            await call.write(pb.PushArtifactsRequest(chunk=pb.ArtifactChunk(file=place, data=data)))
            further()
    finally:
        file.close()


async def _read(call: Any) -> pb.PushArtifactsResponse:
    """The next answer. Raises AioRpcError, EOFError at the end."""
    answer = await call.read()
    if answer is grpc.aio.EOF:
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            raise await _error_of(call)
        raise EOFError
    found: pb.PushArtifactsResponse = answer
    return found


async def _error_of(call: Any) -> grpc.aio.AioRpcError:
    """How a call ended."""
    return grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), details=await call.details()
    )


def _header(evidence: Evidence) -> pb.PushArtifactsHeader:
    whose = evidence.whose
    return pb.PushArtifactsHeader(
        job_id=whose.job_id,
        attempt=whose.attempt,
        token=whose.token,
        files=[
            pb.ArtifactFile(
                name=each.file.name,
                kind=pb.ArtifactKind.Value(f"ARTIFACT_KIND_{each.file.kind.upper()}"),
                digest=each.digest,
                size_bytes=each.file.size_bytes,
            )
            for each in evidence.kept or ()
        ],
        left_out=[
            pb.LeftOut(files=each.files, size_bytes=each.size_bytes, reason=each.reason)
            for each in evidence.left_out[:_MOST_LEFT_OUT]
        ],
    )
