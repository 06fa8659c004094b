"""The JSON of every model is the contract's: names, order, null for what is unset, times with milliseconds and Z."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime

import pytest

from qgjob import Job, JobStatus, Priority, Requirements, Target
from qgjob._wire_fleet import read_agent_page, read_device, read_group_page, read_run, read_stats
from qgjob._wire_jobs import read_job, read_job_page
from qgjob_proto.v1 import fleet_pb2, jobs_pb2, types_pb2

JOB_FIELDS = """
    job_id org_id app_version_id test_path priority target status outcome round run_ids labels requirements
    suite_digest overflow created_at updated_at not_before scheduled_at started_at completed_at attempts
    retry_count max_retries agent_id device_id
    progress result error pending_reason
"""


def minimal_job() -> types_pb2.Job:
    return types_pb2.Job(
        job_id="acme~01J0",
        org_id="acme",
        app_version_id="v1",
        test_path="a.js",
        priority=2,
        target=1,
        status=1,
        round=1,
    )


def full_job() -> types_pb2.Job:
    job = minimal_job()
    job.status, job.outcome, job.progress, job.retry_count, job.max_retries = 5, 3, 100, 1, 3
    job.run_ids.append("r1")
    job.labels["team"] = "pay"
    job.requirements.platform = "android"
    job.requirements.labels["floor"] = "3"
    job.agent_id, job.device_id = "agent-1", "emulator-1"
    for name in ("created_at", "updated_at", "not_before", "scheduled_at", "started_at", "completed_at"):
        getattr(job, name).FromMilliseconds(1_700_000_000_123)
    job.result.CopyFrom(types_pb2.TestResult(passed=3, failed=1, skipped=2, duration_ms=900, summary="1 of 6 failed"))
    job.error.CopyFrom(types_pb2.JobError(error_class=1, message="assertion failed"))
    attempt = job.attempts.add(
        attempt=1, round=1, agent_id="agent-1", device_id="emulator-1", outcome=3, install_ms=3000
    )
    attempt.scheduled_at.FromMilliseconds(1_700_000_000_001)
    attempt.error.CopyFrom(types_pb2.JobError(error_class=2, message="device went away"))
    job.pending_reason.CopyFrom(types_pb2.PendingReason(code=4, message="backs off", position=2))
    job.overflow.CopyFrom(types_pb2.Overflow(target=3, after_seconds=120, moved_from=1, message="moved"))
    job.overflow.expected_wait_seconds = 340
    job.overflow.moved_at.FromMilliseconds(1_700_000_000_777)
    job.pending_reason.retry_at.FromMilliseconds(1_700_000_000_999)
    return job


def test_a_job_with_nothing_set_shows_every_field() -> None:
    shape = read_job(minimal_job()).to_dict()

    assert list(shape) == JOB_FIELDS.split()
    assert shape["priority"] == "medium"
    assert shape["status"] == "queued"
    assert shape["labels"] == {}
    assert shape["attempts"] == []
    assert shape["requirements"] == {
        "platform": None, "os_version": None, "device_model": None, "device_id": None, "labels": {},
    }  # fmt: skip
    unset = [name for name, value in shape.items() if value is None]
    assert unset == [
        "outcome", "suite_digest", "overflow", "created_at", "updated_at", "not_before", "scheduled_at", "started_at",
        "completed_at", "agent_id", "device_id", "result", "error", "pending_reason",
    ]  # fmt: skip


def test_a_job_with_everything_set() -> None:
    shape = read_job(full_job()).to_dict()

    assert shape["created_at"] == shape["completed_at"] == "2023-11-14T22:13:20.123Z"
    assert shape["outcome"] == "test_failed"
    assert shape["error"] == {"class": "test", "message": "assertion failed"}
    assert shape["result"] == {"passed": 3, "failed": 1, "skipped": 2, "duration_ms": 900, "summary": "1 of 6 failed"}
    assert shape["overflow"] == {
        "target": "browserstack",
        "after_seconds": 120.0,
        "moved_from": "emulator",
        "moved_at": "2023-11-14T22:13:20.777Z",
        "expected_wait_seconds": 340.0,
        "message": "moved",
    }
    assert shape["pending_reason"] == {
        "code": "retry_wait",
        "message": "backs off",
        "position": 2,
        "estimated_start_at": None,
        "retry_at": "2023-11-14T22:13:20.999Z",
    }
    assert shape["attempts"] == [
        {
            "attempt": 1,
            "round": 1,
            "agent_id": "agent-1",
            "device_id": "emulator-1",
            "outcome": "test_failed",
            "scheduled_at": "2023-11-14T22:13:20.001Z",
            "started_at": None,
            "ended_at": None,
            "install_ms": 3000,
            "duration_ms": None,
            "error": {"class": "infrastructure", "message": "device went away"},
            "result": None,
        }
    ]


@pytest.mark.parametrize("told", [True, False])
def test_deduplicated_is_shown_only_where_a_submission_told_it(told: bool) -> None:
    message = minimal_job()
    assert "deduplicated" not in read_job(message).to_dict()
    message.deduplicated = told
    shape = read_job(message).to_dict()
    assert list(shape) == [*JOB_FIELDS.split(), "deduplicated"]
    assert shape["deduplicated"] is told


def test_a_device() -> None:
    message = types_pb2.Device(
        device_id="a.1",
        agent_id="a",
        udid="1",
        target=2,
        state=4,
        health=4,
        reason="swollen",
        installs=7,
        model="Pixel 7",
    )
    message.until.FromMilliseconds(1_700_000_000_000)
    assert read_device(message).to_dict() == {
        "device_id": "a.1", "agent_id": "a", "udid": "1", "target": "device", "platform": None, "os_version": None,
        "model": "Pixel 7", "state": "draining", "health": "maintenance", "reason": "swollen",
        "until": "2023-11-14T22:13:20.000Z", "current_job_id": None, "org_id": None, "app_version_id": None,
        "labels": {}, "installs": 7, "last_seen_at": None,
    }  # fmt: skip


def test_lists_carry_their_count_and_the_next_page() -> None:
    jobs = read_job_page(
        jobs_pb2.ListJobsResponse(jobs=[minimal_job()], next_page_token="2", org_id="acme", status_filter="all")  # noqa: S106
    ).to_dict()
    assert list(jobs) == ["count", "jobs", "next_page_token", "org_id", "status_filter"]
    assert (jobs["count"], jobs["next_page_token"], jobs["jobs"][0]["job_id"]) == (1, "2", "acme~01J0")

    agent = types_pb2.Agent(agent_id="a", state=3, version="1", host="h", devices=2)
    assert read_agent_page(fleet_pb2.ListAgentsResponse(agents=[agent])).to_dict() == {
        "count": 1,
        "agents": [
            {
                "agent_id": "a", "state": "offline", "version": "1", "host": "h", "devices": 2, "connected_at": None,
                "last_seen_at": None,
            }
        ],
        "next_page_token": None,
    }  # fmt: skip

    group = types_pb2.Group(group_id="g", org_id="o", app_version_id="v", target=3, queued=2, device_ids=["d"])
    assert read_group_page(jobs_pb2.ListGroupsResponse(groups=[group])).to_dict()["groups"] == [
        {
            "group_id": "g", "org_id": "o", "app_version_id": "v", "target": "browserstack", "queued": 2,
            "scheduled": 0, "running": 0, "device_ids": ["d"], "installs": 0, "estimated_end_at": None,
        }
    ]  # fmt: skip


def test_a_run_and_statistics() -> None:
    run = types_pb2.Run(run_id="r", org_id="o", status_counts={"queued": 1}, outcome_counts={"passed": 2}, installs=3)
    assert read_run(run).to_dict() == {
        "run_id": "r", "org_id": "o", "status_counts": {"queued": 1}, "outcome_counts": {"passed": 2}, "installs": 3,
        "started_at": None, "completed_at": None,
    }  # fmt: skip

    stats = types_pb2.Stats()
    stats.queue.oldest_queued_age_seconds = 1.5
    stats.scheduler.devices.bad = 1
    stats.timestamp.FromMilliseconds(0)
    assert read_stats(stats).to_dict() == {
        "queue": {
            "queued": 0, "scheduled": 0, "running": 0, "completed": 0, "failed": 0, "cancelled": 0, "retry_wait": 0,
            "oldest_queued_age_seconds": 1.5,
        },
        "scheduler": {
            "agents_online": 0, "devices": {"total": 0, "idle": 0, "busy": 0, "offline": 0, "bad": 1}, "groups": 0,
            "installs": 0, "installs_saved": 0, "plans": 0, "plan_ms_p50": 0.0,
        },
        "timestamp": "1970-01-01T00:00:00.000Z",
    }  # fmt: skip


def test_a_job_that_was_not_read_yet_is_like_any_other() -> None:
    message = full_job()
    lazy = read_job(message)

    assert lazy == read_job(message)
    assert copy.deepcopy(lazy) == lazy
    assert pickle.loads(pickle.dumps(read_job(message))) == lazy  # noqa: S301 - of our own making
    assert replace(read_job(message), progress=7).progress == 7
    assert "acme~01J0" in repr(read_job(message))
    with pytest.raises(FrozenInstanceError):
        read_job(message).status = JobStatus.QUEUED  # type: ignore[misc]
    with pytest.raises(AttributeError, match="statsu"):
        _ = read_job(message).statsu  # type: ignore[attr-defined]


def test_a_job_can_be_made_by_hand_with_what_matters() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    job = Job(
        job_id="o~1", org_id="o", app_version_id="v", test_path="t", priority=Priority.LOW, target=Target.DEVICE,
        status=JobStatus.COMPLETED, round=1, created_at=now, updated_at=now, max_retries=3,
    )  # fmt: skip
    assert job.final
    assert job.outcome is None
    assert job.requirements == Requirements()
    assert job.to_dict()["created_at"] == "2026-01-02T00:00:00.000Z"
