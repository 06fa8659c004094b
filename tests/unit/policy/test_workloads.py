# ruff: noqa: S311 - randomness here is that of a seed
"""What holds of whole runs: any small workload, simulated from the first submission to the last end.

**The bound on waits.** Take a job of group G, and call jobs *good* that the rules may serve before it: those whose
score is at most its own plus `OLDER_SECONDS` (the age rule calls a device away from younger ones) plus a class (near
the end of a group a long one may go before others that are older by so much); those of other orgs that are no less
urgent when they begin than it was when it came (within an urgency shares come before age); and those that are given
out before it has been urgent for `OLDER_SECONDS` (until then rules that save installations may keep it waiting for
less urgent ones, see `switching`; how soon it is served as a rule is told at the end of this module). From the first
moment at which a device that may serve it takes work after the submission, some device is always on good work or on
an installation for it, until the job is taken: G is served, and the device that serves it takes jobs of G that are no
younger than a class, or it is not, and then no device idles, and whichever is free takes a good job by rank or stays
with good ones. So the job waits no longer than what runs at its submission has left, and all good jobs take that a
device may serve which may serve it, with an installation before each.

**Under limits**, of an org's attempts and of a group's devices, a device may idle although the job waits: while others
of its org have the places, wherever they run, or while the last place is left to an older one of them, which waits for
a device of its own. So there all good jobs count that a device may serve which may serve any job of the org; and one
after another, as under a limit of 1, though a larger one serves some at a time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bench.scheduling.engine import Simulation
from bench.scheduling.outcome import Outcome
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.switching import OLDER_SECONDS, PATIENCE_INSTALLS, TURN_INSTALLS
from qgjob_coordinator.policy.rank import (
    CLASS_SECONDS,
    HEAD_STARTS,
    ORDER_EPOCH_MS,
    ORDERS_PER_MS,
    URGENT_SECONDS,
    queue_score,
    urgency_of,
)
from qgjob_coordinator.policy.snapshot import Limits

TARGETS = (Target.EMULATOR, Target.DEVICE)
PLATFORMS = ("android", "ios")
ALLOWED_BEHIND = OLDER_SECONDS + CLASS_SECONDS


@dataclass(frozen=True)
class Lab:
    """A workload, and the settings of the coordinator that it meets."""

    trace: Trace
    cap: int | None = None
    quota: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)


@st.composite
def labs(draw: st.DrawFn) -> Lab:
    """Any workload, under caps, quotas and weights: each of them in some."""
    random = Random(draw(st.integers(0, 1 << 32)))
    return Lab(
        draw(traces()),
        cap=draw(st.sampled_from((None, None, 1, 2))),
        quota=draw(st.sampled_from((None, None, 1, 2, 5))),
        weights={f"org{n}": random.choice((0.3, 1.0, 4.0)) for n in range(4) if random.random() < 0.4},
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Bursts and steady flows of some orgs, in which devices are short at times and idle at others.

    In half of them some jobs are for one platform, or for one device.
    """
    devices, jobs, orgs = (draw(st.sampled_from(range(1, most + 1))) for most in (5, 60, 4))
    random = Random(draw(st.integers(0, 1 << 32)))
    fleet = [TraceDevice(f"d{n}", random.choice(TARGETS), random.choice(PLATFORMS)) for n in range(devices)]
    picky = random.choice((0.0, 0.3))
    span, typical = random.choice((0, 600, 30_000)), random.choice((1, 30, 400))
    return Trace(
        install_seconds=random.choice((5.0, 45.0)),
        devices=tuple(fleet),
        jobs=tuple(_job(random, fleet, picky, orgs, span, typical) for _ in range(jobs)),
        history={("org0", f"t{n}.py", t): (20.0 * n + 1,) for n in range(3) for t in TARGETS},
    )


def _job(random: Random, fleet: list[TraceDevice], picky: float, orgs: int, span: int, typical: float) -> TraceJob:
    device = random.choice(fleet)
    requirements = ANY_DEVICE
    if random.random() < picky:
        requirements = random.choice((Requirements(platform=device.platform), Requirements(device_id=device.device_id)))
    return TraceJob(
        at=round(random.random() * span, 1),
        org_id=f"org{random.randrange(orgs)}",
        app_version_id=f"v{random.randrange(3)}",
        target=device.target,
        priority=random.choice((Priority.LOW, Priority.MEDIUM, Priority.HIGH)),
        test_path=f"t{random.randrange(6)}.py",
        seconds=round(typical * random.lognormvariate(0, 0.8), 2) + 0.01,
        requirements=requirements,
    )


def simulated(lab: Lab) -> Outcome:
    limits = Limits(group_max_devices=lab.cap)
    return Simulation(lab.trace, plan, limits=limits, quota=lab.quota, weights=lab.weights).run()


def fit(trace: Trace, job: TraceJob) -> set[str]:
    """The devices that may serve the job. Said again, so that a mistake in `feasible` shows."""
    asks = job.requirements
    return {
        d.device_id
        for d in trace.devices
        if d.target is job.target and asks.platform in (None, d.platform) and asks.device_id in (None, d.device_id)
    }


def head_start(job: TraceJob) -> float:
    """When a job of the lowest class would have been submitted that is served as early (s)."""
    return job.at - HEAD_STARTS[job.priority]


def urgent_at(job: TraceJob, at: float) -> int:
    """How urgent a job is at a moment of the trace (s)."""
    return urgency_of(
        queue_score(job.priority, round(job.at * 1000) * ORDERS_PER_MS), ORDER_EPOCH_MS + round(at * 1000)
    )


def given_out_by(outcome: Outcome, limit: float) -> set[int]:
    """Jobs that may have been given out by then: those that began, and the first one after them on each device."""
    found, behind = set(), set()
    for index, run in sorted(outcome.runs.items(), key=lambda item: item[1].began):
        if run.began <= limit or run.device_id not in behind:
            found.add(index)
        if run.began > limit:
            behind.add(run.device_id)
    return found


@settings(max_examples=200)
@given(labs())
def test_work_is_done_as_the_rules_say_and_no_job_waits_longer_than_all_that_may_come_before_it_takes(lab: Lab) -> None:
    """Whatever jobs ask of devices, and orgs weigh."""
    lab = replace(lab, cap=None, quota=None)
    outcome = simulated(lab)
    assert_each_runs_once_where_it_may(lab.trace, outcome)
    assert_one_thing_at_a_time(lab.trace, outcome)
    assert_bounded(lab.trace, outcome, lambda job: fit(lab.trace, job))


@settings(max_examples=125)
@given(labs().filter(lambda lab: lab.cap is not None or lab.quota is not None))
def test_under_limits_too_and_a_job_waits_no_longer_than_all_that_comes_before_any_of_its_org_takes(lab: Lab) -> None:
    """To whom limits leave the last place is told in `test_places`."""
    outcome = simulated(lab)
    assert_each_runs_once_where_it_may(lab.trace, outcome)
    assert_one_thing_at_a_time(lab.trace, outcome)
    of_org: dict[str, set[str]] = defaultdict(set)
    for job in lab.trace.jobs:
        of_org[job.org_id] |= fit(lab.trace, job)
    assert_bounded(lab.trace, outcome, lambda job: of_org[job.org_id])


def assert_each_runs_once_where_it_may(trace: Trace, outcome: Outcome) -> None:
    """On a device that may serve it, after its submission."""
    assert outcome.runs.keys() == set(range(len(trace.jobs)))
    for index, run in outcome.runs.items():
        job = trace.jobs[index]
        assert run.device_id in fit(trace, job)
        assert run.began >= job.at
        assert abs(run.ended - run.began - job.seconds) < 1e-6


def assert_one_thing_at_a_time(trace: Trace, outcome: Outcome) -> None:
    """And a device has what it runs installed: installs are those that the sequence of its jobs needs, and no other."""
    by_device: dict[str, list[tuple[float, float, tuple[str, str] | None, tuple[str, str] | None]]] = defaultdict(list)
    for i in outcome.installs:
        by_device[i.device_id].append((i.began, i.ended, (i.org_id, i.app_version_id), None))
    for index, run in outcome.runs.items():
        job = trace.jobs[index]
        by_device[run.device_id].append((run.began, run.ended, None, (job.org_id, job.app_version_id)))
    needed = 0
    for does in by_device.values():
        does.sort(key=lambda interval: interval[:2])
        assert all(ended <= began + 1e-6 for (_, ended, *_), (began, *_) in pairwise(does))
        has = None
        for _, _, installs, runs in does:
            has, before = installs or has, has
            needed += installs is not None
            assert installs is None or installs != before, "what was there is not installed again"
            assert runs is None or runs == has
    assert needed == len(outcome.installs)
    event(f"{min(9, needed)} installs")


def assert_bounded(trace: Trace, outcome: Outcome, devices: Callable[[TraceJob], set[str]]) -> None:
    """Each job waits for good jobs (see above) of its `devices` at most."""
    for index, run in outcome.runs.items():
        job = trace.jobs[index]
        may = devices(job)
        mates = [(i, j) for i, j in enumerate(trace.jobs) if i != index and not may.isdisjoint(fit(trace, j))]
        limit = max(job.at, head_start(job) + URGENT_SECONDS) + OLDER_SECONDS
        early = given_out_by(outcome, limit)
        before = [
            j
            for i, j in mates
            if outcome.runs[i].ended > job.at
            and (
                i in early
                or head_start(j) <= head_start(job) + ALLOWED_BEHIND
                or (j.org_id != job.org_id and urgent_at(j, outcome.runs[i].began) >= urgent_at(job, job.at))
            )
        ]
        bound = trace.install_seconds + sum(j.seconds + trace.install_seconds for j in before)
        assert run.began - job.at <= bound + 1e-6


def flow(devices: int, late: TraceJob, *others: TraceJob) -> Trace:
    """One org's urgent work for ten hours, and a job that comes late."""
    endless = [
        TraceJob(60.0 * n, "busy", "endless", Target.EMULATOR, Priority.HIGH, f"t{n % 5}.py", 60.0 * devices)
        for n in range(600)
    ]
    return Trace(45.0, tuple(TraceDevice(f"d{n}", Target.EMULATOR) for n in range(devices)), (late, *endless, *others))


def test_nothing_waits_for_ever_behind_a_group_that_never_runs_dry() -> None:
    """The lowest class of the same org, where the highest keeps the only device busy for ten hours."""
    late = TraceJob(100.0, "busy", "late", Target.EMULATOR, Priority.LOW, "late.py", 10.0)
    run = simulated(Lab(flow(1, late))).runs[0]
    assert URGENT_SECONDS < run.began - late.at <= URGENT_SECONDS + OLDER_SECONDS + 60 + 2 * 45


def test_an_org_is_served_beside_one_that_never_runs_dry() -> None:
    """It has its share of two devices within a turn, not when it has aged."""
    late = TraceJob(3000.0, "small", "late", Target.EMULATOR, Priority.HIGH, "late.py", 10.0)
    run = simulated(Lab(flow(2, late))).runs[0]
    assert run.began - late.at < CLASS_SECONDS


INSTALL, TEST = 45.0, 60.0
TURN, PATIENCE = TURN_INSTALLS * INSTALL, PATIENCE_INSTALLS * INSTALL


def behind_a_backlog(
    *late: TraceJob, devices: int = 4, hours: float = 4.0, priority: Priority = Priority.MEDIUM
) -> Lab:
    """All of one org's work for some hours came at once; then come other jobs."""
    count = round(hours * 3600 / TEST) * devices
    backlog = [
        TraceJob(0.0, "busy", f"v{n % 3}", Target.EMULATOR, priority, f"t{n % 5}.py", TEST) for n in range(count)
    ]
    fleet = tuple(TraceDevice(f"d{n}", Target.EMULATOR) for n in range(devices))
    history = {("busy", f"t{n}.py", Target.EMULATOR): (TEST,) for n in range(5)}
    return Lab(Trace(INSTALL, fleet, (*late, *backlog), history))


@pytest.mark.parametrize("at", [60.0, 300.0, 1700.0, 3600.0, 10_000.0])
def test_an_org_gets_its_share_within_a_turn_however_old_the_backlog_of_another_one_is(at: float) -> None:
    """Of four devices two, and so it is done long before the backlog is."""
    late = [TraceJob(at, "small", "late", Target.EMULATOR, Priority.MEDIUM, f"l{n}.py", 30.0) for n in range(40)]
    outcome = simulated(behind_a_backlog(*late))
    runs = [outcome.runs[n] for n in range(len(late))]
    assert min(r.began for r in runs) - at <= TURN + TEST + INSTALL
    assert len({r.device_id for r in runs}) >= 2
    assert max(r.ended for r in runs) - at <= 2 * (TURN + TEST + INSTALL) + 40 * 30.0 / 2


@pytest.mark.parametrize("at", [60.0, 3000.0, 10_000.0, 24_000.0])
@pytest.mark.parametrize("priority", [Priority.LOW, Priority.MEDIUM])
@pytest.mark.parametrize("org", ["busy", "small"])
def test_a_fresh_urgent_job_goes_before_a_backlog_of_hours(at: float, priority: Priority, org: str) -> None:
    """Of its own org or of another one: it waits for five installations, what runs, and its own one."""
    late = TraceJob(at, org, "hotfix", Target.EMULATOR, Priority.HIGH, "late.py", 10.0)
    run = simulated(behind_a_backlog(late, devices=2, hours=8.0, priority=priority)).runs[0]
    assert run.began - at <= PATIENCE + TEST + INSTALL


@pytest.mark.parametrize("every", [30.0, 60.0])
def test_a_trickle_of_single_jobs_costs_few_installations_and_waits_for_five_at_most(every: float) -> None:
    """And for what runs, and its own one. They are served some at a time: one by one they would cost two each."""
    late = [
        TraceJob(1700 + every * n, "small", "late", Target.EMULATOR, Priority.MEDIUM, f"l{n}.py", 10.0)
        for n in range(30)
    ]
    with_them, alone = simulated(behind_a_backlog(*late)), simulated(behind_a_backlog())
    assert max(with_them.runs[n].began - job.at for n, job in enumerate(late)) <= PATIENCE + TEST + INSTALL
    assert len(with_them.installs) - len(alone.installs) <= 2 * (len(late) * every / PATIENCE + 2)
