"""What is known of the demo's jobs and devices at a moment. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from examples.demo.plan import SUBMISSIONS, Submission, expected_outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qgjob import Attempt, Device, Job

QUEUED = "queued"
ACTIVE = "active"
RETRYING = "retrying"


class Board:
    """The latest state of every job by id, the submission that each belongs to, and the devices."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.devices: Sequence[Device] = ()
        self._runs = {submission.run_id: submission for submission in SUBMISSIONS}

    def see(self, job: Job) -> str | None:
        """Takes a newer state of a job. Returns a line that tells what happened, if anything did."""
        before = self.jobs.get(job.job_id)
        self.jobs[job.job_id] = job
        if job.final and (before is None or not before.final):
            return f"{self.name(job)}: {job.outcome} on {job.device_id}, attempt {len(job.attempts)}"
        if before is not None and len(ended(job)) > len(ended(before)) and not job.final:
            last = ended(job)[-1]
            return f"{self.name(job)}: {last.outcome} on {last.device_id}, attempt {last.attempt}, will be tried again"
        return None

    def submission(self, job: Job) -> Submission:
        """Which submission of the plan a job is of."""
        return self._runs[job.run_ids[0]]

    def name(self, job: Job) -> str:
        """A job as people call it: org, build and test."""
        return f"{job.org_id} {job.app_version_id} {short_path(job)}"

    def of(self, submission: Submission) -> list[Job]:
        """The jobs of a submission, in the order in which they became known."""
        return [job for job in self.jobs.values() if submission.run_id in job.run_ids]

    @property
    def unfinished(self) -> int:
        """How many jobs have no verdict yet."""
        return sum(not job.final for job in self.jobs.values())

    @property
    def attempts(self) -> int:
        """How many attempts have ended, so how many installs a farm makes that installs for every test."""
        return sum(len(ended(job)) for job in self.jobs.values())

    @property
    def installs(self) -> int:
        """How many installs the devices have done."""
        return sum(device.installs for device in self.devices)

    def with_outcome(self, outcome: str) -> list[Job]:
        """The finished jobs with this outcome."""
        return [job for job in self.jobs.values() if job.outcome == outcome]


def short_path(job: Job) -> str:
    """The test file without what all of the suite have: `cart/add_item`."""
    return job.test_path.removeprefix("tests/").removesuffix("_test.py")


def ended(job: Job) -> list[Attempt]:
    """The attempts of a job that are over; the last of `job.attempts` may still run."""
    return [attempt for attempt in job.attempts if attempt.outcome is not None]


def standing(job: Job) -> str:
    """One word for where a job stands: queued, retrying, active, or its outcome."""
    if job.final:
        return str(job.outcome)
    if job.status == "queued":
        return RETRYING if job.attempts else QUEUED
    return ACTIVE


def count_standings(jobs: Iterable[Job]) -> Counter[str]:
    """How many of the jobs stand where."""
    return Counter(standing(job) for job in jobs)


def is_expected(job: Job) -> bool:
    """Whether a finished job has the outcome that the plan says."""
    return job.outcome == expected_outcome(job.test_path, job.app_version_id)
