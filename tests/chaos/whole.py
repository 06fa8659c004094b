"""All that one call of the lab found: a report for each form of the store, and the mutants with what caught them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from bench.processes import ROOT
from tests.chaos.report import Report

SUMMED = ("faults", "jobs", "jobs_acknowledged", "attempts", "tests_that_ran", "lost_to_cuts")


@dataclass
class Whole:
    """`made`: commit, machine and the like. `mutants`: what `python -m tests.mutation --json` said, if it was asked."""

    seed: int
    made: dict[str, str]
    reports: list[Report] = field(default_factory=list)
    mutants: dict[str, Any] | None = None

    @property
    def faults(self) -> int:
        """Injected in all runs."""
        return sum(len(report.history.done) for report in self.reports)

    @property
    def jobs(self) -> int:
        """Submitted in all runs."""
        return sum(len(report.history.jobs) for report in self.reports)

    @property
    def kept(self) -> bool:
        """Whether no promise was broken, and no mutant lived."""
        return not any(report.violations for report in self.reports) and not self._alive()

    def _alive(self) -> list[str]:
        if self.mutants is None:
            return []
        return [m["id"] for m in self.mutants["mutants"] if not m["caught"]] + self.mutants["red"]

    def figures(self) -> dict[str, Any]:
        """All as JSON."""
        runs = [report.figures() for report in self.reports]
        found: dict[str, Any] = {"seed": self.seed, **self.made}
        found |= {key: sum(run[key] for run in runs) for key in SUMMED}
        found |= {"violations": sum(len(report.violations) for report in self.reports), "runs": runs}
        if self.mutants is not None:
            found["mutants"] = [{"id": m["id"], "caught_by": m["caught_by"]} for m in self.mutants["mutants"]]
        return found

    def json(self) -> str:
        """The figures as a file to be committed: they are in one order, and name no folder of this machine."""
        return json.dumps(self.figures(), indent=2) + "\n"

    def text(self) -> str:
        """For people: the sums, and what was found, which stands far above them where stories were told."""
        f = self.figures()
        lines = [f"{report.form}: {each.line().strip()}" for report in self.reports for each in report.told()]
        lines += [
            f"in all: {f['faults']} faults, {f['jobs']} jobs, {f['attempts']} attempts, {f['violations']} violations"
        ]
        if self.mutants is not None:
            alive = self._alive()
            count = len(self.mutants["mutants"])
            lines.append(f"{count} mutants, " + (f"not caught: {', '.join(alive)}" if alive else "all caught"))
        return "\n".join(lines)


def made_from() -> dict[str, str]:
    """From what, and where."""
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return {"commit": git.stdout.strip() or "unknown", "machine": machine}


def mutants() -> dict[str, Any]:
    """Each rule of the catalogue switched off in turn. Raises ValueError when that run said nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
