"""`python -m tests.chaos`: one run of faults, and what came of it. Exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.processes import ROOT
from tests.chaos.breakages import BREAKAGES, broken
from tests.chaos.checker import check
from tests.chaos.faults.registry import left_out
from tests.chaos.report import Report
from tests.chaos.run import Plan, run
from tests.chaos.scale import Scale
from tests.chaos.schedule import Form, Kind
from tests.chaos.story import story

STORIES = 5


def main() -> int:
    """The exit code: 0 when every promise was kept."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    plan = Plan(
        seed=seed,
        seconds=options.minutes * 60,
        scale=Scale(options.scale, options.load_seconds),
        jobs_per_second=options.jobs_per_second,
        only=tuple(Kind(word) for word in options.only.split(",") if word),
        form=options.store,
    )
    with tempfile.TemporaryDirectory(prefix="qgjob-chaos-", ignore_cleanup_errors=True) as folder:
        if options.breaks is not None:
            plan = replace(plan, lua=broken(options.breaks, Path(folder) / "lua"))
        history = asyncio.run(run(plan, Path(folder) / "lab"))
        violations = check(history)
        if violations and options.keep is not None:
            _keep(Path(folder) / "lab", options.keep)
    report = Report(history, violations, {k.value: why for k, why in left_out().items()}, options.minutes, _made())
    if options.each:
        print("\n".join(report.each()))
    print(report.text())
    for violation in violations[:STORIES]:
        print(f"\n{story(history, violation)}")
    if violations:
        print(f"\nrepeat it with: {report.figures()['command']}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report.figures(), indent=2) + "\n")
    few = len(history.done) < options.least_faults
    if few:
        print(f"\nonly {len(history.done)} faults were injected, {options.least_faults} were asked for")
    return 1 if violations or few else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of schedule and workload; any when it is left out")
    parser.add_argument("--minutes", type=float, default=60.0, help="for which faults come (default: 60)")
    parser.add_argument("--scale", type=float, default=0.2, help="of the product's times, S = 15 s and A = 60 s")
    parser.add_argument("--load-seconds", type=float, default=2.0, help="what this machine may add to each bound")
    parser.add_argument("--jobs-per-second", type=float, default=6.0, help="that are submitted, about")
    parser.add_argument("--least-faults", type=int, default=0, help="fail when fewer were injected")
    parser.add_argument(
        "--store", type=Form, default=Form.ONE, choices=Form, help="one server, three with Sentinels, or a Cluster"
    )
    parser.add_argument("--only", default="", help="kinds of faults, separated by commas")
    parser.add_argument("--each", action="store_true", help="print each fault, with its recoveries")
    parser.add_argument("--json", type=Path, help="a file for the report")
    parser.add_argument("--keep", type=Path, help="a folder for the logs of a run that broke a promise")
    parser.add_argument("--break", dest="breaks", choices=BREAKAGES, help="a fence to take away: the run has to fail")
    return parser.parse_args()


def _keep(lab: Path, folder: Path) -> None:
    """Copies the programs' logs and what the tests wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in [*lab.glob("*/*.log"), lab / "truth" / "runs"]:
        if file.exists():
            (folder / file.name).write_bytes(file.read_bytes())


def _made() -> dict[str, str]:
    """Where and from what."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"commit": git.stdout.strip() or "unknown", "machine": f"{platform.system()} {platform.machine()}"}


if __name__ == "__main__":
    sys.exit(main())
