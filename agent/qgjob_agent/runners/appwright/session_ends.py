"""The sessions that runs leave: verdicts of attempts on devices of a cloud wait until theirs are settled there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.executions import names
from qgjob_agent.host.plain_file import text_of
from qgjob_agent.hub_address import Address
from qgjob_agent.runners.appwright.hub import forget_sessions
from qgjob_agent.runners.appwright.run import PLAN_FILE

if TYPE_CHECKING:
    import asyncio

    from qgjob_agent.core.events import AttemptEvent
    from qgjob_agent.devices.cloud import Asked, Cloud
    from qgjob_agent.runners.appwright.cloud import Desk
    from qgjob_agent.runners.appwright.run import Run
    from qgjob_agent.runners.base import Sink
    from qgjob_agent.runners.work import Work


class SessionEnds:
    """Tells the sink of the events of runs, those of devices in `cloud` when that has said what it has to."""

    def __init__(self, cloud: Cloud | None, sink: Sink, work: Work, log: Any) -> None:
        self._cloud = cloud
        self._sink = sink
        self._work = work
        self._log = log
        self._concluding: dict[str, tuple[asyncio.Task[None], AttemptFinished]] = {}  # by token

    def answer(self, run: Run) -> None:
        """The sessions that the run asks for."""
        desk = run.desk
        if desk is None:
            return
        for number, asked in desk.open:
            self._work.spawn(self._answer_one(desk, number, asked), "appwright-session")

    async def _answer_one(self, desk: Desk, number: int, asked: Asked) -> None:
        try:
            await desk.answer(number, asked)
        except OSError as error:  # the disk, or the run has gone; the test's own limits end it
            self._log.warning("appwright_session_not_told", token=asked.assignment.token, error=str(error))

    def report(self, run: Run, events: list[AttemptEvent]) -> None:
        """Tells what happened. The verdict of an attempt that had sessions in a cloud waits until these are settled."""
        if run.desk is None or self._cloud is None:
            self._sink.report(events)
            return
        now: list[AttemptEvent] = []
        for event in events:
            index = run.index_of(event.token)
            if isinstance(event, AttemptFinished | AttemptKilled) and index is not None:
                if left := run.desk.leave(index):
                    self._work.spawn(self._cloud.end(left), "appwright-left")
                if isinstance(event, AttemptFinished) and (ids := run.desk.had(index)):
                    task = self._work.spawn(self._conclude(self._cloud, run, index, event, ids), "appwright-conclude")
                    self._concluding[event.token] = (task, event)
                    continue
            now.append(event)
        if now:
            self._sink.report(now)

    async def _conclude(
        self, cloud: Cloud, run: Run, index: int, event: AttemptFinished, session_ids: list[str]
    ) -> None:
        finished = await cloud.conclude(session_ids, event.finished, run.execution.files_of(index))
        del self._concluding[event.token]
        self._sink.report([AttemptFinished(event.token, finished)])

    def hurry(self, token: str) -> None:
        """An attempt is to end now: a verdict that waits is told as it is."""
        if token in self._concluding:
            task, event = self._concluding.pop(token)
            task.cancel()
            self._sink.report([event])

    async def close(self, run: Run) -> None:
        """Nothing of a run lives: ends the sessions that it left."""
        if run.desk is not None and self._cloud is not None:
            if left := run.desk.close():
                await self._cloud.end(left)
        elif not run.done:
            await self._forget_sessions(run)

    async def _forget_sessions(self, run: Run) -> None:
        """A run that was ended in the middle leaves its session behind, and a device can have one at a time."""
        try:
            told = json.loads(text_of(run.execution.path / PLAN_FILE, names.MOST_BYTES))
            address = Address.of_options(told["appium"]) if told["appium"] else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return  # it has not come so far, or a test has overwritten it
        if address is not None:
            count = await forget_sessions(address, run.device.udid)
            self._log.info("appium_sessions_forgotten", device_id=run.device.device_id, count=count)
