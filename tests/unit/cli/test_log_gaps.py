"""What `logs` says of bytes that its log lacks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from qgjob import AsyncClient, Attempt, Job, JobStatus, LogChunk, Outcome, Priority, Target, UnavailableError
from qgjob.cli.log_gaps import Gaps
from qgjob.testing import MockTransport
from qgjob_proto.v1 import artifacts_pb2
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = Attempt(2, 1, "a", "d", Outcome.PASSED, ended_at=NOW)
JOB = Job(
    job_id="acme~1", org_id="acme", app_version_id="v1", test_path="t.js", priority=Priority.LOW, target=Target.DEVICE,
    status=JobStatus.RUNNING, round=1, created_at=NOW, updated_at=NOW, max_retries=3, attempts=(ENDED,),
)  # fmt: skip
LOG = artifacts_pb2.Artifact(job_id="acme~1", attempt=2, name="log.txt", kind=artifacts_pb2.ARTIFACT_KIND_LOG)
LATE = artifacts_pb2.Artifact(job_id="acme~1", attempt=2, name="late-x/log.txt", kind=artifacts_pb2.ARTIFACT_KIND_LOG)


@pytest.mark.parametrize(
    ("kept", "attempt", "told"),
    [
        ([LATE, LOG], 2, "not shown; the evidence has its log: qgjob artifacts get acme~1 --attempt=2 --name=log.txt"),
        ([LATE], 2, "not kept"),
        ([], 3, "not shown; once the attempt has ended its evidence may have them: qgjob artifacts ls acme~1"),
        (UnavailableError("away"), 2, "not shown; its evidence may have them: qgjob artifacts ls acme~1"),
    ],
)
async def test_where_bytes_are_that_a_log_lacks_is_told(kept: Any, attempt: int, told: str) -> None:
    async def answer(method: str, request: Any) -> Any:
        assert (method, list(request.job_ids), request.attempt) == ("ListArtifacts", ["acme~1"], attempt)
        if isinstance(kept, Exception):
            raise kept
        return artifacts_pb2.ListArtifactsResponse(artifacts=kept, count=len(kept))

    transport = MockTransport(answer)
    async with AsyncClient(transports=[transport], timeout_seconds=0.2) as client:
        gaps = Gaps(client, JOB)
        assert await gaps.words(LogChunk(attempt, 70, b"x", 70)) == f"--- 70 bytes before this are {told}"
        calls = len(transport.calls)
        await gaps.words(LogChunk(attempt, 90, b"x", 9))
        assert len(transport.calls) == calls  # a log with many gaps asks once


def test_a_gap_of_a_log_is_told_where_no_evidence_is_kept(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = qgjob("submit", *COMMON, "--test=a.js", "-o", "json").json["jobs"][0]["job_id"]
    fake.in_loop(lambda: fake.move(job_id, "completed", "passed"))
    fake.logs[job_id, 1] = b"the end\n"
    fake.skipped[job_id, 1] = 10_000_037
    result = qgjob("logs", job_id)
    assert (result.out, result.err) == ("the end\n", "--- 10000037 bytes before this are not kept\n")
