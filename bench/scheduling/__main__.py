"""`python -m bench.scheduling`: one trace under one policy, or all workloads under all policies."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.scheduling.baselines import FAN_OUT_MARK, POLICIES, QGJOB, policy
from bench.scheduling.compare import Case, Measured, Row, measure_all, rows, simulate
from bench.scheduling.frontier import write_frontier
from bench.scheduling.gantt import write_gantt
from bench.scheduling.goals import FAIRNESS
from bench.scheduling.metrics import Report, report
from bench.scheduling.read import TraceError, read_trace
from bench.scheduling.table import comparison, one
from bench.scheduling.trace import Trace
from bench.scheduling.workloads import TABLE, WORKLOADS, generate

OUT = Path(__file__).parents[1] / "out"
JSON_FILE, PLOT_FILE = OUT / "scheduling.json", OUT / "scheduling.svg"
SEEDS = 5
SWEEP = (2.0, 4.0, 7.0, 15.0)
"""Fan-outs for the frontier of the coordinator's policy."""
WORKLOAD_HELP = f"of {', '.join(WORKLOADS)}; default: {', '.join(w.name for w in TABLE)}"
POLICY_HELP = f"of {', '.join(POLICIES)}, or {QGJOB}{FAN_OUT_MARK}N for another fan-out"
_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for input that cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.trace and (options.workload or options.seeds):
        parser.error("--trace: is one trace; leave out --workload and --seeds")
    if options.gantt and not options.trace and len(options.workload or ()) != 1:
        parser.error("--gantt: draws one trace; give --trace, or one --workload")
    limited = options.group_max_devices or options.max_running_per_org
    others = [p for p in options.policy or (QGJOB,) if not p.startswith(QGJOB)]
    if limited and (others or not (options.trace or options.policy)):
        named = f" leave out --policy {' '.join(others)}" if others else f" add --policy {QGJOB}"
        parser.error(f"--group-max-devices, --max-running-per-org: are settings of {QGJOB};{named}")
    if options.gantt and len(options.policy or [QGJOB]) != 1:
        parser.error("--gantt: draws one policy; give one --policy")
    for option, file in (("--json", options.json), ("--gantt", options.gantt)):
        if file is not None and not file.parent.is_dir():
            print(f"{option}: there is no folder {file.parent}; make it, or give another file", file=sys.stderr)
            return _BAD_INPUT
    try:
        return _one_trace(options) if options.trace else _compare(options)
    except TraceError as e:
        print(str(e), file=sys.stderr)
    except OSError as e:
        print(f"{e.filename}: cannot be written ({e.strerror}); give another file", file=sys.stderr)
    return _BAD_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduling", description=__doc__)
    parser.add_argument("--trace", type=Path, metavar="FILE", help="simulate this trace (JSON; see bench/README.md)")
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, metavar="NAME", help=WORKLOAD_HELP)
    parser.add_argument("--policy", nargs="+", type=_policy, metavar="NAME", help=POLICY_HELP)
    parser.add_argument("--seeds", type=_count, metavar="N", help=f"traces of each workload; default {SEEDS}")
    parser.add_argument("--group-max-devices", type=_count, metavar="N", help="as the coordinator's GROUP_MAX_DEVICES")
    parser.add_argument("--max-running-per-org", type=_count, metavar="N", help="as its MAX_RUNNING_PER_ORG")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="what is printed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--gantt", type=Path, metavar="FILE.svg", help="draw devices over time (one trace, one policy)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; use 1 or more")
    return int(text)


def _policy(text: str) -> str:
    try:
        return policy(text).name
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def _one_trace(options: argparse.Namespace) -> int:
    """Prints the report of a trace; of several policies, their reports by name."""
    trace = read_trace(options.trace)
    policies = list(dict.fromkeys(options.policy or [QGJOB]))
    reports = {name: _report(trace, name, options) for name in policies}
    document = reports if len(policies) > 1 else reports[policies[0]]
    if options.json:
        _write(options.json, document)
    if options.output == "json":
        print(json.dumps(document, indent=2))
    else:
        print("\n\n".join(one(name, figures) for name, figures in reports.items()))
    return 0


def _report(trace: Trace, name: str, options: argparse.Namespace) -> Report:
    outcome = simulate(trace, policy(name), **_limits(options))
    if options.gantt:
        write_gantt(options.gantt, trace, outcome, f"{name} on {options.trace.name}")
    return report(trace, outcome)


def _limits(options: argparse.Namespace) -> dict[str, int | None]:
    return {"group_max_devices": options.group_max_devices, "quota": options.max_running_per_org}


def _compare(options: argparse.Namespace) -> int:
    """Prints means over seeds. Without a choice of workloads or policies they are written and drawn too."""
    everything = not (options.workload or options.policy)
    workloads = list(dict.fromkeys(options.workload or (w.name for w in TABLE)))
    policies = list(dict.fromkeys(options.policy or POLICIES))
    seeds = options.seeds or SEEDS
    cases = [Case(w, s, p, **_limits(options)) for w in workloads for p in policies for s in range(seeds)]
    measured = measure_all(cases + (_sweep(workloads, seeds) if everything else []))
    means = rows(measured)
    document = _document(seeds, means, measured)
    file = options.json or (JSON_FILE if everything else None)
    if file:
        _write(file, document)
    if everything:
        write_frontier(PLOT_FILE, means)
    if options.gantt:
        trace = generate(workloads[0], 0)
        outcome = simulate(trace, policy(policies[0]), **_limits(options))
        write_gantt(options.gantt, trace, outcome, f"{policies[0]} on {workloads[0]}, seed 0")
    if options.output == "json":
        print(json.dumps(document, indent=2))
        return 0
    print(comparison({w: {p: of[p] for p in policies} for w, of in means.items()}))
    if everything:
        print(f"\nfigures: {file}\nfrontier: {PLOT_FILE}")
    return 0


def _sweep(workloads: Sequence[str], seeds: int) -> list[Case]:
    """The coordinator's policy with other fan-outs, where installs and makespan are what counts."""
    swept = [w for w in workloads if w not in FAIRNESS]
    return [Case(w, s, f"{QGJOB}{FAN_OUT_MARK}{n:g}") for w in swept for n in SWEEP for s in range(seeds)]


def _document(seeds: int, means: dict[str, dict[str, Row]], measured: Sequence[Measured]) -> dict[str, object]:
    runs = [{"workload": m.case.workload, "policy": m.case.policy, "seed": m.case.seed, **m.report} for m in measured]
    return {"seeds": seeds, "means": means, "runs": runs}


def _write(file: Path, document: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
