"""Records an agent of another version: `python -m tests.skew.record FILE --agent CHECKOUT`.

CHECKOUT is a working tree of the version. Its agent is run against this version's coordinator, through a proxy that
writes down what both say. Names of the host are replaced; tokens and ids are what the store of that moment made.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from qgjob import AsyncClient, JobSpec
from qgjob_proto.v1 import agent_pb2 as pb
from tests.fakes.program import Program
from tests.fakes.stack import Stack, Times
from tests.fakes.waiting import until
from tests.skew.transcript import AGENT_ID, DEVICE_ID, ORG, SCRIPTS, Line, said, write

METHOD = "/qgjob.v1.AgentService/Connect"
TIMES = Times(heartbeat=0.5, session=15.0, lease=60.0)


class Recorder(grpc.GenericRpcHandler):
    """A proxy for one coordinator."""

    def __init__(self, target: str) -> None:
        self.lines: list[Line] = []
        self.streams = 0
        self._target = target
        self._call: Any = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._connect) if handler_call_details.method == METHOD else None

    def note(self, kind: str, what: Any) -> None:
        self.lines.append(Line(time.time_ns() // 1_000_000, kind, what))

    def break_stream(self) -> None:
        """As when the network fails: neither side says anything more."""
        self.note("do", ["break", ""])
        self._call.cancel()

    async def _connect(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async with grpc.aio.insecure_channel(self._target) as channel:
            metadata = [(k, v) for k, v in context.invocation_metadata() if k.startswith("qgjob-")]
            call = self._call = channel.stream_stream(METHOD)(self._up(requests), metadata=metadata)
            self.streams += 1
            try:
                async for raw in call:
                    self.note("down", said(pb.ConnectResponse.FromString(raw)))
                    yield raw
            except asyncio.CancelledError:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream broke")

    async def _up(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for raw in requests:
            message = pb.ConnectRequest.FromString(raw)
            if message.HasField("hello"):
                message.hello.host = "host-1"
                message.hello.instance_id = "home.life"
            self.note("up", said(message))
            yield raw


async def record(folder: Path, checkout: Path) -> list[Line]:
    """The whole talk."""
    stack = Stack(folder / "stack", coordinators=1, agents=(), times=TIMES)
    await stack.start()
    recorder = Recorder(stack.address(0))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((recorder,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    agent = Program(AGENT_ID, "qgjob_agent", folder / "agent", _settings(folder, checkout, port))
    agent.start()
    try:
        async with stack.client() as client:
            await _play(client, recorder, agent)
    finally:
        await agent.end()
        await server.stop(None)
        await stack.stop()
    return recorder.lines


def _settings(folder: Path, checkout: Path, port: int) -> dict[str, object]:
    return {
        "PYTHONPATH": os.pathsep.join(str(checkout / part) for part in ("agent", "proto/generated")),
        "QGJOB_COORDINATOR": f"127.0.0.1:{port}",
        "AGENT_ID": AGENT_ID,
        "STATE_DIR": folder / "state",
        "ENVIRONMENT": "production",
        "RUNNER": "command",
        "COMMAND_ARGV": """sh -c 'exec sh -c "$TEST"'""",
        "SIMULATED_GENERATE_COUNT": 1,
        "SIMULATED_GENERATE_PREFIX": DEVICE_ID.removesuffix("1"),
        "SIMULATED_GENERATE_TARGET": "device",
        "SIMULATED_INSTALL_SECONDS": 0.05,
    }


async def _play(client: AsyncClient, recorder: Recorder, agent: Program) -> None:
    jobs: dict[str, str] = {}

    async def submit(test: str) -> None:
        recorder.note("do", ["submit", test])
        jobs[test] = (await client.submit(job_of(test))).job_id

    async def when(test: str, reached: Callable[[Any], bool]) -> None:
        async def look() -> bool:
            return reached(await client.get(jobs[test]))

        await until(look, lambda: f"{test} does not get so far:\n{agent.said()}")

    for test in ("passes.js", "fails.js"):
        await submit(test)
        await when(test, lambda job: job.completed_at is not None)
    await submit("is-cancelled.js")
    await when("is-cancelled.js", lambda job: job.status == "running")
    recorder.note("do", ["cancel", "is-cancelled.js"])
    await client.cancel(jobs["is-cancelled.js"])
    await when("is-cancelled.js", lambda job: job.attempts[0].ended_at is not None)
    await submit("outlives-its-stream.js")
    await when("outlives-its-stream.js", lambda job: job.status == "running")
    recorder.break_stream()
    await until(lambda: recorder.streams > 1, "the agent does not come again")
    await agent.says("session_opened", times=2)
    (agent.folder / "go").touch()
    await when("outlives-its-stream.js", lambda job: job.completed_at is not None)
    await asyncio.sleep(3 * TIMES.heartbeat)  # for some heartbeats of an agent that holds nothing
    agent.terminate()
    await agent.exit_code()


def job_of(test: str) -> JobSpec:
    """The job as it was recorded, and as it is submitted when the recording is played."""
    return JobSpec(
        org_id=ORG,
        app_version_id="v1",
        test_path=test,
        target="device",
        max_retries=0,
        env={"TEST": SCRIPTS[test]},
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.skew.record", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--agent", type=Path, required=True, metavar="CHECKOUT")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qgjob-skew-") as name:
        write(options.file, asyncio.run(record(Path(name), options.agent.resolve())))


if __name__ == "__main__":
    main()
