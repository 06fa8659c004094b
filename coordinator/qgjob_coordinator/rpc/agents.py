"""AgentService: one stream, one session."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import structlog

from qgjob_coordinator.errors import InvalidError, StoreUnavailableError
from qgjob_coordinator.rpc import agent_wire, agent_wire_out
from qgjob_coordinator.rpc.peer import told
from qgjob_coordinator.rpc.status import abort_plainly
from qgjob_coordinator.service.agents import messages as m
from qgjob_coordinator.service.agents.hello import RefusedError
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.validation import as_one_line, check_id, entry, shown
from qgjob_coordinator.tasks import end_tasks
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import agent_pb2_grpc

HELLO_SECONDS = 10.0
FAREWELL_SECONDS = 2.0
"""An agent that does not read may be told so long why its session ended."""
STORE_PAUSE_SECONDS = 0.1

Context = grpc.aio.ServicerContext[pb.ConnectRequest, pb.ConnectResponse]
IDENTITY = "qgjob-agent-id"
"""Metadata of Connect: who calls, for what stands before the stream is read."""
log = structlog.get_logger(__name__)


class AgentServicer(agent_pb2_grpc.AgentServiceServicer):
    """The method of qgjob.v1.AgentService."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._passed_over: weakref.WeakSet[LiveSession] = weakref.WeakSet()  # those whose agents are newer

    async def Connect(  # type: ignore[override]  # noqa: N802 - writes to the context instead of yielding
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: Context
    ) -> None:
        """A session from its Hello to its end; whichever side ends first."""
        first = await self._hello(context)
        if first is None:
            return
        agent_id = entry("", first.hello.agent_id)
        try:
            _check_identity(first.hello.agent_id, context)
            hello = agent_wire.hello_in(first.epoch, first.hello)
            live = await self._sessions.open(hello)
        except RefusedError as e:
            log.warning("session_refused", agent_id=agent_id, epoch=first.epoch, why=e.refused.message)
            self._sessions.attendance.turned_away(agent_id, e.refused, wall_ms())
            await context.write(agent_wire_out.down(first.epoch, e.refused))
            return
        except InvalidError as e:
            log.warning("session_refused", agent_id=agent_id, epoch=first.epoch, why=e.message)
            refused = m.Refused(m.RefusedReason.INVALID, e.message)
            self._sessions.attendance.turned_away(agent_id, refused, wall_ms())
            await context.write(agent_wire_out.down(first.epoch, refused))
            raise
        await self._serve(live, context)

    async def _hello(self, context: Context) -> pb.ConnectRequest | None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first: Any = await context.read()
        except TimeoutError:
            await abort_plainly(context, grpc.StatusCode.DEADLINE_EXCEEDED, "no Hello came")
        if first is grpc.aio.EOF:
            return None
        if first.WhichOneof("body") != "hello":
            error = InvalidError("hello", "must be the first message")
            await context.write(agent_wire_out.down(first.epoch, m.Refused(m.RefusedReason.INVALID, error.message)))
            raise error
        message: pb.ConnectRequest = first
        return message

    async def _serve(self, live: LiveSession, context: Context) -> None:
        """Reads until the stream or the session ends; the writer runs beside it.

        Raises InvalidError for what may not be said, when the agent was told or does not read.
        """
        reader = asyncio.create_task(self._read(live, context))
        writer = asyncio.create_task(told(self._write(live, context)))
        why = "the stream broke"
        try:
            why = await self._until_over(live.session, reader, writer)
        except (asyncio.CancelledError, grpc.aio.UsageError):
            pass  # the peer went, maybe while it was written to
        except InvalidError as e:
            why = e.message
            live.session.end(m.Refused(m.RefusedReason.INVALID, why))
            await asyncio.wait({writer}, timeout=FAREWELL_SECONDS)
            raise
        finally:
            await end_tasks((reader, writer))
            await self._sessions.close(live, why)

    async def _until_over(self, session: Session, reader: asyncio.Task[None], writer: asyncio.Task[None]) -> str:
        """Why the session is over. Raises what the reader or the writer raised."""
        pause = min(FAREWELL_SECONDS, session.times.session_timeout_ms / 1000)
        leaving = False
        while True:
            done, _ = await asyncio.wait({reader, writer}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if done:
                return "the stream ended" if reader in done else "the session was ended"
            # A stream whose peer is gone is not always ended: the silence tells.
            if session.silent_ms() > session.times.lease_ms:
                return "no heartbeat came for a whole lease"
            if leaving:
                return "the session was ended, and the agent does not read"
            leaving = session.refused is not None

    async def _write(self, live: LiveSession, context: Context) -> None:
        """Takes messages from the session's outbox to the stream."""
        session = live.session
        while True:
            await session.outbox_ready.wait()
            session.outbox_ready.clear()
            while session.outbox:
                batch = list(session.outbox)
                session.outbox.clear()
                for message in agent_wire_out.packed(session.epoch, batch):
                    await context.write(message)
            if session.refused is not None:
                await context.write(agent_wire_out.down(session.epoch, session.refused))
                return

    async def _read(self, live: LiveSession, context: Context) -> None:
        """Takes what comes until the stream ends."""
        epoch = live.session.epoch
        while True:
            try:
                message: Any = await context.read()
            except grpc.aio.BaseError as e:  # the server has stopped, and every stream with it
                log.debug("stream_broke", agent_id=live.session.agent_id, error=str(e))
                return
            if message is grpc.aio.EOF:
                return
            if message.epoch != epoch:
                continue
            kind = message.WhichOneof("body")
            if kind == "reports":
                for installed in message.reports.installed:
                    live.installed(agent_wire.installed_in(installed))
                await live.reports(self._reports_in(live, message.reports.reports))
            elif kind == "log":
                live.log(agent_wire.piece_in(message.log))
            elif kind is None:
                self._pass_over(live, "message")
            elif kind == "bye":
                log.info("agent_leaves", agent_id=live.session.agent_id, reason=as_one_line(message.bye.reason))
                return
            else:
                await self._other(live, kind, message)

    def _reports_in(self, live: LiveSession, reports: Iterable[pb.Report]) -> list[m.Report]:
        """Those that can be kept; of the others, the kinds that are unknown and what breaks a rule are told."""
        taken: list[m.Report] = []
        refused: list[tuple[pb.Report, InvalidError]] = []
        for r in reports:
            try:
                report = agent_wire.report_in(r)
            except InvalidError as e:
                refused.append((r, e))
                continue
            if report is None:
                self._pass_over(live, "report")
            else:
                taken.append(report)
        if refused:
            _refuse(live.session, refused)
        return taken

    def _pass_over(self, live: LiveSession, what: str) -> None:
        """A kind that a newer agent has: the rest of what it says is understood, and said once is enough."""
        if live not in self._passed_over:
            self._passed_over.add(live)
            what_to_do = "the agent is newer; upgrade this coordinator"
            log.warning("unknown_message", agent_id=live.session.agent_id, what=what, what_to_do=what_to_do)

    async def _other(self, live: LiveSession, kind: str, message: pb.ConnectRequest) -> None:
        """Messages that are rare. A store that is away delays them: the stream backs up, nothing is lost."""
        while True:
            try:
                if kind == "heartbeat":
                    seq = agent_wire.within("seq", message.heartbeat.seq)
                    held = agent_wire.held_in(message.heartbeat.held)
                    await live.heartbeat(seq, held, message.heartbeat.sent_at_ms)
                elif kind == "inventory":
                    changed = agent_wire.devices_in("changed", message.inventory.changed)
                    await live.inventory(changed, list(message.inventory.gone))
                elif kind == "installed":
                    live.installed(agent_wire.installed_in(message.installed))
                elif kind == "probe_result":
                    p = message.probe_result
                    check_id("probe_result.device_id", p.device_id)
                    live.probed(p.device_id, agent_wire.health_in(p.health), as_one_line(p.reason) or None)
                elif kind == "recall_answer":
                    number, released = agent_wire.recall_answer_in(message.recall_answer)
                    await live.recalls.answered(number, released)
                else:
                    self._pass_over(live, kind)
            except StoreUnavailableError as e:
                if kind == "heartbeat":
                    log.warning("heartbeat_not_stored", agent_id=live.session.agent_id, error=e.message)
                    return  # not confirmed: the next one is a few seconds away
                await asyncio.sleep(STORE_PAUSE_SECONDS)
            else:
                return


def _refuse(session: Session, refused: Iterable[tuple[pb.Report, InvalidError]]) -> None:
    """Acknowledges reports that break a rule, so that they leave the agent's spool.

    Ending the session would bring them again in the next one, and lose a whole host for one line of its spool. An
    attempt whose last report this was is soon one that the agent does not show, and settled as such.
    """
    for r, e in refused:
        log.error("report_refused", agent_id=session.agent_id, job_id=entry("", r.job_id), field=e.field, why=e.reason)
    session.say(m.ReportAck(tuple((r.report_id, m.Verdict.STALE) for r, _ in refused)))


def _check_identity(agent_id: str, context: Context) -> None:
    """Raises InvalidError unless the metadata name the agent that says Hello."""
    named = [value for name, value in context.invocation_metadata() or () if name == IDENTITY]
    if not named:
        raise InvalidError(IDENTITY, "is missing in the metadata; send the agent_id of the Hello in it")
    if named != [agent_id]:
        raise InvalidError(IDENTITY, f"is {shown(named[0])}, but the Hello is of {shown(agent_id)}; send one agent_id")
