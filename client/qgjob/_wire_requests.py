"""Requests, but for submissions (see `_wire_submit`), from what the client's methods take."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import ParamSpec, TypeVar

from qgjob._errors import InvalidError
from qgjob._wire import STATUS, TARGET, write_time
from qgjob._wire_fleet import DEVICE_HEALTH
from qgjob_proto.v1 import builds_pb2, fleet_pb2, jobs_pb2, suites_pb2

# The generated stubs want members of the wire's enums; `Words.write` gives their numbers.
# mypy: disable-error-code="arg-type,misc"

P = ParamSpec("P")
T = TypeVar("T")


def _fits(build: Callable[P, T]) -> Callable[P, T]:
    """Turn what protobuf says of a wrong type, a number out of range or a text that is no UTF-8 into InvalidError."""

    @functools.wraps(build)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return build(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise InvalidError(f"{build.__name__}: a value does not fit: {error}") from error

    return checked


@_fits
def push_build_header(
    org_id: str, app_version_id: str, digest: str, size_bytes: int, file_name: str, *, replace: bool
) -> builds_pb2.PushBuildRequest:
    """What is announced before the bytes of a build."""
    return builds_pb2.PushBuildRequest(
        header=builds_pb2.PushBuildHeader(
            org_id=org_id,
            app_version_id=app_version_id,
            digest=digest,
            size_bytes=size_bytes,
            file_name=file_name,
            replace=replace,
        )
    )


def push_build_chunk(data: bytes) -> builds_pb2.PushBuildRequest:
    """Bytes of a build."""
    return builds_pb2.PushBuildRequest(chunk=data)


@_fits
def list_builds(
    org_id: str, app_version_id: str | None, page_size: int, page_token: str | None
) -> builds_pb2.ListBuildsRequest:
    """One page of an org's builds."""
    return builds_pb2.ListBuildsRequest(
        org_id=org_id, app_version_id=app_version_id, page_size=page_size, page_token=page_token or ""
    )


@_fits
def push_suite_header(org_id: str, digest: str, size_bytes: int, name: str) -> suites_pb2.PushSuiteRequest:
    """What is announced before the bytes of a suite."""
    header = suites_pb2.PushSuiteHeader(org_id=org_id, digest=digest, size_bytes=size_bytes, name=name)
    return suites_pb2.PushSuiteRequest(header=header)


def push_suite_chunk(data: bytes) -> suites_pb2.PushSuiteRequest:
    """Bytes of a suite."""
    return suites_pb2.PushSuiteRequest(chunk=data)


@_fits
def list_suites(org_id: str, page_size: int, page_token: str | None) -> suites_pb2.ListSuitesRequest:
    """One page of an org's suites."""
    return suites_pb2.ListSuitesRequest(org_id=org_id, page_size=page_size, page_token=page_token or "")


@_fits
def get_job(job_id: str) -> jobs_pb2.GetJobRequest:
    """One job."""
    return jobs_pb2.GetJobRequest(job_id=job_id)


@_fits
def list_jobs(
    org_id: str, status: str | None, run_id: str | None, page_size: int, page_token: str | None
) -> jobs_pb2.ListJobsRequest:
    """One page of an org's jobs. Raises InvalidError for an unknown status."""
    return jobs_pb2.ListJobsRequest(
        org_id=org_id,
        status=STATUS.write(status, "status"),
        run_id=run_id,
        page_size=page_size,
        page_token=page_token or "",
    )


@_fits
def explain_job(job_id: str) -> jobs_pb2.ExplainJobRequest:
    """Why a job waits."""
    return jobs_pb2.ExplainJobRequest(job_id=job_id)


@_fits
def cancel_job(job_id: str, round_number: int, operation_id: str, reason: str | None) -> jobs_pb2.CancelJobRequest:
    """Cancel one job in one round."""
    return jobs_pb2.CancelJobRequest(job_id=job_id, round=round_number, operation_id=operation_id, reason=reason)


@_fits
def cancel_jobs(
    org_id: str, run_id: str | None, statuses: Iterable[str], operation_id: str, reason: str | None
) -> jobs_pb2.CancelJobsRequest:
    """Cancel by run or filter. Raises InvalidError for an unknown status."""
    return jobs_pb2.CancelJobsRequest(
        org_id=org_id,
        run_id=run_id,
        statuses=[STATUS.write(status, "statuses") for status in statuses],
        operation_id=operation_id,
        reason=reason,
    )


@_fits
def keep_run(org_id: str, run_id: str, client_id: str, *, release: bool) -> jobs_pb2.KeepRunRequest:
    """A sign of life for a run, or the end of its bond."""
    return jobs_pb2.KeepRunRequest(org_id=org_id, run_id=run_id, client_id=client_id, release=release)


@_fits
def retry_job(job_id: str, round_number: int, operation_id: str) -> jobs_pb2.RetryJobRequest:
    """A new round after one that has its verdict."""
    return jobs_pb2.RetryJobRequest(job_id=job_id, round=round_number, operation_id=operation_id)


@_fits
def retry_jobs(org_id: str, run_id: str, operation_id: str, *, failed_only: bool) -> jobs_pb2.RetryJobsRequest:
    """New rounds for a run."""
    return jobs_pb2.RetryJobsRequest(org_id=org_id, run_id=run_id, failed_only=failed_only, operation_id=operation_id)


@_fits
def watch_jobs(
    org_id: str | None, run_id: str | None, job_ids: Sequence[str], cursor: str | None
) -> jobs_pb2.WatchJobsRequest:
    """A watch."""
    return jobs_pb2.WatchJobsRequest(org_id=org_id, run_id=run_id, job_ids=job_ids, cursor=cursor)


@_fits
def tail_logs(job_id: str, attempt: int | None, offset: int, *, follow: bool) -> jobs_pb2.TailLogsRequest:
    """The log of an attempt."""
    return jobs_pb2.TailLogsRequest(job_id=job_id, attempt=attempt, follow=follow, offset=offset)


@_fits
def list_groups(org_id: str | None, page_size: int, page_token: str | None) -> jobs_pb2.ListGroupsRequest:
    """One page of groups."""
    return jobs_pb2.ListGroupsRequest(org_id=org_id, page_size=page_size, page_token=page_token or "")


@_fits
def get_run(org_id: str, run_id: str) -> jobs_pb2.GetRunRequest:
    """One run."""
    return jobs_pb2.GetRunRequest(org_id=org_id, run_id=run_id)


@_fits
def get_stats(org_id: str | None) -> jobs_pb2.GetStatsRequest:
    """Counts."""
    return jobs_pb2.GetStatsRequest(org_id=org_id)


@_fits
def list_devices(
    agent_id: str | None, target: str | None, page_size: int, page_token: str | None
) -> fleet_pb2.ListDevicesRequest:
    """One page of devices. Raises InvalidError for an unknown target."""
    return fleet_pb2.ListDevicesRequest(
        agent_id=agent_id, target=TARGET.write(target, "target"), page_size=page_size, page_token=page_token or ""
    )


@_fits
def list_agents(page_size: int, page_token: str | None) -> fleet_pb2.ListAgentsRequest:
    """One page of agents."""
    return fleet_pb2.ListAgentsRequest(page_size=page_size, page_token=page_token or "")


def diagnose() -> fleet_pb2.DiagnoseRequest:
    """Everything is looked at."""
    return fleet_pb2.DiagnoseRequest()


@_fits
def drain(
    agent_id: str | None, device_id: str | None, reason: str | None, until: datetime | None
) -> fleet_pb2.DrainRequest:
    """Nothing new for a device or an agent."""
    return fleet_pb2.DrainRequest(
        agent_id=agent_id, device_id=device_id, reason=reason, until=write_time(until, "until")
    )


@_fits
def resume(agent_id: str | None, device_id: str | None) -> fleet_pb2.ResumeRequest:
    """The end of a drain, a maintenance or a quarantine."""
    return fleet_pb2.ResumeRequest(agent_id=agent_id, device_id=device_id)


@_fits
def forget_agent(agent_id: str) -> fleet_pb2.ForgetAgentRequest:
    """An agent that is gone for good."""
    return fleet_pb2.ForgetAgentRequest(agent_id=agent_id)


@_fits
def set_device_health(
    device_id: str, health: str, reason: str | None, until: datetime | None
) -> fleet_pb2.SetDeviceHealthRequest:
    """An operator's word. Raises InvalidError for an unknown health."""
    return fleet_pb2.SetDeviceHealthRequest(
        device_id=device_id,
        health=DEVICE_HEALTH.write(health, "health"),
        reason=reason,
        until=write_time(until, "until"),
    )


@_fits
def reserve_device(
    device_id: str, until: datetime, reason: str | None, *, extend: bool
) -> fleet_pb2.ReserveDeviceRequest:
    """A device kept for a person, or for longer."""
    return fleet_pb2.ReserveDeviceRequest(
        device_id=device_id, until=write_time(until, "until"), reason=reason, extend=extend
    )


@_fits
def release_device(device_id: str) -> fleet_pb2.ReleaseDeviceRequest:
    """A device given back."""
    return fleet_pb2.ReleaseDeviceRequest(device_id=device_id)


@_fits
def set_device_labels(device_id: str, labels: Mapping[str, str]) -> fleet_pb2.SetDeviceLabelsRequest:
    """All labels that were not set by the agent."""
    return fleet_pb2.SetDeviceLabelsRequest(device_id=device_id, labels=dict(labels))
