"""Plays the agent's side of a recording against a coordinator, and holds its answers to those that were recorded.

Jobs, tokens and times are those of the moment: what stood in the recording is replaced by what is given now.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from qgjob import AsyncClient
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import agent_pb2_grpc as pb_grpc
from tests.fakes.waiting import until
from tests.skew.record import job_of
from tests.skew.transcript import AGENT_ID, Line, said


class Player:
    """`async with Player(address, client, lines) as player: await player.play()`; `changes` are those of each Hello."""

    def __init__(self, address: str, client: AsyncClient, lines: list[Line], **changes: Any) -> None:
        self.heard: list[pb.ConnectResponse] = []
        self.jobs: dict[str, str] = {}
        self._address = address
        self._client = client
        self._lines = lines
        self._changes = changes
        self._later_ms = time.time_ns() // 1_000_000 - lines[0].at
        self._now: dict[str, str] = {}  # by what stood in the recording
        self._revoked: set[str] = set()
        self._channel: grpc.aio.Channel | None = None
        self._call: Any = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Player:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._break()

    async def play(self) -> None:
        """The whole recording; raises AssertionError where the coordinator answers otherwise, or not."""
        for line in self._lines:
            if line.kind == "up":
                await self._say(line.what)
            elif line.kind == "down":
                await self._hear(line.what)
            else:
                await self._do(*line.what)

    # What happened meanwhile.

    async def _do(self, what: str, test: str) -> None:
        if what == "submit":
            self.jobs[test] = (await self._client.submit(job_of(test))).job_id
        elif what == "cancel":
            await self._client.cancel(self.jobs[test])
        else:
            assert what == "break", what
            await self._break()

    async def _break(self) -> None:
        if self._call is not None:
            self._call.cancel()
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
        self._call = self._reader = self._channel = None

    # Up.

    async def _say(self, recorded: dict[str, Any]) -> None:
        said = self._of_now(recorded)
        if "hello" in said:
            said["hello"] |= self._changes
            await self._connect()
        await self._call.write(ParseDict(said, pb.ConnectRequest()))

    async def _connect(self) -> None:
        self._channel = grpc.aio.insecure_channel(self._address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._call = pb_grpc.AgentServiceStub(self._channel).Connect(metadata=(("qgjob-agent-id", AGENT_ID),))
        self.heard = []
        self._reader = asyncio.create_task(self._read(self._call))

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            self.heard.append(message)

    def _of_now(self, recorded: dict[str, Any]) -> dict[str, Any]:
        """The message with the jobs, tokens and times of now."""
        text = json.dumps(recorded)
        for then, now in self._now.items():
            text = text.replace(f'"{then}"', f'"{now}"')
        moved: dict[str, Any] = json.loads(text, object_hook=self._later)
        return moved

    def _later(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {k: str(int(v) + self._later_ms) if k.endswith("_at_ms") else v for k, v in fields.items()}

    # Down.

    async def _hear(self, recorded: dict[str, Any]) -> None:
        """Waits until the coordinator has said what it said when this was recorded."""
        (kind,) = recorded.keys() - {"epoch"}
        body = recorded[kind]
        if kind == "assign":
            for assignment in body["assignments"]:
                await self._assigned(assignment)
        elif kind == "revoke":
            wanted = self._now[body["token"]]
            await self._until(recorded, lambda m: m.revoke.token == wanted or wanted in m.heartbeat_ack.revoked)
            self._revoked.add(wanted)
        elif kind == "report_ack":
            for entry in body["entries"]:
                await self._until(recorded, lambda m, entry=entry: entry in said(m.report_ack).get("entries", []))
        elif kind == "heartbeat_ack":
            await self._acknowledged(self._of_now(body))
        else:
            assert kind == "welcome", recorded
            welcome = (await self._until(recorded, lambda m: m.HasField("welcome"))).welcome
            assert list(welcome.adopted) == self._of_now(body).get("adopted", [])

    async def _acknowledged(self, wanted: dict[str, Any]) -> None:
        """The same words. What it was told to end may be named again: a report of its end may still be on its way."""
        seq = int(wanted["seq"])
        found = (await self._until(wanted, lambda m: m.heartbeat_ack.seq == seq)).heartbeat_ack
        revoked = [token for token in found.revoked if token not in self._revoked]
        assert said(pb.HeartbeatAck(seq=seq, revoked=revoked, released=found.released)) == wanted

    async def _assigned(self, recorded: dict[str, Any]) -> None:
        """The same test on the same device, with a token of now."""

        def look() -> pb.Assignment | None:
            all_ = [a for m in self.heard for a in m.assign.assignments]
            return next((a for a in all_ if a.test_path == recorded["test_path"]), None)

        found: pb.Assignment = await until(look, lambda: f"no {recorded} in {self.heard}")
        self._now |= {recorded["token"]: found.token, recorded["job_id"]: found.job_id}
        known = said(found)
        for field in recorded.keys() - {"job_id", "token"}:
            assert known[field] == recorded[field], field

    async def _until(self, recorded: object, wanted: Callable[[pb.ConnectResponse], bool]) -> pb.ConnectResponse:
        def look() -> pb.ConnectResponse | None:
            found = next((m for m in self.heard if wanted(m)), None)
            assert found or not any(m.HasField("refused") for m in self.heard), self.heard
            return found

        found: pb.ConnectResponse = await until(look, lambda: f"no {recorded} in {self.heard}")
        return found

    async def refused(self) -> pb.Refused:
        """The first Hello, and its refusal."""
        hello = next(line.what for line in self._lines if line.kind == "up")
        await self._say(hello)
        answer = await self._until("answer", lambda m: True)
        assert answer.HasField("refused"), answer
        return answer.refused
