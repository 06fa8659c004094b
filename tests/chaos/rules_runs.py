"""Rules about what really ran: an attempt once, a job in one place at a time, and nothing that no record tells of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.chaos.excuses import forgot_the_first, hid_its_start
from tests.chaos.history import History
from tests.chaos.truth import Run
from tests.chaos.violations import Violation


def an_attempt_runs_once(h: History) -> Iterator[Violation]:
    """P3: a number of an attempt is given to a second grant only when the first ran nowhere, or a fault hid that."""
    by_attempt: dict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in h.runs:
        by_attempt[run.job_id, run.attempt].append(run)
    for (job_id, number), runs in by_attempt.items():
        for before, after in pairwise(sorted(runs, key=lambda r: r.began)):
            if not hid_its_start(h, before):
                text = f"P3: attempt {number} of {job_id} ran on {before.device_id} and again on {after.device_id}"
                yield Violation("an_attempt_runs_once", text, job_id, after.device_id, after.began)


def a_job_runs_in_one_place(h: History) -> Iterator[Violation]:
    """P4 for jobs: the next run of a job begins when nothing of the one before lives, however that ended."""
    by_job: dict[str, list[Run]] = defaultdict(list)
    for run in h.runs:
        by_job[run.job_id].append(run)
    for job_id, runs in by_job.items():
        ordered = sorted(runs, key=lambda r: r.began)
        for i, after in enumerate(ordered):
            lived = [before for before in ordered[:i] if _lived(before, after)]
            if lived and not any(forgot_the_first(h, before, after) for before in lived):
                text = f"P4: {job_id} began on {after.device_id} before it had ended on {lived[-1].device_id}"
                yield Violation("a_job_runs_in_one_place", text, job_id, after.device_id, after.began)


def _lived(before: Run, after: Run) -> bool:
    """Whether the earlier run may have lived on: the later one found something alive, or the times say so."""
    return not after.only or (before.ended is not None and after.began < before.ended)


def a_run_has_its_record(h: History) -> Iterator[Violation]:
    """P2: the job tells of each run, with its number and its device."""
    for run in h.runs:
        job = h.jobs.get(run.job_id)
        if job is None:
            continue  # a lost job is told of elsewhere
        told = any((a.attempt, a.device_id) == (run.attempt, run.device_id) for a in job.attempts)
        if not told and not hid_its_start(h, run):
            text = f"P2: attempt {run.attempt} of {run.job_id} ran on {run.device_id}, and the job does not tell of it"
            yield Violation("a_run_has_its_record", text, run.job_id, run.device_id, run.began)
