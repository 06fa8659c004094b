"""Submissions, from specs to protobuf messages: the hottest path of the client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import TYPE_CHECKING, Any

from qgjob._errors import InvalidError
from qgjob._models import Requirements
from qgjob._wire import PRIORITY, TARGET, write_time
from qgjob_proto.v1 import jobs_pb2, types_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgjob._models import Bond, JobSpec

SubmitJobRequest = jobs_pb2.SubmitJobRequest
JobMessage = types_pb2.Job

_REQUIREMENTS = tuple(each.name for each in fields(Requirements))


def write_spec(spec: JobSpec, job_id: str) -> jobs_pb2.SubmitJobRequest:
    """A submission. Raises InvalidError for what the wire can't hold; all other rules are the coordinator's."""
    try:
        request = jobs_pb2.SubmitJobRequest(
            org_id=spec.org_id,
            app_version_id=spec.app_version_id,
            test_path=spec.test_path,
            priority=PRIORITY.write(spec.priority, "priority"),  # type: ignore[arg-type]
            target=TARGET.write(spec.target, "target"),  # type: ignore[arg-type]
            job_id=job_id,
            suite_digest=spec.suite_digest,
            overflow_target=TARGET.write(spec.overflow_target, "overflow_target"),  # type: ignore[arg-type]
            overflow_after_seconds=spec.overflow_after_seconds,
        )
        _write_options(spec, request)
    except (TypeError, ValueError) as error:
        raise _unfit(spec, error) from error
    return request


def _unfit(spec: JobSpec, error: Exception) -> InvalidError:
    """The error that names the field whose value the wire can't hold."""
    for each in fields(spec):
        value = getattr(spec, each.name)
        if value is None or each.name in ("priority", "target", "overflow_target", "requirements", "not_before"):
            continue
        try:
            SubmitJobRequest(**{each.name: value})
        except (TypeError, ValueError) as culprit:
            return InvalidError(f"{each.name}: {value!r} does not fit: {culprit}", field=each.name)
    return InvalidError(f"requirements: a value does not fit: {error}", field="requirements")


def _write_options(spec: JobSpec, request: jobs_pb2.SubmitJobRequest) -> None:
    # One by one: most submissions set few of them, and this is the hottest path of the client.
    if spec.run_id is not None:
        request.run_id = spec.run_id
    if spec.labels:
        request.labels.update(spec.labels)
    if spec.requirements is not None:
        request.requirements.CopyFrom(_write_requirements(spec.requirements))
    if spec.env:
        request.env.update(spec.env)
    if spec.max_retries is not None:
        request.max_retries = spec.max_retries
    if spec.idempotency_key is not None:
        request.idempotency_key = spec.idempotency_key
    if spec.supersede is not None:
        request.supersede = spec.supersede
    if (not_before := write_time(spec.not_before, "not_before")) is not None:
        request.not_before.CopyFrom(not_before)
    if spec.timeout_seconds is not None:
        request.timeout_seconds = spec.timeout_seconds
    if spec.queue_timeout_seconds is not None:
        request.queue_timeout_seconds = spec.queue_timeout_seconds
    if spec.no_dedup:
        request.no_dedup = True


def _write_requirements(needs: Requirements | Mapping[str, Any]) -> types_pb2.Requirements:
    """Raises InvalidError naming the field, as in `requirements.labels.rack`."""
    given = needs if isinstance(needs, Mapping) else {name: getattr(needs, name, None) for name in _REQUIREMENTS}
    if not isinstance(needs, (Mapping, Requirements)):
        raise _unfit_requirement("", needs, f"give Requirements, or a mapping with some of {', '.join(_REQUIREMENTS)}")
    for name, value in given.items():
        if name not in _REQUIREMENTS:
            advice = f"there are {', '.join(_REQUIREMENTS)}; a device label belongs into labels"
            raise InvalidError(f"requirements.{name}: is no requirement; {advice}", field=f"requirements.{name}")
        if name == "labels":
            _check_labels(value)
        elif not isinstance(value, (str, NoneType)):
            raise _unfit_requirement(f".{name}", value, "give a text")
    return types_pb2.Requirements(**{**given, "labels": dict(given.get("labels") or {})})


def _check_labels(labels: object) -> None:
    if not isinstance(labels, (Mapping, NoneType)):
        raise _unfit_requirement(".labels", labels, "give a mapping of texts")
    for key, value in (labels or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise _unfit_requirement(f".labels.{key}", value, "keys and values are texts")


def _unfit_requirement(path: str, value: object, advice: str) -> InvalidError:
    return InvalidError(f"requirements{path}: {value!r} does not fit; {advice}", field=f"requirements{path}")


def write_submit_jobs(
    requests: Iterable[jobs_pb2.SubmitJobRequest], view: str, *, more_follows: bool = False, bond: Bond | None = None
) -> jobs_pb2.SubmitJobsRequest:
    """One call for many jobs of one org. `more_follows`: calls with jobs of their runs come after it."""
    wire_view = jobs_pb2.JOB_VIEW_IDS if view == "ids" else jobs_pb2.JOB_VIEW_UNSPECIFIED
    call = jobs_pb2.SubmitJobsRequest(jobs=requests, view=wire_view, more_follows=more_follows)
    if bond is not None:
        call.cancel_on_disconnect.client_id = bond.client_id
        call.cancel_on_disconnect.after_seconds = bond.after_seconds
    return call
