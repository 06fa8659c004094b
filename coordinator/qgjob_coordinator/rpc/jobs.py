"""JobService: thin over service/."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.rpc import requests, shapes
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.keeping_runs import Keeping
from qgjob_coordinator.service.calls.submitting import Submitter
from qgjob_coordinator.service.calls.tailing import Tailing
from qgjob_coordinator.service.calls.watching import Watching, WatchKind
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.store.types.submissions import Manner
from qgjob_proto.v1 import jobs_pb2 as pb
from qgjob_proto.v1 import jobs_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
Q = TypeVar("Q")
A = TypeVar("A")
Identify = Callable[[Context], Awaitable[Principal]]

_WATCH = {
    WatchKind.SNAPSHOT: pb.WATCH_EVENT_SNAPSHOT,
    WatchKind.READY: pb.WATCH_EVENT_READY,
    WatchKind.TRANSITION: pb.WATCH_EVENT_TRANSITION,
    WatchKind.RESET: pb.WATCH_EVENT_RESET,
}


@dataclass(frozen=True, slots=True)
class JobServices:
    """What the servicer stands on."""

    submitter: Submitter
    jobs: JobService
    overview: Overview
    watching: Watching
    tailing: Tailing
    keeping: Keeping


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """The methods of qgjob.v1.JobService. Errors of the tree become codes in the interceptor."""

    def __init__(self, services: JobServices, identify: Identify) -> None:
        self._s = services
        self._identify = identify

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:  # noqa: N802
        """One job."""
        accepted = await self._s.submitter.submit(await self._identify(context), requests.submission_in(request))
        return pb.SubmitJobResponse(job=shapes.job_out(accepted.job), created=accepted.created)

    async def SubmitJobs(self, request: pb.SubmitJobsRequest, context: Context) -> pb.SubmitJobsResponse:  # noqa: N802
        """Up to 1,000 jobs of one org, all or none."""
        principal = await self._identify(context)
        view = requests.view_in(request.view)
        submissions = []
        for i, m in enumerate(request.jobs):
            try:
                submissions.append(requests.submission_in(m))
            except InvalidError as e:
                raise e.under(f"jobs[{i}]") from None
        manner = Manner(request.more_follows, requests.bound_to_in(request))
        accepted = await self._s.submitter.submit_many(principal, submissions, manner)
        answer = pb.SubmitJobsResponse(count=len(accepted), created=sum(a.created for a in accepted))
        if view == pb.JOB_VIEW_IDS:
            shapes.add_ids(answer.jobs, accepted)
        else:
            shapes.add_jobs(answer.jobs, accepted)
        return answer

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:  # noqa: N802
        """One job."""
        job = await self._s.jobs.get(await self._identify(context), request.job_id)
        return pb.GetJobResponse(job=shapes.job_out(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:  # noqa: N802
        """One page of an org's jobs, newest first."""
        status = requests.status_in("status", request.status)
        jobs, token = await self._s.jobs.list_jobs(
            await self._identify(context),
            request.org_id,
            status,
            requests.given(request, "run_id"),
            request.page_size,
            request.page_token,
        )
        return pb.ListJobsResponse(
            jobs=[shapes.job_out(j) for j in jobs],
            count=len(jobs),
            next_page_token=token,
            org_id=request.org_id,
            status_filter=status.value if status else "all",
        )

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:  # noqa: N802
        """The verdict `cancelled`, at once."""
        job = await self._s.jobs.cancel(
            await self._identify(context),
            request.job_id,
            round_=requests.given(request, "round"),
            operation_id=requests.given(request, "operation_id"),
            reason=request.reason,
        )
        return pb.CancelJobResponse(job=shapes.job_out(job))

    async def CancelJobs(self, request: pb.CancelJobsRequest, context: Context) -> pb.CancelJobsResponse:  # noqa: N802
        """By run or filter."""
        statuses = [requests.status_in(f"statuses[{i}]", s) for i, s in enumerate(request.statuses)]
        done = await self._s.jobs.cancel_many(
            await self._identify(context),
            request.org_id,
            run_id=requests.given(request, "run_id"),
            statuses=[s for s in statuses if s is not None],
            operation_id=requests.given(request, "operation_id"),
            reason=request.reason,
        )
        jobs = [shapes.job_out(j) for j in done.jobs]
        return pb.CancelJobsResponse(jobs=jobs, count=done.count, detached=done.detached)

    async def KeepRun(self, request: pb.KeepRunRequest, context: Context) -> pb.KeepRunResponse:  # noqa: N802
        """A client shows that it lives."""
        await self._s.keeping.keep(
            await self._identify(context), request.org_id, request.run_id, request.client_id, release=request.release
        )
        return pb.KeepRunResponse()

    async def RetryJob(self, request: pb.RetryJobRequest, context: Context) -> pb.RetryJobResponse:  # noqa: N802
        """A new round."""
        job = await self._s.jobs.retry(
            await self._identify(context),
            request.job_id,
            round_=requests.given(request, "round"),
            operation_id=requests.given(request, "operation_id"),
        )
        return pb.RetryJobResponse(job=shapes.job_out(job))

    async def RetryJobs(self, request: pb.RetryJobsRequest, context: Context) -> pb.RetryJobsResponse:  # noqa: N802
        """A new round of a run's failed jobs."""
        done = await self._s.jobs.retry_many(
            await self._identify(context),
            request.org_id,
            request.run_id,
            failed_only=request.failed_only,
            operation_id=requests.given(request, "operation_id"),
        )
        jobs = [shapes.job_out(j) for j in done.jobs]
        return pb.RetryJobsResponse(jobs=jobs, count=done.count, equal=done.equal)

    async def ExplainJob(self, request: pb.ExplainJobRequest, context: Context) -> pb.ExplainJobResponse:  # noqa: N802
        """Why a job waits, device by device."""
        return shapes.explanation_out(await self._s.jobs.explain(await self._identify(context), request.job_id))

    async def WatchJobs(  # noqa: N802
        self, request: pb.WatchJobsRequest, context: Context
    ) -> AsyncIterator[pb.WatchJobsResponse]:
        """A snapshot, then every change."""
        principal = await self._identify(context)
        cursor = request.cursor or None
        wanted = await self._s.watching.filter(
            principal, request.org_id, requests.given(request, "run_id"), request.job_ids, resumed=cursor is not None
        )
        async for event in self._s.watching.watch(wanted, cursor, lambda: not context.done()):
            yield pb.WatchJobsResponse(
                event=_WATCH[event.kind],
                cursor=event.cursor,
                job=shapes.job_out(event.job) if event.job else None,
                version=event.job.version if event.job else None,
            )

    async def TailLogs(  # noqa: N802
        self, request: pb.TailLogsRequest, context: Context
    ) -> AsyncIterator[pb.TailLogsResponse]:
        """The log of an attempt."""
        attempt = requests.given(request, "attempt")
        principal = await self._identify(context)
        async for piece in self._s.tailing.tail(
            principal, request.job_id, attempt, request.offset, lambda: not context.done(), follow=request.follow
        ):
            yield pb.TailLogsResponse(
                attempt=piece.attempt, offset=piece.offset, data=piece.data, skipped=piece.skipped
            )

    async def ListGroups(self, request: pb.ListGroupsRequest, context: Context) -> pb.ListGroupsResponse:  # noqa: N802
        """Groups with unfinished jobs."""
        groups = await self._s.overview.groups(await self._identify(context), requests.given(request, "org_id"))
        scope = pages.scope("groups", request.org_id)
        page, token = pages.cut(groups, [g.group_id for g in groups], request.page_size, request.page_token, scope)
        return pb.ListGroupsResponse(groups=[shapes.group_out(g) for g in page], count=len(page), next_page_token=token)

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:  # noqa: N802
        """A run, counted."""
        run = await self._s.overview.run(await self._identify(context), request.org_id, request.run_id)
        return pb.GetRunResponse(run=shapes.run_out(run))

    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:  # noqa: N802
        """Queue and fleet in numbers."""
        stats = await self._s.overview.stats(await self._identify(context), requests.given(request, "org_id"))
        return pb.GetStatsResponse(stats=shapes.stats_out(stats))
