"""A coordinator for agents under test: a real gRPC server that does what the test says and records what it hears.

By default it welcomes every Hello, adopts all that it shows, confirms heartbeats and acknowledges reports. A test
switches these off one by one (`stub.confirm_heartbeats = False`) or sends what it likes.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Self

import grpc

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import agent_pb2_grpc as pb_grpc
from qgjob_proto.v1 import artifacts_pb2_grpc as artifacts_grpc
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes import waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class StubSession:
    """One stream of one agent, seen from the coordinator."""

    def __init__(self, stub: CoordinatorStub, metadata: dict[str, str]) -> None:
        self._stub = stub
        self.metadata = metadata
        self.hello: pb.ConnectRequest = pb.ConnectRequest()
        self.heard: list[pb.ConnectRequest] = []
        self.outbox: asyncio.Queue[pb.ConnectResponse | None] = asyncio.Queue()
        self.ended = asyncio.Event()
        self.tokens = itertools.count(1)

    @property
    def epoch(self) -> int:
        return self.hello.epoch

    def send(self, epoch: int | None = None, **body: Any) -> None:
        self.outbox.put_nowait(pb.ConnectResponse(epoch=self.epoch if epoch is None else epoch, **body))

    def assign(self, *assignments: pb.Assignment, epoch: int | None = None) -> None:
        self.send(epoch, assign=pb.Assign(assignments=assignments))

    def end(self) -> None:
        """Ends the stream with status OK."""
        self.outbox.put_nowait(None)

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        return await self._stub.until(condition, what)

    def all(self, kind: str) -> list[Any]:
        return [getattr(message, kind) for message in self.heard if message.WhichOneof("body") == kind]

    def reports(self, token: str | None = None, kind: str | None = None) -> list[pb.Report]:
        found = [report for batch in self.all("reports") for report in batch.reports]
        return [
            r for r in found if (token is None or r.token == token) and (kind is None or r.WhichOneof("body") == kind)
        ]

    async def report(self, token: str, kind: str) -> pb.Report:
        """The first report of this kind on this token."""
        found: list[pb.Report] = await self.until(lambda: self.reports(token, kind), f"no {kind} of {token}")
        return found[0]

    async def message(self, kind: str, number: int = 1) -> Any:
        """The nth message of a kind."""
        await self.until(lambda: len(self.all(kind)) >= number, f"no {kind} #{number}")
        return self.all(kind)[number - 1]

    def log_of(self, token: str) -> bytes:
        return b"".join(chunk.data for chunk in self.all("log") if chunk.token == token)


class CoordinatorStub(pb_grpc.AgentServiceServicer):
    """`async with CoordinatorStub() as stub:` listens on `stub.address`. Without `artifacts` it keeps no evidence."""

    def __init__(
        self, *, port: int = 0, artifacts: artifacts_grpc.ArtifactServiceServicer | None = None, **welcome: Any
    ) -> None:
        self.welcome: dict[str, Any] = {
            "store_epoch": 1,
            "heartbeat_ms": 500,
            "session_timeout_ms": 30_000,  # a machine that stands still for seconds loses no test its session
            "lease_ms": 20_000,
            "kill_grace_ms": 1_000,
        } | welcome
        self._port = port
        self._artifacts = artifacts
        self.sessions: list[StubSession] = []
        self.adopt: Callable[[pb.HeldAttempt], bool] = lambda _held: True
        self.revoke: set[str] = set()
        self.refuse: Callable[[pb.Hello], pb.Refused | None] = lambda _hello: None
        self.say_welcome = True
        self.confirm_heartbeats = True
        self.acknowledge_reports = True
        self.verdict = pb.REPORT_VERDICT_APPLIED
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_AgentServiceServicer_to_server(self, self._server)
        if self._artifacts is not None:
            artifacts_grpc.add_ArtifactServiceServicer_to_server(self._artifacts, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stops at once, as a killed coordinator does."""
        await self._server.stop(None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def said(self) -> str:
        """What each session heard, and which of them are over: for the words of a test that failed."""
        return "; ".join(
            f"session {number}{' (over)' if session.ended.is_set() else ''} of {session.hello.hello.agent_id} heard "
            f"{[message.WhichOneof('body') for message in session.heard]}"
            for number, session in enumerate(self.sessions, 1)
        )

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Waits until something heard makes the condition true."""
        try:
            async with asyncio.timeout(waiting.DEADLINE_SECONDS), self._changed:
                while not (value := condition()):
                    await self._changed.wait()
                return value
        except TimeoutError:
            raise AssertionError(f"after {waiting.DEADLINE_SECONDS:g} s: {what}; {self.said()}") from None

    async def session(self, number: int = 1) -> StubSession:
        """The nth session that said Hello."""
        await self.until(lambda: len(self.sessions) >= number, f"no session {number}")
        return self.sessions[number - 1]

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def Connect(  # noqa: N802 - the name of the method on the wire
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.ConnectResponse]:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata() or ()}
        session = StubSession(self, metadata)
        reader = asyncio.create_task(self._hear(session, request_iterator))
        self._tasks.add(reader)
        try:
            while (message := await session.outbox.get()) is not None:
                yield message
        finally:
            session.ended.set()
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            self._tasks.discard(reader)
            await self._tell()

    async def _hear(self, session: StubSession, requests: AsyncIterator[pb.ConnectRequest]) -> None:
        try:
            async for message in requests:
                session.heard.append(message)
                self._answer(session, message)
                await self._tell()
        finally:
            session.end()

    def _answer(self, session: StubSession, message: pb.ConnectRequest) -> None:
        kind = message.WhichOneof("body")
        if kind == "hello":
            session.hello = message
            self.sessions.append(session)
            self._answer_hello(session, message.hello)
        elif kind == "heartbeat" and self.confirm_heartbeats:
            revoked = [held.token for held in message.heartbeat.held if held.token in self.revoke]
            session.send(heartbeat_ack=pb.HeartbeatAck(seq=message.heartbeat.seq, revoked=revoked))
        elif kind == "reports" and self.acknowledge_reports:
            entries = [
                pb.ReportAck.Entry(report_id=report.report_id, verdict=self.verdict)
                for report in message.reports.reports
            ]
            session.send(report_ack=pb.ReportAck(entries=entries))

    def _answer_hello(self, session: StubSession, hello: pb.Hello) -> None:
        refused = self.refuse(hello)
        if refused is not None:
            session.send(refused=refused)
            session.end()
        elif self.say_welcome:
            adopted = [held.token for held in hello.held if self.adopt(held)]
            released = [held.token for held in hello.held if not self.adopt(held)]
            revoked = [token for token in adopted if token in self.revoke]
            session.send(welcome=pb.Welcome(adopted=adopted, released=released, revoked=revoked, **self.welcome))


def assignment(token: str, device_id: str = "emulator-1", **fields: Any) -> pb.Assignment:
    """An assignment with defaults that suit most tests."""
    values: dict[str, Any] = {
        "job_id": f"acme~{token}",
        "token": token,
        "attempt": 1,
        "round": 1,
        "device_id": device_id,
        "org_id": "acme",
        "app_version_id": "v1",
        "test_path": f"tests/{token}.spec.js",
        "target": types.TARGET_EMULATOR,
        "timeout_ms": 60_000,
    }
    return pb.Assignment(**(values | fields))
