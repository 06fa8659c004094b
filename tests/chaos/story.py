"""The shortest useful story of a violation: all that happened to its job and on its device, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import History
from tests.chaos.violations import Violation

LINES = 60
AROUND_SECONDS = 5.0


def story(h: History, v: Violation) -> str:
    """The violation, then its lines. Times are seconds after the run's begin."""
    lines = sorted({*_of_job(h, v), *_of_device(h, v)})
    times = [at for at, _ in lines] + ([v.at] if v.at is not None else [])
    if times:
        lines = sorted({*lines, *_faults(h, min(times) - AROUND_SECONDS, max(times) + AROUND_SECONDS)})
    if len(lines) > LINES:
        middle = v.at if v.at is not None else lines[-1][0]
        lines = sorted(sorted(lines, key=lambda line: abs(line[0] - middle))[:LINES])
    begin = h.span.begin
    return "\n".join([f"{v.text}   [{v.rule}]", *(f"  {at - begin:9.3f}  {text}" for at, text in lines)])


def _of_job(h: History, v: Violation) -> Iterator[tuple[float, str]]:
    if v.job_id is None:
        return
    for asked in h.asked:
        if v.job_id in asked.job_ids or asked.meant == v.job_id:
            answer = asked.error or "acknowledged"
            yield asked.at, f"client    {asked.verb} asked"
            if asked.answered_at is not None:
                yield asked.answered_at, f"client    {asked.verb} {answer}"
    for event in h.events:
        if event.job_id == v.job_id:
            yield (
                event.at,
                f"store     v{event.version} {event.letter} attempt {event.attempt} "
                + " ".join(x for x in (event.outcome, event.device_id, event.agent_id) if x is not None),
            )
    job = h.jobs.get(v.job_id)
    for a in job.attempts if job is not None else ():
        for what, when in (("scheduled", a.scheduled_at), ("started", a.started_at), ("ended", a.ended_at)):
            if when is not None:
                yield when.timestamp() - h.boot, f"attempt   {a.attempt} on {a.device_id} {what} ({a.outcome})"


def _of_device(h: History, v: Violation) -> Iterator[tuple[float, str]]:
    for run in h.runs:
        near = v.at is not None and run.device_id == v.device_id and abs(run.began - v.at) < 6 * AROUND_SECONDS
        if run.job_id == v.job_id or near:
            alone = "" if run.alone else ", and something lived there"
            yield run.began, f"test      {run.job_id}#{run.attempt} began on {run.device_id}{alone}"
            if run.ended is not None:
                yield run.ended, f"test      {run.job_id}#{run.attempt} ended with {run.code}"


def _faults(h: History, since: float, until: float) -> Iterator[tuple[float, str]]:
    for done in h.done:
        if done.span.begin <= until and done.span.end >= since:
            yield done.span.begin, f"fault     {done.fault}"
