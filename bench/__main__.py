"""`python -m bench [--only NAME ...] [--quick] [--repeat N] [--json FILE]`: measures, prints a table, writes JSON."""

from __future__ import annotations

import argparse
import signal
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


def _round(names: Sequence[str], sizes: Sizes, failures: dict[str, Figure]) -> dict[str, Figure]:
    """Measures each once. One that fails is noted in `failures` and leaves the others their figures."""
    figures: dict[str, Figure] = {}
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        try:
            figures |= WORKLOADS[name](sizes)
        except BenchError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failures[name] = str(error)
    return with_ratios(figures)


def _leave(number: int, frame: object) -> None:
    """On SIGTERM: out through the context managers, which end what they started."""
    del frame
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; 0 when all could be measured, whether or not the targets are reached."""
    options = _options(argv)
    signal.signal(signal.SIGTERM, _leave)
    sizes = QUICK if options.quick else FULL
    facts = machine.facts()
    failures: dict[str, Figure] = {}
    rounds = [_round(options.only or list(WORKLOADS), sizes, failures) for _ in range(options.repeat)]
    figures = merged(rounds)
    about: dict[str, Figure] = {
        "failures": failures,
        "machine": {**facts, "load_average_after": machine.load_average()},
        "sizes": asdict(sizes),
        "rounds": len(rounds),
        "log_level": LOG_LEVEL,
    }
    print(report.table(figures, rounds))
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"log level {LOG_LEVEL}, appendfsync everysec, {len(rounds)} round(s){', QUICK sizes' * options.quick}")
    report.write(options.json, {**figures, **about})
    print(f"written to {options.json}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
