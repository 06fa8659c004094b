"""What no schedule of a trace can go below, however clever and whatever it knows.

**Installs.** Devices are cold at first and hold one app version at a time. Jobs run only on a device of their target
that has their org's version. So each distinct (org, version, target) is installed at least once.

**Makespan** is the moment of the last end, from time 0. Targets share no devices, so the bound is the largest over
targets. Take the jobs J of one target, its m devices, installs of s seconds.

*Longest path.* A device may install before a job's submission only what was submitted before: the policy cannot know a
version before its first job. Let f(g) be the first submission of group g. A job of g cannot start before it is
submitted, nor before g's first install has ended, which begins at f(g) at the earliest. So it ends at
max(at, f(g) + s) + seconds or later.

*Total work.* For a time r, let J(r) be the jobs submitted at r or after, and N(r) the groups whose first job is in
J(r), that is with f(g) >= r. All of J(r) is worked on in [r, end]: no job runs before it is submitted. Each g in N(r)
is installed at least once, and not before f(g) >= r. Groups that were known before r may have been installed by
then, and count for nothing. Jobs and installs occupy one device each for their whole length, and a device does one
thing at a time, so m * (end - r) >= sum of seconds over J(r) + s * |N(r)|, that is
end >= r + (sum of seconds over J(r) + s * |N(r)|) / m. The right side, for fixed J(r) and N(r), grows with r, so only
times of submission need looking at.

*Wide groups do not add to it.* More than one install of a group is never unavoidable by this argument alone, so the
bound counts one; a burst on many idle devices may be far above it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scheduling.trace import Trace, TraceJob
from qgjob_coordinator.model.enums import Target

GroupId = tuple[str, str, Target]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds of a trace. A trace without jobs has 0 of both."""

    installs: int
    makespan_seconds: float


def group_of(job: TraceJob) -> GroupId:
    """(org, app version, target): jobs that one installation serves."""
    return (job.org_id, job.app_version_id, job.target)


def bounds(trace: Trace) -> Bounds:
    """Raises ValueError for a job whose target no device has."""
    by_target: dict[Target, list[TraceJob]] = defaultdict(list)
    for job in trace.jobs:
        by_target[job.target].append(job)
    makespans = []
    for target, jobs in by_target.items():
        devices = sum(d.target is target for d in trace.devices)
        if not devices:
            raise ValueError(f"target {target.value}: no device has it, so its {len(jobs)} jobs never end")
        makespans += [_longest_path(jobs, trace.install_seconds), _total_work(jobs, devices, trace.install_seconds)]
    return Bounds(len({group_of(job) for job in trace.jobs}), max(makespans, default=0.0))


def _first_submissions(jobs: Sequence[TraceJob]) -> dict[GroupId, float]:
    first: dict[GroupId, float] = {}
    for job in jobs:
        first[group_of(job)] = min(job.at, first.get(group_of(job), job.at))
    return first


def _longest_path(jobs: Sequence[TraceJob], install_seconds: float) -> float:
    first = _first_submissions(jobs)
    return max(max(job.at, first[group_of(job)] + install_seconds) + job.seconds for job in jobs)


def _total_work(jobs: Sequence[TraceJob], devices: int, install_seconds: float) -> float:
    """Goes through times of submission from the last to the first, so that each adds its jobs and new groups."""
    added: dict[float, float] = defaultdict(float)
    for job in jobs:
        added[job.at] += job.seconds
    for at in _first_submissions(jobs).values():
        added[at] += install_seconds
    best = work = 0.0
    for at in sorted(added, reverse=True):
        work += added[at]
        best = max(best, at + work / devices)
    return best
