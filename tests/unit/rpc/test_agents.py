"""The end of a session's stream, with a peer that does not read."""

from __future__ import annotations

import asyncio
import contextlib
import re
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import structlog

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.rpc import agents
from qgjob_coordinator.rpc.agents import AgentServicer
from qgjob_coordinator.service.agents import session as session_module
from qgjob_coordinator.service.agents.messages import Recall, Refused, RefusedReason
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.validation import MAX_SHOWN
from qgjob_proto.v1 import agent_pb2 as pb

HOUR_MS = 3_600_000
DEADLINE_SECONDS = 5.0


class Stuck:
    """The context of a stream whose peer says what the test says and takes nothing after `takes` messages."""

    def __init__(self, takes: int = 0) -> None:
        self.heard: asyncio.Queue[pb.ConnectRequest] = asyncio.Queue()
        self.said: list[pb.ConnectResponse] = []
        self._takes = takes

    async def read(self) -> pb.ConnectRequest:
        return await self.heard.get()

    async def write(self, message: pb.ConnectResponse) -> None:
        if len(self.said) == self._takes:
            await asyncio.Event().wait()
        self.said.append(message)


class Taking(Stuck):
    """One whose first read takes a cancel for itself, as a call to the store may that has just ended."""

    async def read(self) -> pb.ConnectRequest:
        with contextlib.suppress(asyncio.CancelledError):
            return await self.heard.get()
        return await self.heard.get()


class Stopped(Stuck):
    """One whose server has stopped."""

    async def read(self) -> pb.ConnectRequest:
        raise grpc.aio.BaseError("Server already stopped.")


class Broken(Stuck):
    """One whose peer has gone while it is written to: nothing of it can be written any more."""

    async def write(self, message: pb.ConnectResponse) -> None:
        raise grpc.aio.InternalError("Failed to write")


class Closed:
    """Sessions of which only the end matters."""

    def __init__(self) -> None:
        self.why = ""

    async def close(self, _live: Any, why: str) -> None:
        self.why = why


@pytest.fixture(autouse=True)
def short_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "FAREWELL_SECONDS", 0.02, raising=False)


async def _serve(session: Session, context: Stuck) -> str:
    closed = Closed()
    servicer: Any = AgentServicer(closed)  # type: ignore[arg-type]
    async with asyncio.timeout(DEADLINE_SECONDS):
        await servicer._serve(SimpleNamespace(session=session), context)
    return closed.why


def _session() -> Session:
    store: Any = None
    return Session("a1", 1, 10, store, Times(1_000, HOUR_MS, HOUR_MS, 1_000, HOUR_MS, 0))


async def test_a_peer_that_goes_while_it_is_written_to_is_no_fault_of_ours() -> None:
    session = _session()
    session.say(Recall(1, ("t",)))
    assert await _serve(session, Broken()) == "the stream broke"


async def test_a_session_that_was_ended_ends_also_when_its_agent_does_not_read() -> None:
    session = _session()
    session.say(Recall(1, ("t",)))
    asyncio.get_running_loop().call_later(0.02, session.end, Refused(RefusedReason.STALE_EPOCH, "a newer one"))
    assert await _serve(session, Stuck()) == "the session was ended, and the agent does not read"


async def test_an_agent_that_does_not_read_loses_its_session_when_too_much_waits_and_is_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "OUTBOX_MOST", 3)
    waiting = _session()
    for number in range(4):
        waiting.say(Recall(number, ("t",)))
        assert (waiting.refused is None) is (number < 3)
    assert len(waiting.outbox) == 3, "what is said after that is not kept"
    context = Stuck(takes=4)
    assert await _serve(waiting, context) == "the session was ended"
    assert [message.WhichOneof("body") for message in context.said] == [*["recall"] * 3, "refused"]
    assert context.said[-1].refused.reason == pb.REFUSED_REASON_STALE_EPOCH, "no reason for an agent to give up"

    stuck = _session()
    serving = asyncio.create_task(_serve(stuck, Stuck()))
    while stuck.refused is None:
        stuck.say(Recall(1, ("t",)))
        await asyncio.sleep(0)  # the writer takes what it can
    assert await serving == "the session was ended, and the agent does not read"


async def test_a_session_ends_also_when_what_it_does_takes_the_cancel() -> None:
    session = _session()
    session.end(Refused(RefusedReason.GOING_AWAY, "stops"))
    assert await _serve(session, Taking(takes=1)) == "the session was ended"


async def test_a_stream_whose_server_has_stopped_ends_as_any_other() -> None:
    assert await _serve(_session(), Stopped()) == "the stream ended"


async def test_an_agent_that_reads_is_told_why() -> None:
    session = _session()
    session.end(Refused(RefusedReason.GOING_AWAY, "stops"))
    context = Stuck(takes=1)
    assert await _serve(session, context) == "the session was ended"
    assert context.said[0].refused.reason == pb.REFUSED_REASON_GOING_AWAY


async def test_nonsense_is_answered_after_what_was_to_be_said_and_ends_the_session() -> None:
    session, context = _session(), Stuck(takes=2)
    session.say(Recall(1, ("t",)))
    context.heard.put_nowait(pb.ConnectRequest(epoch=1, heartbeat=pb.Heartbeat(held=[pb.HeldAttempt(job_id="none")])))
    with pytest.raises(InvalidError, match=r"held\[0\]\.job_id: 'none' is not a job id"):
        await _serve(session, context)
    assert [message.WhichOneof("body") for message in context.said] == ["recall", "refused"]
    assert context.said[1].refused.reason == pb.REFUSED_REASON_INVALID


async def test_nonsense_ends_the_session_also_when_its_agent_does_not_read() -> None:
    session, context = _session(), Stuck()
    context.heard.put_nowait(pb.ConnectRequest(epoch=1, heartbeat=pb.Heartbeat(held=[pb.HeldAttempt(job_id="none")])))
    with pytest.raises(InvalidError, match=r"held\[0\]\.job_id: 'none' is not a job id"):
        await _serve(session, context)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (pb.RecallAnswer(recall_id=2**53), "recall_answer.recall_id: "),
        (pb.RecallAnswer(recall_id=1, released=["t1", ""]), "recall_answer.released[1]: is empty"),
        (pb.RecallAnswer(recall_id=1, released=["t1", "t2", "t1"]), "recall_answer.released[2]: is there twice: 't1'"),
    ],
    ids=("number", "empty", "repeated"),
)
async def test_an_answer_to_a_recall_that_is_none_ends_the_session_before_anything_is_released(
    answer: pb.RecallAnswer, why: str
) -> None:
    session, context = _session(), Stuck(takes=1)
    context.heard.put_nowait(pb.ConnectRequest(epoch=1, recall_answer=answer))
    with pytest.raises(InvalidError, match=re.escape(why)):
        await _serve(session, context)
    assert context.said[0].refused.reason == pb.REFUSED_REASON_INVALID


@pytest.mark.parametrize(("said", "logged"), [("the agent shuts down", None), ("a\x1b[2J\nb 'c'", "a [2J b 'c'")])
async def test_why_an_agent_leaves_is_logged_as_one_line_and_not_quoted(said: str, logged: str | None) -> None:
    context = Stuck()
    context.heard.put_nowait(pb.ConnectRequest(epoch=1, bye=pb.Bye(reason=said)))
    with structlog.testing.capture_logs() as lines:
        assert await _serve(_session(), context) == "the stream ended"
    assert [line["reason"] for line in lines if line["event"] == "agent_leaves"] == [logged or said]


@pytest.mark.parametrize(("agent_id", "logged"), [("agent-2", "agent-2"), ("a\x1b[2J", "a\\x1b[2J"), ("x" * 999, None)])
async def test_who_is_turned_away_is_logged_without_quotes_of_our_own(agent_id: str, logged: str | None) -> None:
    context: Any = Stuck(takes=1)
    context.heard.put_nowait(pb.ConnectRequest(epoch=1, hello=pb.Hello(agent_id=agent_id)))
    context.invocation_metadata = lambda: ()
    away = SimpleNamespace(turned_away=lambda *_: None)
    servicer = AgentServicer(SimpleNamespace(attendance=away))  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as lines, pytest.raises(InvalidError):
        await servicer.Connect(None, context)  # type: ignore[arg-type]
    (told,) = [line["agent_id"] for line in lines if line["event"] == "session_refused"]
    assert told == logged if logged else len(told) <= MAX_SHOWN
