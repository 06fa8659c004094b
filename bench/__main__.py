"""`python -m bench [--only NAME ...] [--quick] [--repeat N] [--json FILE]`: measures, prints a table, writes JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import machine, report
from bench.figures import Figure, merged, with_ratios
from bench.processes import ROOT, BenchError
from bench.sizes import FULL, QUICK, Sizes
from bench.stack import LOG_LEVEL
from bench.workloads import bullmq, end_to_end, latency, million, submits

WORKLOADS: dict[str, Callable[[Sizes], dict[str, Figure]]] = {
    "end_to_end": end_to_end.measure,
    "bullmq": bullmq.measure,
    "submit_jobs": submits.measure_submit_jobs,
    "client_submit": submits.measure_client_submit,
    "fsync_always": end_to_end.measure_fsync_always,
    "submit_to_start": latency.measure_submit_to_start,
    "floor": latency.measure_floor,
    "million_queued": million.measure,
}
OUTPUT = ROOT / "bench" / "out" / "latest.json"


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="NAME", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: a check that it works, not a measurement")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="rounds over all; medians are shown")
    parser.add_argument("--json", type=Path, default=OUTPUT, metavar="FILE", help="default: bench/out/latest.json")
    options = parser.parse_args(argv)
    if options.repeat < 1:
        parser.error(f"--repeat: {options.repeat} rounds measure nothing; use 1 or more")
    return options


def _round(names: Sequence[str], sizes: Sizes) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        figures |= WORKLOADS[name](sizes)
    return with_ratios(figures)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; 0 when all could be measured, whether or not the targets are reached."""
    options = _options(argv)
    sizes = QUICK if options.quick else FULL
    facts = machine.facts()
    try:
        rounds = [_round(options.only or list(WORKLOADS), sizes) for _ in range(options.repeat)]
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    figures = merged(rounds)
    about: dict[str, Figure] = {
        "machine": facts,
        "sizes": asdict(sizes),
        "rounds": len(rounds),
        "log_level": LOG_LEVEL,
    }
    print(report.table(figures, rounds))
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"log level {LOG_LEVEL}, appendfsync everysec, {len(rounds)} round(s){', QUICK sizes' * options.quick}")
    report.write(options.json, {**figures, **about})
    print(f"written to {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
