"""Policies side by side on workloads: means over seeds, and how they stand to the baselines and to the goals."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from bench.scheduling.baselines import FIFO, PRIORITY_FIFO, STICKY, Policy, policy
from bench.scheduling.engine import Simulation
from bench.scheduling.metrics import Report, report
from bench.scheduling.outcome import Outcome
from bench.scheduling.trace import Trace
from bench.scheduling.workloads import SMALL_ORG, generate

PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One simulation of many; the limits are those of `simulate`."""

    workload: str
    seed: int
    policy: str
    group_max_devices: int | None = None
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A case's figures. `fair_share_wait` is the small org's ideal mean wait (s), where there is one."""

    case: Case
    report: Report
    fair_share_wait: float | None


Row = dict[str, float | None]


def simulate(
    trace: Trace, deciding: Policy, *, group_max_devices: int | None = None, quota: int | None = None
) -> Outcome:
    """A group has at most so many devices, an org holds at most so many attempts; None: no such limit.

    Raises RuntimeError when a job never runs.
    """
    limits = replace(deciding.limits, group_max_devices=group_max_devices)
    return Simulation(trace, deciding.plan, limits=limits, quota=quota, score=deciding.score).run()


def fair_share_wait(trace: Trace, org_id: str) -> float:
    """The mean wait (s) of an org that has its fair share of the devices to itself, all others' work gone.

    The share is an equal one between the orgs of the trace, in whole devices; that it serves its jobs as sticky FIFO.
    """
    orgs = len({job.org_id for job in trace.jobs})
    jobs = tuple(job for job in trace.jobs if job.org_id == org_id)
    devices = []
    for target in {job.target for job in jobs}:
        of_target = [d for d in trace.devices if d.target is target]
        devices += of_target[: max(1, len(of_target) // orgs)]
    alone = replace(trace, devices=tuple(devices), jobs=jobs)
    return report(alone, simulate(alone, policy(STICKY)))["wait_seconds"]["mean"]


def measure(case: Case) -> Measured:
    """Generates the trace, simulates, reports."""
    trace = generate(case.workload, case.seed)
    limits = {"group_max_devices": case.group_max_devices, "quota": case.quota}
    figures = report(trace, simulate(trace, policy(case.policy), **limits))
    ideal = fair_share_wait(trace, SMALL_ORG) if SMALL_ORG in figures["wait_seconds"]["by_org"] else None
    return Measured(case, figures, ideal)


def measure_all(cases: Sequence[Case]) -> list[Measured]:
    """In the order of the cases, in a few processes of their own."""
    if len(cases) == 1:
        return [measure(cases[0])]
    with multiprocessing.get_context("spawn").Pool(min(PROCESSES, len(cases))) as pool:
        return pool.map(measure, cases, chunksize=1)


def rows(measured: Sequence[Measured]) -> dict[str, dict[str, Row]]:
    """Figures by workload and policy: means over seeds. None stands for what cannot be told from these cases."""
    by_case: dict[str, dict[str, list[Measured]]] = {}
    for one in measured:
        by_case.setdefault(one.case.workload, {}).setdefault(one.case.policy, []).append(one)
    return {
        workload: {name: _row(runs, of_policies) for name, runs in of_policies.items()}
        for workload, of_policies in by_case.items()
    }


def _row(runs: Sequence[Measured], peers: Mapping[str, Sequence[Measured]]) -> Row:
    reports = [run.report for run in runs]
    waits = [r["wait_seconds"] for r in reports]
    return {
        "installs_to_bound": fmean(r["installs"] / max(1, r["bounds"]["installs"]) for r in reports),
        "makespan_to_bound": fmean(_ratio(r["makespan_seconds"], r["bounds"]["makespan_seconds"]) for r in reports),
        "mean_wait_seconds": fmean(w["mean"] for w in waits),
        "high_mean_wait_seconds": _mean_known([_high_mean(run) for run in runs]),
        "high_wait_to_fifo": _against(runs, peers.get(FIFO), _high_mean),
        "high_wait_to_priority_fifo": _against(runs, peers.get(PRIORITY_FIFO), _high_mean),
        "p95_wait_to_sticky": _against(runs, peers.get(STICKY), lambda m: m.report["wait_seconds"]["p95"]),
        "longest_wait_seconds": fmean(w["max"] for w in waits),
        "small_org_wait_to_fair_share": _to_fair_share(runs),
        "start_estimate_error": _mean_known([r["start_estimate_error"]["median"] for r in reports]),
        "low_start_estimate_error": _mean_known(
            [r["start_estimate_error"]["by_priority"]["low"]["median"] for r in reports]
        ),
        "plan_ms_p99": fmean(r["plan_ms"]["p99"] for r in reports),
    }


def _ratio(value: float, least: float) -> float:
    return value / least if least else 1.0


def _high_mean(one: Measured) -> float | None:
    high = one.report["wait_seconds"]["by_priority"]["high"]
    return high["mean"] if high["count"] else None


def _against(
    runs: Sequence[Measured], peers: Sequence[Measured] | None, figure: Callable[[Measured], float | None]
) -> float | None:
    """Mean of a figure over seeds, to that of a baseline over the same seeds."""
    mine, theirs = _mean_known(list(map(figure, runs))), _mean_known(list(map(figure, peers or ())))
    return mine / theirs if mine is not None and theirs else None


def _to_fair_share(runs: Sequence[Measured]) -> float | None:
    ideals = [run.fair_share_wait for run in runs if run.fair_share_wait]
    if not ideals:
        return None
    return fmean(run.report["wait_seconds"]["by_org"][SMALL_ORG]["mean"] for run in runs) / fmean(ideals)


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known else None
