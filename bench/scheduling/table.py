"""Figures as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.scheduling.compare import Row
from bench.scheduling.goals import goals
from bench.scheduling.metrics import AllErrors, Report, Waits
from bench.scheduling.workloads import WORKLOADS

_COLUMNS = {
    "installs_to_bound": "installs/bound",
    "makespan_to_bound": "makespan/bound",
    "mean_wait_seconds": "mean wait",
    "high_mean_wait_seconds": "high wait",
    "high_wait_to_fifo": "high/fifo",
    "high_wait_to_priority_fifo": "high/prio",
    "p95_wait_to_sticky": "p95/sticky",
    "longest_wait_seconds": "longest",
    "small_org_wait_to_fair_share": "small/fair",
    "start_estimate_error": "est. error",
    "low_start_estimate_error": "low's",
    "plan_ms_p99": "plan ms",
}
_WHOLE_FROM = 100
_FINE = frozenset({"makespan_to_bound"})
LEGEND = (
    "Means over seeds. Waits in seconds; high/: mean wait of the high class to that baseline's; p95/sticky: 95th\n"
    "percentile of waits to sticky FIFO's; small/fair: the small org's mean wait to what its fair share of devices\n"
    "would give it alone; est. error: median error of told starts, of jobs that waited, in shares of the wait, and\n"
    "that of the low class; plan ms: p99 of one plan.\n"
    "! misses the goal."
)


def comparison(rows: Mapping[str, Mapping[str, Row]]) -> str:
    """A block for each workload, a line for each policy; what misses its goal is marked."""
    blocks = []
    for workload, policies in rows.items():
        lines = [("", *_COLUMNS.values())]
        lines += [(policy, *_cells(workload, row)) for policy, row in policies.items()]
        goal = goals(workload)
        lines.append(("goal", *(f"{goal[name]:g}" if name in goal else "" for name in _COLUMNS)))
        blocks.append(f"{workload}: {WORKLOADS[workload].what}\n{_aligned(lines)}")
    return "\n\n".join([*blocks, LEGEND])


def _cells(workload: str, row: Row) -> list[str]:
    goal = goals(workload)
    cells = []
    for name in _COLUMNS:
        value = row[name]
        missed = value is not None and name in goal and value > goal[name]
        cells.append(f"{_number(value, fine=name in _FINE)}{'!' if missed else ' '}")
    return cells


def _number(value: float | None, *, fine: bool = False) -> str:
    if value is None:
        return "-"
    if value >= _WHOLE_FROM:
        return f"{value:,.0f}"
    return f"{value:.3f}" if fine else f"{value:.2f}"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    )


def one(policy: str, figures: Report) -> str:
    """The report of one simulation."""
    bound, waits, errors, plans = (
        figures["bounds"],
        figures["wait_seconds"],
        figures["start_estimate_error"],
        figures["plan_ms"],
    )
    facts = (
        ("policy", policy),
        ("installs", f"{figures['installs']} (bound {bound['installs']})"),
        ("makespan", f"{figures['makespan_seconds']:,.1f} s (bound {bound['makespan_seconds']:,.1f} s)"),
        ("start estimates", _errors(errors)),
        ("plans", f"p50 {plans['p50']:.3f} ms, p99 {plans['p99']:.3f} ms, max {plans['max']:.3f} ms"),
    )
    of_all: Waits = {
        "count": sum(w["count"] for w in waits["by_priority"].values()),
        "mean": waits["mean"],
        "p95": waits["p95"],
        "max": waits["max"],
    }
    lines: list[tuple[str, ...]] = [("wait (s)", "jobs", "mean", "p95", "max"), _wait_line("all", of_all)]
    lines += [_wait_line(word, w) for word, w in waits["by_priority"].items()]
    lines += [_wait_line(f"org {org}", w) for org, w in waits["by_org"].items()]
    return f"{_listed(facts)}\n\n{_aligned(lines)}"


def _errors(errors: AllErrors) -> str:
    if errors["median"] is None or errors["p90"] is None:
        return "none"
    classes = [f"{word} {e['median']:.0%}" for word, e in errors["by_priority"].items() if e["median"] is not None]
    of_all = f"off by {errors['median']:.0%} (median), {errors['p90']:.0%} (p90) for {errors['count']:,} that waited"
    return f"{of_all}; medians: {', '.join(classes)}"


def _listed(facts: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in facts)


def _wait_line(name: str, waits: Waits) -> tuple[str, ...]:
    return (name, str(waits["count"]), f"{waits['mean']:,.1f}", f"{waits['p95']:,.1f}", f"{waits['max']:,.1f}")
