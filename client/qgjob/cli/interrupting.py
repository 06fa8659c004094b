"""What an interrupt does with the jobs of a command: they are told of, or cancelled and told of what is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from qgjob._errors import ConflictError, NotFoundError, QgjobError
from qgjob._keeping_runs import ends_refused
from qgjob._wire_jobs import read_jobs
from qgjob.cli.bonds import bound
from qgjob.cli.limit import NONE, Limit
from qgjob.cli.runner import tell
from qgjob.cli.waiting import command_on

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Job
    from qgjob._submitting import Submitting
    from qgjob._wire_submit import JobMessage
    from qgjob.cli.verdicts import Goal

# How long the cancellation of what is left may take after Ctrl-C, and of that what is waited for calls on their way.
CANCEL_SECONDS = 10.0
ANSWER_SECONDS = 5.0
CALLS_AT_ONCE = 8
NAMED = 5
REASON = "the waiting command was interrupted"


async def interrupted(client: AsyncClient, goal: Goal, jobs: dict[str, Job]) -> None:
    """Say what becomes of the jobs that are waited for, and with --cancel-on-interrupt end them."""
    if not goal.cancel_on_interrupt:
        tell(f"interrupted; the jobs go on. To resume: {goal.resume}")
        return
    tell("interrupted; cancelling the jobs")
    await _Ending(client, lambda: goal, jobs).run()


async def submitted(
    client: AsyncClient, submitting: Submitting, goal_of: Callable[[Sequence[Job]], Goal], limit: Limit = NONE
) -> tuple[Job, ...]:
    """The jobs, when all are submitted. `goal_of`: what those that are answered so far are waited for.

    An interrupt sends no more of them. With --cancel-on-interrupt it ends those that the coordinators have: calls on
    their way are waited for, since they may be taken without an answer. Raises TimeoutError at the `limit`, when what
    is known of them has been told, and every error of a call likewise: what others answered stands.
    """
    sending = asyncio.ensure_future(submitting.run())
    try:
        async with limit.block():
            return read_jobs(await asyncio.shield(sending))
    except TimeoutError:
        submitting.stop()
        _tell_how_far(f"{limit.seconds:g} s are over", submitting, goal_of)
        raise
    except asyncio.CancelledError as error:
        submitting.stop()
        if ends_refused(error):
            raise
        await _interrupted_in_submission(client, submitting, sending, goal_of)
        raise
    except QgjobError as error:
        if submitting.begun:
            _tell_how_far("not all could be submitted", submitting, goal_of)
            goal = goal_of(read_jobs(submitting.answered))
            if goal.run is not None and goal.bond is not None:
                tell(bound(error, goal.run[1], goal.bond))
        raise
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _interrupted_in_submission(
    client: AsyncClient,
    submitting: Submitting,
    sending: asyncio.Future[list[JobMessage]],
    goal_of: Callable[[Sequence[Job]], Goal],
) -> None:
    if submitting.begun:
        goal = goal_of(read_jobs(submitting.answered))
        if goal.cancel_on_interrupt:
            tell(f"interrupted; {len(submitting.answered)} of {submitting.total} jobs are submitted; cancelling them")
            await _Ending(client, lambda: goal_of(read_jobs(submitting.answered)), {}, submitting, sending).run()
            return
    _tell_how_far("interrupted", submitting, goal_of)


def _tell_how_far(why: str, submitting: Submitting, goal_of: Callable[[Sequence[Job]], Goal]) -> None:
    """What is submitted, what may be, and the command that waits for both: their ids were made here."""
    answered, late = [job.job_id for job in submitting.answered], submitting.unanswered
    if not submitting.begun:
        tell(f"{why}; nothing was submitted")
        return
    goal = goal_of(read_jobs(submitting.answered))
    more = f", and {len(late)} more may be" if late else ""
    resume = command_on("wait", tuple(dict.fromkeys([*answered, *late])), goal.run, goal.coordinator)
    tell(f"{why}; {len(answered)} of {submitting.total} jobs are submitted{more}; they go on. To resume: {resume}")
    if late:
        tell("what did not get there is not found then; the command that was given submits it")


class _Ending:
    """Cancels what a command asked for, in a bounded time; at any moment it can say what is not cancelled yet."""

    def __init__(
        self,
        client: AsyncClient,
        goal: Callable[[], Goal],
        jobs: dict[str, Job],
        submitting: Submitting | None = None,
        sending: asyncio.Future[list[JobMessage]] | None = None,
    ) -> None:
        self._client = client
        self._goal = goal
        self._jobs = jobs
        self._submitting = submitting
        self._sending = sending
        self._over: set[str] = set()
        self._run_is_over = False

    async def run(self) -> None:
        """A second interrupt ends it at once."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._cancel()
        except (QgjobError, TimeoutError) as error:
            tell(f"{self._missing()}: {str(error) or 'no answer in time'}")
        except asyncio.CancelledError as error:
            if not ends_refused(error):
                tell("interrupted again; leaving at once")
            raise
        finally:
            for line in self._left():
                tell(line)

    async def _cancel(self) -> None:
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=ANSWER_SECONDS)
            self._sending.cancel()
        goal = self._goal()
        if goal.run is not None:
            await self._cancel_run(*goal.run)
        else:
            rounds = {job_id: self._jobs[job_id].round for job_id in self._own() if job_id in self._jobs}
            cancelled = await cancel_each(self._client, self._own(), rounds, REASON, self._over.add)
            tell(f"{_jobs(cancelled)} cancelled")
        if goal.run is not None and goal.bond is not None and not self._unanswered():
            # Or who retries the run in the meantime would have it cancelled again.
            with contextlib.suppress(NotFoundError):
                await self._client.keep_run(*goal.run, goal.bond, release=True)

    async def _cancel_run(self, org_id: str, run_id: str) -> None:
        try:
            selection = await self._client.cancel_many(org_id, run_id=run_id, reason=REASON)
        except NotFoundError:
            tell(f"no job of run {run_id} is there to cancel")
        else:
            shared = f"; {_jobs(selection.detached)} that others share left it" if selection.detached else ""
            tell(f"{_jobs(selection.count)} of run {run_id} cancelled{shared}")
        self._run_is_over = True

    def _own(self) -> list[str]:
        """Ids of this command's jobs that may be unfinished."""
        own = [*self._goal().own, *self._unanswered()]
        return [job_id for job_id in own if not (job_id in self._jobs and self._jobs[job_id].final)]

    def _unanswered(self) -> list[str]:
        return self._submitting.unanswered if self._submitting is not None else []

    def _missing(self) -> str:
        """What could not be done."""
        goal = self._goal()
        if goal.run is None or goal.bond is None or not self._run_is_over or self._unanswered():
            return "not all jobs could be cancelled"
        bound = f"run {goal.run[1]} stays bound to this command for {goal.bond.after_seconds:g} s"
        return f"{bound}, and is cancelled again then"

    def _left(self) -> list[str]:
        """What may go on, and how to end it."""
        goal = self._goal()
        if goal.run is not None:
            late = self._unanswered()
            if self._run_is_over and not late:
                return []
            what = (
                f"{_jobs(len(late))} of it sent and not answered"
                if self._run_is_over
                else "it may have unfinished jobs"
            )
            if goal.bond is not None:
                return [f"run {goal.run[1]}: {what}; they are cancelled in {goal.bond.after_seconds:g} s"]
            return [f"run {goal.run[1]}: {what}; to cancel: {command_on('cancel', (), goal.run, goal.coordinator)}"]
        left = [job_id for job_id in self._own() if job_id not in self._over]
        lines = [
            f"job {each} may go on; to cancel it: {command_on('cancel', (each,), None, goal.coordinator)}"
            for each in left
        ]
        more = [f"{_jobs(len(left) - NAMED)} more may go on"] if len(left) > NAMED else []
        return lines[:NAMED] + more


async def cancel_each(
    client: AsyncClient, job_ids: Iterable[str], rounds: dict[str, int], reason: str, over: Callable[[str], object]
) -> int:
    """Cancel jobs one by one, some at a time, each in its round where that is known; returns how many were.

    `over` is told of each that needs nothing more. Raises the first error when all were tried.
    """
    limit = asyncio.Semaphore(CALLS_AT_ONCE)

    async def cancel(job_id: str) -> bool:
        async with limit:
            meant = rounds.get(job_id)
            try:
                if meant is None:
                    job = await client.get(job_id)
                    if job.job_id != job_id or job.final:  # an equal job of somebody else was answered for it
                        over(job_id)
                        return False
                    meant = job.round
                await client.cancel(job_id, round=meant, reason=reason)
            except (ConflictError, NotFoundError) as error:
                if isinstance(error, ConflictError) or job_id in rounds:
                    over(job_id)  # it got its verdict in the meantime
                return False
            over(job_id)
            return True

    done = await asyncio.gather(*map(cancel, job_ids), return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return done.count(True)


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
