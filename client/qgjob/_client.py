"""The asynchronous client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self, overload

from qgjob import _following, _watching, _wire_fleet, _wire_jobs, _wire_requests
from qgjob._addresses import DEFAULT_PORT
from qgjob._artifact_calls import ArtifactCalls
from qgjob._build_calls import BuildCalls
from qgjob._coalesce import Coalescer
from qgjob._enums import FindingLevel
from qgjob._errors import ProtocolError, QgjobError, UnavailableError, WaitTimeoutError
from qgjob._failover import RECONNECT_SECONDS, TIMEOUT_SECONDS, Failover, Patience, parse_addresses
from qgjob._fleet import Health
from qgjob._fleet_calls import FleetCalls
from qgjob._ids import new_job_id
from qgjob._job_calls import JobCalls
from qgjob._keeping_runs import kept
from qgjob._models import Bond, Job, JobRef, JobSpec, LogChunk, WatchEvent
from qgjob._submitting import Submitting
from qgjob._suite_calls import SuiteCalls
from qgjob._transport import HEALTH_CHECK, GrpcTransport
from qgjob._wire_submit import JobMessage, SubmitJobRequest, write_spec, write_submit_jobs

if TYPE_CHECKING:
    from qgjob._transport import Transport

View = Literal["full", "ids"]
DEFAULT_COORDINATOR = f"localhost:{DEFAULT_PORT}"
REASON_SECONDS = 2.0

_Submissions = Coalescer[SubmitJobRequest, JobMessage]


class AsyncClient(JobCalls, FleetCalls, BuildCalls, ArtifactCalls, SuiteCalls):
    """A client of the coordinators at `coordinator` (host[:port]; several with commas between fail over).

    Without it, QGJOB_COORDINATOR is taken, else localhost:50051; `token` likewise from QGJOB_TOKEN. `timeout_seconds`
    bounds a call with all its repeats, `reconnect_seconds` how long a watch or a wait outlives coordinators that are
    all away, once one has answered this client. `on_trouble` is told of each try that failed for that. Use it as an
    async context manager, in one event loop.

    Every method raises errors of `QgjobError`'s tree. Calls are repeated when a coordinator is away, and nothing takes
    effect twice by that: submissions carry job ids made here, cancel and retry the round that they mean.
    """

    def __init__(
        self,
        coordinator: str | None = None,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        reconnect_seconds: float = RECONNECT_SECONDS,
        transports: Sequence[Transport] | None = None,
        on_trouble: Callable[[UnavailableError], None] | None = None,
    ) -> None:
        if transports is None:
            token = token if token is not None else os.environ.get("QGJOB_TOKEN")
            addresses = parse_addresses(coordinator or os.environ.get("QGJOB_COORDINATOR") or DEFAULT_COORDINATOR)
            transports = [GrpcTransport(address, token=token) for address in addresses]
        patience = Patience(timeout_seconds=timeout_seconds, reconnect_seconds=reconnect_seconds)
        self._source = Failover(transports, patience, on_trouble)
        self._submissions: dict[tuple[str, str], _Submissions] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for the submissions under way, then close the connections."""
        try:
            await asyncio.gather(*[queue.drain() for queue in self._submissions.values()])
        finally:
            await self._source.close()

    @property
    def address(self) -> str:
        """The coordinator that is asked next."""
        return self._source.address

    # --- submitting ---------------------------------------------------------------------------------------------------

    @overload
    async def submit(self, spec: JobSpec, *, view: Literal["full"] = "full") -> Job: ...
    @overload
    async def submit(self, spec: JobSpec, *, view: Literal["ids"]) -> JobRef: ...
    @overload
    async def submit(self, spec: JobSpec, *, view: View) -> Job | JobRef: ...

    async def submit(self, spec: JobSpec, *, view: View = "full") -> Job | JobRef:
        """Submit one job. Calls that are in flight together share requests, and still fail each for its own.

        The answer is the job, or with `view="ids"` (cheaper for the coordinator) a reference to it. An equal unfinished
        job is answered instead of a new one, as `deduplicated`.
        """
        request = write_spec(spec, spec.job_id or new_job_id(spec.org_id))
        queue = self._submissions.get((request.org_id, view)) or self._open_submissions(request.org_id, view)
        message = await queue.put(request)
        return _wire_jobs.read_job(message) if view == "full" else _wire_jobs.read_ref(message)

    @overload
    async def submit_many(
        self, specs: Iterable[JobSpec], *, view: Literal["full"] = "full", bond: Bond | None = None
    ) -> tuple[Job, ...]: ...
    @overload
    async def submit_many(
        self, specs: Iterable[JobSpec], *, view: Literal["ids"], bond: Bond | None = None
    ) -> tuple[JobRef, ...]: ...
    @overload
    async def submit_many(
        self, specs: Iterable[JobSpec], *, view: View, bond: Bond | None = None
    ) -> tuple[Job, ...] | tuple[JobRef, ...]: ...

    async def submit_many(
        self, specs: Iterable[JobSpec], *, view: View = "full", bond: Bond | None = None
    ) -> tuple[Job, ...] | tuple[JobRef, ...]:
        """Submit many jobs, of any orgs; the answers are in their order.

        Up to 1,000 jobs of one org (and 1 MB) are one call: all or nothing. More are several calls; when one is refused
        the others stand. What a run supersedes is cancelled when all of its jobs are accepted. An error's field is
        `jobs[i].…`, `i` counted in `specs`.

        With a `bond` the runs of the jobs, each of which needs one, are cancelled when this client goes away: do it,
        and all that waits for the jobs, within `kept`.
        """
        answers = await self._submitting(specs, view, bond).run()
        if view == "full":
            return _wire_jobs.read_jobs(answers)
        return tuple([_wire_jobs.read_ref(message) for message in answers])

    def _submitting(self, specs: Iterable[JobSpec], view: View, bond: Bond | None) -> Submitting:
        async def send(requests: Sequence[SubmitJobRequest], more_follows: bool) -> Sequence[JobMessage]:
            return await self._send_jobs(requests, view, more_follows=more_follows, bond=bond)

        return Submitting([write_spec(spec, spec.job_id or new_job_id(spec.org_id)) for spec in specs], send)

    def kept(
        self, org_id: str, run_id: str, bond: Bond, *, on_trouble: Callable[[QgjobError], None] | None = None
    ) -> AbstractAsyncContextManager[None]:
        """A block in which the client shows that it lives, for a run that a submission binds to it by the same `bond`.

        When the block ends, the jobs go on by themselves. When it ends with an error, or with its process, what the run
        has unfinished is cancelled `bond.after_seconds` later. A coordinator that is away cancels nothing.

        A sign of life that is answered with an error is followed by the next one; `on_trouble` is told once of each
        such error, without it the log `qgjob` is. What would be answered to each of them ends the block with its error:
        UnsupportedError, InvalidError, NotAuthenticatedError, ForbiddenError.
        """
        return kept(self._source, org_id, run_id, bond, on_trouble)

    def _open_submissions(self, org_id: str, view: View) -> _Submissions:
        async def send(requests: Sequence[SubmitJobRequest]) -> Sequence[JobMessage]:
            return await self._send_jobs(requests, view)

        queue = self._submissions[org_id, view] = Coalescer(send)
        return queue

    async def _send_jobs(
        self,
        requests: Sequence[SubmitJobRequest],
        view: View,
        *,
        more_follows: bool = False,
        bond: Bond | None = None,
    ) -> Sequence[JobMessage]:
        call = write_submit_jobs(requests, view, more_follows=more_follows, bond=bond)
        answer = await self._source.call("SubmitJobs", call)
        if len(answer.jobs) != len(requests):
            raise ProtocolError(f"SubmitJobs answered {len(answer.jobs)} jobs to {len(requests)}")
        jobs: Sequence[JobMessage] = answer.jobs
        return jobs

    async def health(self) -> Health:
        """What a coordinator says of itself."""
        answer = await self._source.call(HEALTH_CHECK, b"")
        found = Health(_wire_jobs.read_health(answer), self.address)
        return found if found.serving else replace(found, reason=await self._why_not())

    async def _why_not(self) -> str:
        """Why a coordinator does not serve: its health service knows no reasons, what it finds of its store does."""
        try:
            asked = _wire_requests.diagnose()
            answer = await self._source.ask_again("Diagnose", asked, timeout_seconds=REASON_SECONDS)
            findings = _wire_fleet.read_diagnosis(answer).findings
        except QgjobError:  # it is older, or the caller may not ask that
            return await self._why_not_answered()
        problems = [f for f in findings if f.level is FindingLevel.PROBLEM]
        of_store = [f.found for f in problems if f.check.startswith("store.")]
        return "; ".join(of_store) or "it is stopping, or was not ready a moment ago"

    async def _why_not_answered(self) -> str:
        """The same, by what it answers to a call that needs its store."""
        try:
            await self._source.ask_again("GetStats", _wire_requests.get_stats(None), timeout_seconds=REASON_SECONDS)
        except QgjobError as error:
            return error.message
        return "it is stopping, or its store may not be used; its log and its /health/ready say which"

    # --- waiting and watching -----------------------------------------------------------------------------------------

    def watch(
        self,
        org_id: str | None = None,
        *,
        run_id: str | None = None,
        job_ids: Sequence[str] = (),
        cursor: str | None = None,
    ) -> AsyncGenerator[WatchEvent]:
        """A snapshot of an org's jobs (of a run, or of at most 1,000 jobs), then every transition, without end.

        With `job_ids` the org may be left out: all are of one org.
        Broken connections are mended with the cursor. Where that would miss something, a `reset` event comes and then a
        new snapshot. Given `cursor`, goes on after it in place of a first snapshot.

        Raises NotFoundError naming `job_ids[i]` when there is no such job as the watch starts; with a `cursor`, when
        none of the jobs is left. An id that is an alias is watched as the job that it stands for.
        """
        return _watching.watch(self._source, org_id, run_id, job_ids, cursor)

    def follow(self, job_ids: str | Iterable[str]) -> AsyncGenerator[Job]:
        """Each job as it stands, then as it is after each change; ends when all have their verdicts.

        Raises NotFoundError naming `job_ids[i]` when there is no such job.
        """
        return _following.follow_jobs(self, [job_ids] if isinstance(job_ids, str) else job_ids)

    def follow_run(self, org_id: str, run_id: str) -> AsyncGenerator[Job]:
        """As `follow`, for all jobs of a run; one that leaves the run is followed to its verdict too."""
        watch = _watching.watch(self._source, org_id, run_id, (), None, anew=True)
        return _following.follow_run(self, org_id, run_id, watch)

    async def wait(
        self,
        job_ids: str | Iterable[str],
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> tuple[Job, ...]:
        """Return the jobs, in the order asked for, when all have their verdicts.

        Raises WaitTimeoutError, which holds the jobs as last seen, after `timeout_seconds`; the jobs go on. Raises
        NotFoundError naming `job_ids[i]` when there is no such job.
        """
        given = [job_ids] if isinstance(job_ids, str) else [*job_ids]
        ids = [*dict.fromkeys(given)]
        found = await self._wait(self.follow(given), ids, timeout_seconds, on_change)
        # What is still missing was asked for by an alias.
        return tuple([found.get(job_id) or await self.get(job_id) for job_id in ids])

    async def wait_run(
        self,
        org_id: str,
        run_id: str,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> tuple[Job, ...]:
        """As `wait`, for all jobs of a run, oldest first."""
        found = await self._wait(self.follow_run(org_id, run_id), (), timeout_seconds, on_change)
        return tuple([found[job_id] for job_id in sorted(found)])

    async def _wait(
        self,
        jobs: AsyncGenerator[Job],
        ids: Sequence[str],
        timeout_seconds: float | None,
        on_change: Callable[[Job], None] | None,
    ) -> dict[str, Job]:
        found: dict[str, Job] = {}
        try:
            async with asyncio.timeout(timeout_seconds):
                await _following.collect(jobs, found, on_change)
        except TimeoutError as error:
            unfinished = sum(not job.final for job in found.values())
            message = f"after {timeout_seconds:g} s {unfinished} of {max(len(ids), len(found))} jobs have no verdict"
            last_seen = [found[job_id] for job_id in (ids or sorted(found)) if job_id in found]
            raise WaitTimeoutError(message, jobs=last_seen) from error
        return found

    def logs(
        self, job_id: str, *, attempt: int | None = None, follow: bool = False, offset: int = 0
    ) -> AsyncGenerator[LogChunk]:
        """The log of an attempt (the latest by default): what is kept, then, with `follow`, what comes.

        With `follow` and no `attempt` it goes on through later attempts until the job has its verdict.
        """
        return _watching.tail(self._source, job_id, attempt, follow=follow, offset=offset)
