"""What a client can ask about jobs, groups and runs with one call each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from qgjob import _wire_fleet, _wire_jobs, _wire_requests
from qgjob._failover import Failover
from qgjob._fleet import Group, GroupPage, Run, Stats
from qgjob._ids import new_operation_id
from qgjob._models import Bond, Explanation, Job, JobPage, JobSelection

DEFAULT_PAGE_SIZE = 100


class JobCalls:
    """The calls of JobService, but for submission and streams."""

    _source: Failover

    async def get(self, job_id: str) -> Job:
        """One job."""
        answer = await self._source.call("GetJob", _wire_requests.get_job(job_id))
        return _wire_jobs.read_job(answer.job)

    async def list_page(
        self,
        org_id: str,
        *,
        status: str | None = None,
        run_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> JobPage:
        """One page of an org's jobs, newest first. `page_token` is the `next_page_token` of the page before."""
        request = _wire_requests.list_jobs(org_id, status, run_id, page_size, page_token)
        return _wire_jobs.read_job_page(await self._source.call("ListJobs", request))

    async def list(
        self, org_id: str, *, status: str | None = None, run_id: str | None = None, page_size: int = DEFAULT_PAGE_SIZE
    ) -> AsyncGenerator[Job]:
        """All of an org's jobs, newest first, page by page as they are read."""
        token: str | None = None
        while True:
            page = await self.list_page(org_id, status=status, run_id=run_id, page_size=page_size, page_token=token)
            for job in page.jobs:
                yield job
            token = page.next_page_token
            if token is None:
                return

    async def explain(self, job_id: str) -> Explanation:
        """Why a job waits, and what each device has to do with it."""
        return _wire_jobs.read_explanation(await self._source.call("ExplainJob", _wire_requests.explain_job(job_id)))

    async def cancel(self, job_id: str, *, round: int | None = None, reason: str | None = None) -> Job:  # noqa: A002
        """Cancel a job in the round that it is in, or in `round`: a job that was retried since is left alone."""
        meant = round if round is not None else (await self.get(job_id)).round
        request = _wire_requests.cancel_job(job_id, meant, new_operation_id(), reason)
        return _wire_jobs.read_job((await self._source.call("CancelJob", request)).job)

    async def cancel_many(
        self,
        org_id: str,
        *,
        run_id: str | None = None,
        statuses: Iterable[str] = (),
        reason: str | None = None,
    ) -> JobSelection:
        """Cancel the unfinished jobs of a run, or those in `statuses`, or both. Shared jobs only leave the run."""
        request = _wire_requests.cancel_jobs(org_id, run_id, statuses, new_operation_id(), reason)
        return _wire_jobs.read_selection(await self._source.call("CancelJobs", request))

    async def keep_run(self, org_id: str, run_id: str, bond: Bond, *, release: bool = False) -> None:
        """Show that this client lives, to which a submission bound the run, or let the run go on by itself (`release`).

        `AsyncClient.kept` does it again and again. Raises NotFoundError where the run is not bound (any more).
        """
        request = _wire_requests.keep_run(org_id, run_id, bond.client_id, release=release)
        await self._source.call("KeepRun", request)

    async def retry(self, job_id: str, *, round: int | None = None) -> Job:  # noqa: A002
        """Start a new round of a failed or cancelled job, after the round that it is in, or after `round`."""
        meant = round if round is not None else (await self.get(job_id)).round
        request = _wire_requests.retry_job(job_id, meant, new_operation_id())
        return _wire_jobs.read_job((await self._source.call("RetryJob", request)).job)

    async def retry_many(self, org_id: str, run_id: str, *, failed_only: bool = False) -> JobSelection:
        """Start a new round of all failed and cancelled jobs of a run, or of the failed ones only."""
        request = _wire_requests.retry_jobs(org_id, run_id, new_operation_id(), failed_only=failed_only)
        return _wire_jobs.read_selection(await self._source.call("RetryJobs", request))

    async def groups_page(
        self, org_id: str | None = None, *, page_size: int = DEFAULT_PAGE_SIZE, page_token: str | None = None
    ) -> GroupPage:
        """One page of the groups with unfinished jobs."""
        request = _wire_requests.list_groups(org_id, page_size, page_token)
        return _wire_fleet.read_group_page(await self._source.call("ListGroups", request))

    async def groups(self, org_id: str | None = None) -> AsyncGenerator[Group]:
        """All groups with unfinished jobs, of one org or of all that the caller may see."""
        token: str | None = None
        while True:
            page = await self.groups_page(org_id, page_token=token)
            for group in page.groups:
                yield group
            token = page.next_page_token
            if token is None:
                return

    async def run(self, org_id: str, run_id: str) -> Run:
        """The jobs of one run, counted."""
        answer = await self._source.call("GetRun", _wire_requests.get_run(org_id, run_id))
        return _wire_fleet.read_run(answer.run)

    async def stats(self, org_id: str | None = None) -> Stats:
        """Counts of jobs, devices and installs, of one org or of all that the caller may see."""
        answer = await self._source.call("GetStats", _wire_requests.get_stats(org_id))
        return _wire_fleet.read_stats(answer.stats)
