"""An agent of which a test says every message: a stream to a real coordinator, and a record of what came back.

    async with RawAgent(address, "raw-1") as agent:
        await agent.hello()
        (assignment,) = await agent.assigned(1)
        agent.start(assignment)
        agent.finish(assignment, OUTCOME_PASSED)

Heartbeats go out by themselves, showing what `held` has; `silent = True` stops them.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence
from typing import Any, Self

import grpc

from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import agent_pb2_grpc as pb_grpc
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.error_details import error_field
from tests.fakes.waiting import until

PROTOCOL_VERSION = 1
HEARTBEAT_SECONDS = 0.2

UNSTARTED = pb.ATTEMPT_PHASE_UNSTARTED
RUNNING = pb.ATTEMPT_PHASE_RUNNING
SPOOLED = pb.ATTEMPT_PHASE_SPOOLED


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


class RawAgent:
    """One agent over any number of streams, one at a time. Its devices are `<agent_id>-1`, `<agent_id>-2`, …"""

    def __init__(
        self,
        address: str,
        agent_id: str,
        *,
        devices: int = 1,
        target: types.Target.ValueType = types.TARGET_BROWSERSTACK,
    ) -> None:
        self.address = address
        self.agent_id = agent_id
        self.instance_id = uuid.uuid4().hex
        self.epoch = 0
        self.heard: list[pb.ConnectResponse] = []
        self.held: dict[str, pb.HeldAttempt] = {}
        self.silent = False
        self.gives_back = False
        """Whether it answers recalls as an agent does: what it has not begun is released."""
        self.ahead_ms: int | None = None
        """How far its clock is ahead of the true time; None: an older agent, which does not tell its clock."""
        self.broken: grpc.aio.AioRpcError | None = None
        """How the stream ended, where that was no good end."""
        self.device_ids = [f"{agent_id}-{n}" for n in range(1, devices + 1)]
        self.target = target
        self._report_ids = itertools.count(1)
        self._seq = 0
        self._channel: grpc.aio.Channel | None = None
        self._call: Any = None
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    # The stream.

    async def say_hello(
        self, epoch: int | None = None, *, metadata: Sequence[tuple[str, str]] | None = None, **changes: Any
    ) -> pb.ConnectResponse:
        """Opens a stream with a Hello, of the next epoch unless told; the first answer, Welcome or Refused.

        `metadata` stands in the place of those that name the agent.
        """
        await self.leave()
        self.epoch = self.epoch + 1 if epoch is None else epoch
        self.heard = []
        self._seq = 0
        self._channel = grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)])
        self.broken = None
        named = (("qgjob-agent-id", self.agent_id),) if metadata is None else tuple(metadata)
        self._call = pb_grpc.AgentServiceStub(self._channel).Connect(metadata=named)
        self._tasks = [asyncio.create_task(self._read(self._call)), asyncio.create_task(self._beat())]
        values: dict[str, Any] = {
            "protocol_version": PROTOCOL_VERSION,
            "agent_id": self.agent_id,
            "instance_id": self.instance_id,
            "version": "test",
            "host": "test",
            "devices": [self.device(d) for d in self.device_ids],
            "held": list(self.held.values()),
            "credit": 100,
        } | changes
        await self.send(hello=pb.Hello(**values))
        await until(lambda: self.heard, f"{self.agent_id}: no answer to Hello")
        return self.heard[0]

    async def hello(self, **changes: Any) -> pb.Welcome:
        """Opens a session; fails when it is refused."""
        answer = await self.say_hello(**changes)
        assert answer.HasField("welcome"), answer
        return answer.welcome

    async def refused(self, epoch: int | None = None, **changes: Any) -> pb.Refused:
        """Says a Hello that is refused."""
        answer = await self.say_hello(epoch, **changes)
        assert answer.HasField("refused"), answer
        return answer.refused

    async def invalid(self, **hello: Any) -> str:
        """Says a Hello that is invalid: the field that the end of the stream names."""
        refused = await self.refused(**hello)
        assert refused.reason == pb.REFUSED_REASON_INVALID, refused
        return await self.invalid_field()

    async def invalid_field(self) -> str:
        """The field that the end of the stream names, which is INVALID_ARGUMENT."""
        error = await until(lambda: self.broken, f"{self.agent_id}: the stream did not break")
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
        field = error_field(error)
        assert field is not None
        assert str(error.details()).startswith(f"{field}: ")
        return field

    def device(self, device_id: str, **changes: Any) -> pb.DeviceInfo:
        """A device as it is shown."""
        values: dict[str, Any] = {
            "device_id": device_id,
            "udid": device_id,
            "target": self.target,
            "platform": "android",
            "os_version": "14",
            "health": types.DEVICE_HEALTH_GOOD,
        } | changes
        return pb.DeviceInfo(**values)

    async def send(self, *, epoch: int | None = None, **body: Any) -> None:
        """One message, of this epoch unless told."""
        async with self._writing:  # a call takes one write at a time
            await self._call.write(pb.ConnectRequest(epoch=self.epoch if epoch is None else epoch, **body))

    async def leave(self) -> None:
        """Breaks the stream, without a word; what it held it still believes to hold."""
        if self._call is not None:
            self._call.cancel()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
        self._call = self._channel = None

    async def _read(self, call: Any) -> None:
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                self._take(message)
                if message.HasField("recall") and (self.gives_back or not message.recall.tokens):
                    await self._answer(message.recall)
        except grpc.aio.AioRpcError as e:
            self.broken = e

    async def _answer(self, recall: pb.Recall) -> None:
        """Without tokens it is only asked whether it still listens."""
        released = [t for t in recall.tokens if t in self.held and self.held[t].phase == UNSTARTED]
        for token in released:
            del self.held[token]
        await self.send(recall_answer=pb.RecallAnswer(recall_id=recall.recall_id, released=released))

    def _take(self, message: pb.ConnectResponse) -> None:
        for a in message.assign.assignments:
            self.held[a.token] = pb.HeldAttempt(
                job_id=a.job_id, token=a.token, attempt=a.attempt, phase=UNSTARTED, device_id=a.device_id
            )
        self.heard.append(message)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if self.silent:
                continue
            self._seq += 1
            try:
                beat = pb.Heartbeat(seq=self._seq, held=list(self.held.values()))
                if self.ahead_ms is not None:
                    beat.sent_at_ms = now_ms() + self.ahead_ms
                await self.send(heartbeat=beat)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return

    # What came.

    def all(self, kind: str) -> list[Any]:
        """All messages of one kind in this stream."""
        return [getattr(m, kind) for m in self.heard if m.WhichOneof("body") == kind]

    async def message(self, kind: str, times: int = 1) -> Any:
        """The `times`-th message of one kind."""
        await until(lambda: len(self.all(kind)) >= times, lambda: f"{self.agent_id}: no {kind} in {self.heard}")
        return self.all(kind)[times - 1]

    async def assigned(self, count: int) -> list[pb.Assignment]:
        """The first `count` assignments of this stream."""

        def look() -> list[pb.Assignment] | None:
            found = [a for m in self.all("assign") for a in m.assignments]
            return found if len(found) >= count else None

        found: list[pb.Assignment] = await until(look, lambda: f"{self.agent_id}: no {count} in {self.heard}")
        return found[:count]

    async def verdict(self, report_id: int) -> str:
        """What the coordinator said to a report: APPLIED, REPLAYED or STALE."""

        def look() -> list[int]:
            return [e.verdict for m in self.all("report_ack") for e in m.entries if e.report_id == report_id]

        (verdict,) = await until(look, lambda: f"{self.agent_id}: report {report_id} is not acknowledged")
        return pb.ReportVerdict.Name(verdict).removeprefix("REPORT_VERDICT_")

    # Reports; each answers its id.

    async def start(self, a: pb.Assignment, **changes: Any) -> int:
        """The attempt runs."""
        self.held[a.token].phase = RUNNING
        return await self.report(a, started=pb.Started(started_at_ms=now_ms()), **changes)

    async def finish(
        self, a: pb.Assignment, outcome: types.Outcome.ValueType = types.OUTCOME_PASSED, **fields: Any
    ) -> int:
        """The attempt ended with an outcome; its tree is dead."""
        self.held.pop(a.token, None)
        values: dict[str, Any] = {"started_at_ms": now_ms(), "ended_at_ms": now_ms(), "duration_ms": 0} | fields
        return await self.report(a, finished=pb.Finished(outcome=outcome, **values))

    async def passes(self, a: pb.Assignment) -> None:
        """The attempt runs and passes, and the coordinator has taken that."""
        await self.start(a)
        assert await self.verdict(await self.finish(a)) == "APPLIED"

    async def die(
        self, a: pb.Assignment, cause: pb.DeathCause.ValueType = pb.DEATH_CAUSE_REVOKED, *, started: bool = True
    ) -> int:
        """The attempt was killed or dropped."""
        self.held.pop(a.token, None)
        return await self.report(a, tree_dead=pb.TreeDead(cause=cause, ended_at_ms=now_ms(), started=started))

    async def report(self, a: pb.Assignment, *, token: str | None = None, epoch: int | None = None, **body: Any) -> int:
        """Any report of the attempt, with another token or epoch if told."""
        report = pb.Report(report_id=next(self._report_ids), job_id=a.job_id, token=token or a.token, **body)
        await self.send_reports([report], epoch=epoch)
        return report.report_id

    async def send_reports(self, reports: Sequence[pb.Report], *, epoch: int | None = None) -> None:
        """These reports, again if they were sent before."""
        await self.send(epoch=epoch, reports=pb.Reports(reports=reports))
