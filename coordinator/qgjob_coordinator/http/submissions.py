"""From a checked body to what service/ takes."""

from __future__ import annotations

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.http import times
from qgjob_coordinator.http.schemas import SubmitBody, SubmitManyBody
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.service.calls.submission import Submission

_PRIORITIES = {p.word: p for p in Priority}


def submission(body: SubmitBody) -> Submission:
    """A job as it came. Raises InvalidError for a time that is none."""
    return Submission(
        org_id=body.org_id,
        app_version_id=body.app_version_id,
        test_path=body.test_path,
        priority=_PRIORITIES[body.priority] if body.priority else None,
        target=Target(body.target) if body.target else None,
        job_id=body.job_id,
        run_id=body.run_id,
        labels=body.labels or {},
        requirements=body.requirements.model_dump() if body.requirements else None,
        env=body.env or {},
        max_retries=body.max_retries,
        idempotency_key=body.idempotency_key,
        supersede=body.supersede,
        not_before=None if body.not_before is None else times.parse("not_before", body.not_before),
        timeout_seconds=body.timeout_seconds,
        queue_timeout_seconds=body.queue_timeout_seconds,
        no_dedup=bool(body.no_dedup),
        suite_digest=body.suite_digest,
        overflow_target=Target(body.overflow_target) if body.overflow_target else None,
        overflow_after_seconds=body.overflow_after_seconds,
    )


def submissions(body: SubmitManyBody) -> list[Submission]:
    """Jobs as they came. Raises InvalidError naming `jobs[i].field`."""
    found = []
    for i, one in enumerate(body.jobs):
        try:
            found.append(submission(one))
        except InvalidError as e:
            raise e.under(f"jobs[{i}]") from None
    return found
