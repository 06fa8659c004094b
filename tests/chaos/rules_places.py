"""Rules about devices, orgs and programs: P4, P6, P9."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from qgjob import Attempt, Outcome
from tests.chaos.history import MACHINE, MOVABLE, History, Span, joined
from tests.chaos.schedule import Kind
from tests.chaos.truth import Run
from tests.chaos.violations import Violation

END_WHAT_RUNS = (Kind.AGENT_GONE, Kind.AGENT_TERM)
"""Faults of an agent that end its tests, whatever runs them."""
END_SIMULATED = (*END_WHAT_RUNS, Kind.AGENT_KILL)


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
    """P9: an attempt is lost only to a fault that may cost one; see `may_be_lost`."""
    for job in h.jobs.values():
        for a in job.attempts:
            if a.outcome is Outcome.AGENT_LOST and not may_be_lost(h, a):
                text = f"P9: attempt {a.attempt} of {job.job_id} was lost on {a.agent_id}, and no fault accounts for it"
                at = None if a.ended_at is None else a.ended_at.timestamp() - h.boot
                yield Violation("losses_have_causes", text, job.job_id, a.device_id, at)


def may_be_lost(h: History, a: Attempt) -> bool:
    """Whether the end of an agent, a cut of the store, or a silence that is long enough fell into its time."""
    begin = a.started_at or a.scheduled_at
    if begin is None or a.ended_at is None:
        return False
    life = Span(begin.timestamp() - h.boot - h.scale.session, a.ended_at.timestamp() - h.boot)
    kinds = END_SIMULATED if a.agent_id in h.simulated else END_WHAT_RUNS
    if any(done.fault.target == a.agent_id and done.span.meets(life) for done in h.done_of(*kinds)):
        return True
    if any(Span(cut.back_to, cut.at + h.scale.session).meets(life) for cut in h.cuts):
        return True
    return any(span.end - span.begin >= h.scale.patience and span.meets(life) for span in silences(h, a.agent_id))


def silences(h: History, agent_id: str) -> list[Span]:
    """When the agent may have had no heartbeat confirmed, as one where no time was left for one in between."""
    needs = {
        MACHINE,
        "store",
        agent_id,
        f"link {agent_id}",
        *(o.place for o in h.outages if o.place.startswith(MOVABLE)),
    }
    spans = joined(h.outages_of(needs), gap=h.scale.times.heartbeat)
    return [Span(span.begin, span.end - h.scale.session) for span in spans]


def programs_do_not_fail_by_themselves(h: History) -> Iterator[Violation]:
    """P9: no program ends unasked or tells of an error of its own, no caller is answered `internal`."""
    for trouble in h.troubles:
        text = f"P9: {trouble.program}: {trouble.text}"
        yield Violation("programs_do_not_fail_by_themselves", text, at=trouble.at)
    for asked in h.asked:
        if asked.error in ("internal", "invalid"):
            text = f"P9: {asked.verb} was answered {asked.error}: {asked.message}"
            yield Violation("programs_do_not_fail_by_themselves", text, asked.meant, at=asked.at)


def the_store_is_sound(h: History) -> Iterator[Violation]:
    """At the end indexes, counters, queues and leases agree with the jobs."""
    for text in h.audit:
        yield Violation("the_store_is_sound", f"P9: the store: {text}")
