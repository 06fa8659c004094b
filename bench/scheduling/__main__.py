"""`python -m bench.scheduling`: one trace under one policy, or all workloads under all policies."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.scheduling.baselines import POLICIES
from bench.scheduling.compare import Case, Measured, Row, measure_all, rows, simulate
from bench.scheduling.frontier import write_frontier
from bench.scheduling.gantt import write_gantt
from bench.scheduling.metrics import Report, report
from bench.scheduling.read import TraceError, read_trace
from bench.scheduling.table import comparison, one
from bench.scheduling.trace import Trace
from bench.scheduling.workloads import WORKLOADS, generate

OUT = Path(__file__).parents[1] / "out"
JSON_FILE, PLOT_FILE = OUT / "scheduling.json", OUT / "scheduling.svg"
SEEDS = 5
_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for input that cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.trace and (options.workload or options.seeds):
        parser.error("--trace: is one trace; leave out --workload and --seeds")
    if options.gantt and not options.trace and len(options.workload or ()) != 1:
        parser.error("--gantt: draws one trace; give --trace, or one --workload")
    if options.gantt and len(options.policy or ["qgjob"]) != 1:
        parser.error("--gantt: draws one policy; give one --policy")
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
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, metavar="NAME", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--policy", nargs="+", choices=POLICIES, metavar="NAME", help=f"of {', '.join(POLICIES)}")
    parser.add_argument("--seeds", type=_count, metavar="N", help=f"traces of each workload; default {SEEDS}")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="what is printed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--gantt", type=Path, metavar="FILE.svg", help="draw devices over time (one trace, one policy)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count; use 1 or more")
    return int(text)


def _one_trace(options: argparse.Namespace) -> int:
    """Prints the report of a trace; of several policies, their reports by name."""
    trace = read_trace(options.trace)
    policies = list(dict.fromkeys(options.policy or ["qgjob"]))
    reports = {name: _report(trace, name, options) for name in policies}
    document = reports if len(policies) > 1 else reports[policies[0]]
    if options.json:
        _write(options.json, document)
    if options.output == "json":
        print(json.dumps(document, indent=2))
    else:
        print("\n\n".join(one(name, figures) for name, figures in reports.items()))
    return 0


def _report(trace: Trace, policy: str, options: argparse.Namespace) -> Report:
    outcome = simulate(trace, POLICIES[policy])
    if options.gantt:
        write_gantt(options.gantt, trace, outcome, f"{policy} on {options.trace.name}")
    return report(trace, outcome)


def _compare(options: argparse.Namespace) -> int:
    """Prints means over seeds; of everything, they are written and drawn too."""
    workloads = list(dict.fromkeys(options.workload or WORKLOADS))
    policies = list(dict.fromkeys(options.policy or POLICIES))
    seeds = options.seeds or SEEDS
    cases = [Case(w, seed, p) for w in workloads for p in policies for seed in range(seeds)]
    measured = measure_all(cases)
    means = rows(measured)
    everything = not (options.workload or options.policy)
    document = _document(seeds, means, measured)
    file = options.json or (JSON_FILE if everything else None)
    if file:
        _write(file, document)
    if everything:
        write_frontier(PLOT_FILE, means)
    if options.gantt:
        trace = generate(workloads[0], 0)
        outcome = simulate(trace, POLICIES[policies[0]])
        write_gantt(options.gantt, trace, outcome, f"{policies[0]} on {workloads[0]}, seed 0")
    print(json.dumps(document, indent=2) if options.output == "json" else comparison(means))
    if everything and options.output == "table":
        print(f"\nfigures: {file}\nfrontier: {PLOT_FILE}")
    return 0


def _document(seeds: int, means: dict[str, dict[str, Row]], measured: Sequence[Measured]) -> dict[str, object]:
    runs = [{"workload": m.case.workload, "policy": m.case.policy, "seed": m.case.seed, **m.report} for m in measured]
    return {"seeds": seeds, "means": means, "runs": runs}


def _write(file: Path, document: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
