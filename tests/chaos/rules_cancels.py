"""The rule that no job is cancelled which nobody wanted to be, by whatever way it can be wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.chaos.history import Asked, History
from tests.chaos.rules_asked import WRITTEN_SECONDS, late_answer
from tests.chaos.rules_jobs import by_job
from tests.chaos.rules_wishes import may_cancel_run
from tests.chaos.violations import Violation
from tests.chaos.workload import Verb


def a_cancel_was_asked_for(h: History) -> Iterator[Violation]:
    """P2: a job becomes cancelled while a client asks for that, for its run's end, or for a run in its place."""
    cancels: dict[str, list[Asked]] = defaultdict(list)
    for asked in h.asked:
        if asked.verb in (Verb.CANCEL, Verb.CANCEL_RUN):
            cancels[asked.meant or f"{asked.org_id} {asked.run_id}"].append(asked)
    later = [asked for asked in h.asked if asked.verb in (Verb.SUPERSEDE, Verb.BOND)]
    for job_id, events in by_job(h).items():
        job = h.jobs.get(job_id)
        runs = [] if job is None else [(job.org_id, run_id) for run_id in job.run_ids]
        mine = [asked for name in (job_id, *map(" ".join, runs)) for asked in cancels[name]]
        for event in events:
            if event.letter != "x" or event.outcome is None or any(_meant(h, asked, event.at) for asked in mine):
                continue
            if not any(may_cancel_run(h, asked, run, event.at) for run in runs for asked in later):
                text = f"P2: {job_id} is cancelled, and nobody asked for that"
                yield Violation("a_cancel_was_asked_for", text, job_id, event.device_id, event.at)


def _meant(h: History, asked: Asked, at: float) -> bool:
    return asked.at - WRITTEN_SECONDS <= at <= late_answer(h, asked) + WRITTEN_SECONDS
