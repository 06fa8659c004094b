"""`python -m tests.chaos`: faults for a while, and what came of it. Exit code 1 when a promise was broken."""

from __future__ import annotations

import argparse
import asyncio
import pickle
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.chaos.breakages import BREAKAGES, broken
from tests.chaos.checker import check
from tests.chaos.faults.registry import left_out
from tests.chaos.history import History
from tests.chaos.report import Report
from tests.chaos.run import Plan, run
from tests.chaos.scale import Scale
from tests.chaos.schedule import Form, Kind
from tests.chaos.story import story
from tests.chaos.told import told
from tests.chaos.whole import Whole, made_from, mutants
from tests.fakes.waiting import BUSY_SECONDS

STORIES = 5
HISTORY = "history.pickle"


def main() -> int:
    """The exit code: 0 when every promise was kept."""
    options = _options()
    if options.check is not None:
        return _again(options.check)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", flush=True)
    whole = Whole(seed, made_from())
    shares = sum(share for _, share in options.stores)
    for form, share in options.stores:
        whole.reports.append(_one(options, seed, form, options.minutes * share / shares))
        _write(whole, options.json)
    if options.mutants:
        whole.mutants = mutants()
        _write(whole, options.json)
    print(whole.text())
    few = whole.faults < options.least_faults or whole.jobs < options.least_jobs
    if few:
        wanted = f"{options.least_faults} faults and {options.least_jobs} jobs"
        print(f"\nonly {whole.faults} faults and {whole.jobs} jobs; {wanted} were asked for")
    return 0 if whole.kept and not few else 1


def _one(options: argparse.Namespace, seed: int, form: Form, minutes: float) -> Report:
    """A run with a store of this form, and its report, which is printed too."""
    plan = Plan(
        seed=seed,
        seconds=minutes * 60,
        scale=Scale(options.scale, options.load_seconds),
        jobs_per_second=options.jobs_per_second,
        only=tuple(Kind(word) for word in options.only.split(",") if word),
        form=form,
        rests=options.rests,
    )
    with tempfile.TemporaryDirectory(prefix="qgjob-chaos-", ignore_cleanup_errors=True) as folder:
        if options.breaks is not None:
            plan = replace(plan, lua=broken(options.breaks, Path(folder) / "lua"))
        history = asyncio.run(run(plan, Path(folder) / "lab"))
        violations = check(history)
        if options.keep is not None:
            (options.keep / form.value).mkdir(parents=True, exist_ok=True)
            (options.keep / form.value / HISTORY).write_bytes(pickle.dumps(history))
            if violations:
                _keep(Path(folder) / "lab", options.keep / form.value)
    left = {k.value: why for k, why in left_out().items()}
    report = Report(history, violations, left, minutes, form, options.rests)
    if options.each:
        print("\n".join(report.each()))
    print(report.text(), flush=True)
    for each in report.told()[:STORIES]:
        print(f"\n{story(history, each.violation)}")
    if violations:
        print(f"\nrepeat it with: {report.command()}", flush=True)
    return report


def _again(file: Path) -> int:
    """Judges a history that was kept once more, by the rules as they are now."""
    history: History = pickle.loads(file.read_bytes())  # noqa: S301 - written by this very program
    violations = check(history)
    for each in told(violations):
        print(f"{each.times} x {story(history, each.violation)}\n")
    print(f"{len(violations)} violations")
    return 1 if violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="of schedule and workload; any when it is left out")
    parser.add_argument("--minutes", type=float, default=60.0, help="for which faults come (default: 60)")
    stores = "forms of the store, one after the other, each with its share of the minutes (default: one)"
    parser.add_argument("--stores", type=_stores, default="one", metavar="one:5,sentinel:1,cluster:1", help=stores)
    parser.add_argument("--scale", type=float, default=0.2, help="of the product's times, S = 15 s and A = 60 s")
    parser.add_argument(
        "--load-seconds", type=float, default=BUSY_SECONDS, help="what this machine may add to each bound"
    )
    parser.add_argument("--rests", type=float, default=1.0, help="a factor of the pauses between faults (default: 1)")
    parser.add_argument("--jobs-per-second", type=float, default=6.0, help="that are submitted, about")
    parser.add_argument("--least-faults", type=int, default=0, help="fail when fewer were injected")
    parser.add_argument("--least-jobs", type=int, default=0, help="fail when fewer were submitted")
    parser.add_argument("--only", default="", help="kinds of faults, separated by commas")
    parser.add_argument("--mutants", action="store_true", help="each fence switched off, too: which tests see it")
    parser.add_argument("--each", action="store_true", help="print each fault, with its recoveries")
    parser.add_argument("--json", type=Path, help="a file for the report")
    kept = f"a folder for the {HISTORY} of each run, and for the logs of one that broke a promise"
    parser.add_argument("--keep", type=Path, help=kept)
    parser.add_argument("--check", type=Path, metavar="FILE", help=f"judge a kept {HISTORY} again, and run nothing")
    parser.add_argument("--break", dest="breaks", choices=BREAKAGES, help="a fence to take away: the run has to fail")
    return parser.parse_args()


def _stores(text: str) -> list[tuple[Form, float]]:
    """`one:5,cluster` as forms with their shares, 1 where none is named. Raises ValueError."""
    pairs = [part.partition(":") for part in text.split(",")]
    return [(Form(form), float(share or 1)) for form, _, share in pairs]


def _write(whole: Whole, file: Path | None) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(whole.json())


def _keep(lab: Path, folder: Path) -> None:
    """Copies the programs' logs and what the tests wrote."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in [*lab.glob("*/*.log"), *lab.glob("store/*/*.log"), lab / "truth" / "runs"]:
        if file.exists():
            name = file.name if file.name != "store.log" else f"{file.parent.name}.log"
            (folder / name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
