"""Rules about devices, orgs and programs: P4, P6, P9."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from qgjob import Outcome
from tests.chaos.excuses import may_be_lost
from tests.chaos.history import History
from tests.chaos.truth import Run
from tests.chaos.violations import Violation


def devices_run_one_at_a_time(h: History) -> Iterator[Violation]:
    """P4, by the lock that every process tree holds, and by the times that tests wrote down."""
    by_device: dict[str, list[Run]] = defaultdict(list)
    for run in h.runs:
        by_device[run.device_id].append(run)
        if not run.alone:
            text = f"P4: {_run(run)} began on {run.device_id} while another test lived there"
            yield Violation("devices_run_one_at_a_time", text, run.job_id, run.device_id, run.began)
    for device_id, runs in by_device.items():
        whole = [run for run in runs if run.ended is not None]
        for before, after in pairwise(sorted(whole, key=lambda r: r.began)):
            if before.ended is not None and after.began < before.ended:
                text = f"P4: on {device_id} {_run(after)} began before {_run(before)} had ended"
                yield Violation("devices_run_one_at_a_time", text, after.job_id, device_id, after.began)


def _run(run: Run) -> str:
    return f"{run.job_id}#{run.attempt} [{run.began:.2f}, {run.ended if run.ended is not None else '?'}]"


def nothing_crosses_an_org(h: History) -> Iterator[Violation]:
    """P6: lists and answers name jobs of the org that was asked for, and a test finds its own environment."""
    for org_id, job_ids in h.listed.items():
        for job_id in job_ids:
            if not job_id.startswith(f"{org_id}~"):
                yield Violation("nothing_crosses_an_org", f"P6: the list of {org_id} names {job_id}", job_id)
    for asked in h.asked:
        for job_id in asked.job_ids:
            if not job_id.startswith(f"{asked.org_id}~"):
                text = f"P6: an answer to {asked.org_id} names {job_id}"
                yield Violation("nothing_crosses_an_org", text, job_id, at=asked.answered_at)
    for run in h.runs:
        job = h.jobs.get(run.job_id)
        key = None if job is None else f"{job.org_id}-{job.test_path.rpartition('/')[2]}"
        if not run.job_id.startswith(f"{run.org_id}~") or (key is not None and run.key != key):
            text = f"P6: {_run(run)} ran with the environment of {run.org_id}, {run.key}"
            yield Violation("nothing_crosses_an_org", text, run.job_id, run.device_id, run.began)


def losses_have_causes(h: History) -> Iterator[Violation]:
    """P9: an attempt is lost only to a fault that may cost one; see excuses.py."""
    for job in h.jobs.values():
        for a in job.attempts:
            if a.outcome is Outcome.AGENT_LOST and not may_be_lost(h, job.job_id, a):
                text = f"P9: attempt {a.attempt} of {job.job_id} was lost on {a.agent_id}, and no fault accounts for it"
                at = None if a.ended_at is None else a.ended_at.timestamp() - h.boot
                yield Violation("losses_have_causes", text, job.job_id, a.device_id, at)


def programs_do_not_fail_by_themselves(h: History) -> Iterator[Violation]:
    """P9: no program ends unasked or tells of an error of its own, no caller is answered `internal`."""
    for trouble in h.troubles:
        text = f"P9: {trouble.program}: {trouble.text}"
        yield Violation("programs_do_not_fail_by_themselves", text, at=trouble.at)
    for asked in h.asked:
        over = (
            asked.until is not None and (asked.answered_at or 0.0) >= asked.until
        )  # a hold that was repeated too late
        if asked.error in ("internal", "invalid") and not over:
            text = f"P9: {asked.verb} was answered {asked.error}: {asked.message}"
            yield Violation("programs_do_not_fail_by_themselves", text, asked.meant, at=asked.at)


def the_store_is_sound(h: History) -> Iterator[Violation]:
    """At the end indexes, counters, queues and leases agree with the jobs."""
    for text in h.audit:
        yield Violation("the_store_is_sound", f"P9: the store: {text}")
