"""The API's messages: the quick way to answer a submission says what the full way says."""

from __future__ import annotations

from dataclasses import replace

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.rpc import shapes
from qgjob_coordinator.service.calls.submitting import Accepted, fresh_job
from qgjob_coordinator.service.views.pending import Reasons
from qgjob_proto.v1 import jobs_pb2
from tests.fakes.jobs import NOW, overflowing, spec

SPECS = (
    spec(1),
    spec(2, target=Target.DEVICE, priority=Priority.HIGH, max_retries=0),
    spec(3, run_id="run-1"),
    spec(4, labels={"team": "checkout"}),
    spec(5, requirements=Requirements(platform="ios", labels=(("rack", "2"),))),
    spec(6, not_before=NOW + 60_000),
    overflowing(11),
    spec(7, app_version_id="other", test_path="tests/ü.spec.ts"),
)


def test_accepted_jobs_are_answered_as_any_reader_sees_them() -> None:
    reasons = Reasons([], NOW, over_quota=False)
    later = Accepted(spec(8), NOW + 5, reasons)
    known = Accepted(spec(9), NOW, reasons, replace(fresh_job(spec(10), NOW - 9), deduplicated=True))
    accepted = [*(Accepted(s, NOW, reasons) for s in SPECS), later, known]
    answer = jobs_pb2.SubmitJobsResponse()
    shapes.add_jobs(answer.jobs, accepted)
    assert list(answer.jobs) == [shapes.job_out(a.job) for a in accepted]
