"""/api/jobs: submit, read, cancel, retry, and the lists beside it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import JSONResponse

from qgjob_coordinator.http import examples, params, render, schemas, shapes
from qgjob_coordinator.http.caller import Caller
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.http.strict import StrictRoute
from qgjob_coordinator.http.submissions import submission, submissions
from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.store.types.submissions import Manner

CREATED, OK = 201, 200

Responses = dict[int | str, dict[str, Any]]


def _error(description: str) -> dict[str, Any]:
    return {"model": shapes.ErrorShape, "description": description}


_COMMON: Responses = {
    400: _error("A field is wrong; it is named"),
    503: _error("The store can't acknowledge now; nothing was promised"),
    "default": _error("Any other error"),
}
_MUTATING: Responses = {
    **_COMMON,
    403: _error("The page's origin may not make this call"),
    413: _error("The body is over 1 MB"),
}
_ONE_JOB: Responses = {404: _error("No such job")}
_CONFLICT: Responses = {409: _error("The job is not in a state that allows this")}


def routes(services: Services) -> APIRouter:
    """The routes. Fixed names stand before `{job_id}`, and no job id can look like one of them."""
    router = APIRouter(prefix="/api/jobs", route_class=StrictRoute, tags=["jobs"])
    _submit(router, services)
    _lists(router, services)
    _overview(router, services)
    _one(router, services)
    return router


def _submit(router: APIRouter, services: Services) -> None:
    submitted: dict[str, Any] = {"model": shapes.SubmittedShape | shapes.SubmittedListShape}
    responses: Responses = {
        OK: {**submitted, "description": "All jobs were there: equal, replayed, or known by their key"},
        CREATED: {**submitted, "description": "At least one job is new"},
        **_CONFLICT,
        429: _error("Over a quota; Retry-After says when to try again"),
        **_MUTATING,
    }

    @router.post("", response_model=None, status_code=CREATED, responses=responses, summary="Submit one job, or many")
    async def submit_jobs(
        caller: Caller, body: Annotated[schemas.AnySubmitBody, Body(openapi_examples=examples.SUBMISSIONS)]
    ) -> JSONResponse:
        """The job itself for one job; `{count, jobs}` for `{"jobs": [...]}`, which are accepted all or none."""
        if isinstance(body, schemas.SubmitManyBody):
            manner = Manner(more_follows=bool(body.more_follows))
            accepted = await services.submitter.submit_many(caller, submissions(body), manner)
            content = {"count": len(accepted), "jobs": [render.submitted(a.job) for a in accepted]}
            return JSONResponse(content, CREATED if any(a.created for a in accepted) else OK)
        one = await services.submitter.submit(caller, submission(body))
        return JSONResponse(render.submitted(one.job), CREATED if one.created else OK)


def _lists(router: APIRouter, services: Services) -> None:
    @router.get(
        "",
        response_model=None,
        responses={OK: {"model": shapes.JobListShape}, **_COMMON},
        summary="List an org's jobs",
    )
    async def list_jobs(
        caller: Caller,
        org_id: params.Org,
        status: params.StatusFilter = None,
        run_id: params.RunFilter = None,
        page_size: params.PageSize = None,
        page_token: params.PageToken = None,
    ) -> JSONResponse:
        """Newest first."""
        wanted = Status(status) if status else None
        org = validation.check_id("org_id", org_id)
        jobs, token = await services.jobs.list_jobs(caller, org, wanted, run_id, page_size, page_token)
        return JSONResponse(render.job_list(jobs, token, org, wanted))


def _overview(router: APIRouter, services: Services) -> None:
    @router.get(
        "/stats", response_model=None, responses={OK: {"model": shapes.StatsShape}, **_COMMON}, summary="Statistics"
    )
    async def get_stats(caller: Caller, org_id: params.OrgFilter = None) -> JSONResponse:
        """Queue and fleet in numbers."""
        return JSONResponse(render.stats(await services.overview.stats(caller, org_id)))

    @router.get(
        "/devices",
        response_model=None,
        responses={OK: {"model": shapes.DeviceListShape}, **_COMMON},
        summary="Devices",
    )
    async def list_devices(
        caller: Caller,
        agent_id: params.AgentFilter = None,
        target: params.TargetFilter = None,
        page_size: params.PageSize = None,
        page_token: params.PageToken = None,
    ) -> JSONResponse:
        """All devices, by id."""
        wanted = Target(target) if target else None
        page, token = await services.fleet.devices(caller, agent_id, wanted, page_size, page_token)
        return JSONResponse(render.page("devices", [render.device(d) for d in page], token))

    @router.get(
        "/groups", response_model=None, responses={OK: {"model": shapes.GroupListShape}, **_COMMON}, summary="Groups"
    )
    async def list_groups(
        caller: Caller,
        org_id: params.OrgFilter = None,
        page_size: params.PageSize = None,
        page_token: params.PageToken = None,
    ) -> JSONResponse:
        """Groups with unfinished jobs, by id."""
        groups = await services.overview.groups(caller, org_id)
        scope = pages.scope("groups", org_id or "")
        page, token = pages.cut(groups, [g.group_id for g in groups], page_size, page_token, scope)
        return JSONResponse(render.page("groups", [render.group(g) for g in page], token))


def _one(router: APIRouter, services: Services) -> None:
    found: Responses = {OK: {"model": shapes.JobShape}, **_ONE_JOB}

    @router.get("/{job_id}", response_model=None, responses={**found, **_COMMON}, summary="Read a job")
    async def get_job(caller: Caller, job_id: params.JobId) -> JSONResponse:
        """The job as it stands."""
        return JSONResponse(render.job(await services.jobs.get(caller, job_id)))

    @router.delete(
        "/{job_id}", response_model=None, responses={**found, **_CONFLICT, **_MUTATING}, summary="Cancel a job"
    )
    async def cancel_job(
        caller: Caller,
        job_id: params.JobId,
        round: params.Round = None,  # noqa: A002 - the parameter's public name
        operation_id: params.OperationId = None,
        reason: params.Reason = None,
    ) -> JSONResponse:
        """The verdict `cancelled`, at once. A job that is cancelled already stays so."""
        job = await services.jobs.cancel(caller, job_id, round_=round, operation_id=operation_id, reason=reason)
        return JSONResponse(render.job(job))

    @router.post(
        "/{job_id}/retry", response_model=None, responses={**found, **_CONFLICT, **_MUTATING}, summary="Retry a job"
    )
    async def retry_job(
        caller: Caller,
        job_id: params.JobId,
        body: Annotated[schemas.RetryBody | None, Body(openapi_examples=examples.RETRIES)] = None,
    ) -> JSONResponse:
        """A new round of a failed or cancelled job. The body may be left out."""
        meant = body or schemas.RetryBody()
        job = await services.jobs.retry(caller, job_id, round_=meant.round, operation_id=meant.operation_id)
        return JSONResponse(render.job(job))
