"""Checks docs/model: what must hold, holds; and each rule that is taken away gives its counterexample.

The table of both is docs/model/cases.toml. Needs `spin` and `gcc`; without them it says so, and ends with 0 unless told
to `--require` them. A case of the full set alone is left out unless `--full` is given.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

MODEL = Path(__file__).resolve().parent.parent / "docs" / "model"
MEMORY_MB = 3000
DEPTH = 1_000_000
BROKEN = re.compile(r"assertion violated .*\(at depth (\d+)\)")
STATES = re.compile(r"^\s*([\d.e+]+) states, stored", re.MULTILINE)
CUT_SHORT = re.compile(r"out of memory|MEMLIM bound|max search depth too small|aborting|Search not completed")
STEP = re.compile(
    r"^ *(agent|agents|session|reaper|fault|faults|tree|supervisor|org|nothing|a tree|client|store|fleet)[ :].*$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One search. `breaks` names the property that has to fail; '' means that all have to hold."""

    name: str
    file: str
    defines: tuple[str, ...] = ()
    breaks: str = ""
    removed: str = ""
    full: bool = False


@dataclass(slots=True)
class Result:
    """What a search found: `steps` of the shortest counterexample, or 0; `fault` if it ended in any other way."""

    name: str
    states: int = 0
    steps: int = 0
    seconds: float = 0.0
    fault: str = ""
    trail: list[str] = field(default_factory=list)


def cases(text: str) -> list[Case]:
    """The table. Raises SystemExit naming an entry that has a key too many, or lacks one."""
    found = []
    for kind, entries in tomllib.loads(text).items():
        for entry in entries:
            try:
                case = Case(**{**entry, "defines": tuple(entry.get("defines", ()))})
            except TypeError as e:
                sys.exit(f"cases.toml: {kind} {entry.get('name', '?')}: {e}")
            if (kind == "mutants") != bool(case.breaks and case.removed):
                sys.exit(f"cases.toml: {case.name}: mutants, and only they, have `breaks` and `removed`")
            found.append(case)
    return found


def _run(command: Sequence[str], here: Path, limit: float | None = None) -> subprocess.CompletedProcess[str]:
    """Raises subprocess.TimeoutExpired after `limit` seconds."""
    return subprocess.run(  # noqa: S603 - commands of this file
        command, cwd=here, capture_output=True, text=True, check=False, timeout=limit
    )


def search(case: Case, limit: float) -> Result:
    """Generates, compiles and runs one verifier in a directory of its own; at most `limit` seconds."""
    result = Result(case.name)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="model-") as place:
        here = Path(place)
        for source in MODEL.glob("*.pml"):
            shutil.copy(source, here)
        flags = [f"-D{d}" for d in case.defines] + ([f"-DKEPT={case.breaks}"] if case.breaks else [])
        # Breadth first finds the shortest counterexample; depth first takes less memory where all is searched.
        how = ["-DBFS"] if case.breaks else []
        # A mutant is found at once: compiling is what takes the time.
        how.append("-O0" if case.breaks else "-O2")
        make = ["gcc", "-w", "-DSAFETY", "-DNOREDUCE", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", *how]
        for command in (["spin", "-a", *flags, case.file], [*make, "pan.c", "-o", "pan"]):
            done = _run(command, here)
            if done.returncode or "rror" in done.stdout + done.stderr:
                result.fault = f"{command[0]}: {(done.stdout + done.stderr).strip()[:400]}"
                return result
        try:
            ran = _run(["./pan", f"-m{DEPTH}"], here, limit)
        except subprocess.TimeoutExpired:
            result.fault = f"not finished in {limit:g} s"
            return result
        result.seconds = round(time.monotonic() - begun, 1)
        states = STATES.search(ran.stdout)
        result.states = int(float(states[1])) if states else 0
        broken = BROKEN.search(ran.stdout)
        if broken:
            result.steps = int(broken[1])
            told = _run(["./pan", "-r"], here)
            result.trail = [m[0].strip() for m in STEP.finditer(told.stdout)]
        elif "errors: 0" not in ran.stdout or CUT_SHORT.search(ran.stdout):
            result.fault = f"pan: {ran.stdout.strip()[:400]}"
    return result


def judge(case: Case, result: Result) -> str:
    """What is wrong with the result, or ''."""
    if result.fault:
        return result.fault
    if case.breaks and not result.steps:
        return f"{case.breaks} holds without it: the rule is not needed, or the model too weak to show why"
    if not case.breaks and result.steps:
        return "broken, see the trail"
    return ""


def _tell(case: Case, result: Result, *, trails: bool) -> bool:
    """Prints one line, and the trail where it is wanted; whether something is wrong."""
    fault = judge(case, result)
    found = f"{case.breaks} breaks after {result.steps} steps" if result.steps else "holds"
    print(f"{case.name:32} {fault or found}  ({result.states:,} states, {result.seconds} s)", flush=True)
    if result.trail and (trails or not case.breaks):
        print("".join(f"    {line}\n" for line in result.trail), end="")
    return bool(fault)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the table; 1 when something is not as it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="the large searches too (minutes)")
    parser.add_argument("--require", action="store_true", help="fail where spin or gcc is missing")
    parser.add_argument("--only", metavar="NAME", help="cases whose name contains this")
    parser.add_argument("--trails", action="store_true", help="print each counterexample")
    parser.add_argument("--limit", type=float, default=900.0, metavar="SECONDS", help="for each search")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="searches at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    args = parser.parse_args(argv)
    missing = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if missing:
        print(f"model not checked: {' and '.join(missing)} not found (Debian: apt-get install spin gcc)")
        return 1 if args.require else 0
    results, wrong = [], 0
    table = cases((MODEL / "cases.toml").read_text(encoding="utf-8"))
    chosen = [c for c in table if (args.full or not c.full) and (args.only or "") in c.name]
    with ThreadPoolExecutor(args.jobs) as pool:
        for case, result in zip(chosen, pool.map(lambda c: search(c, args.limit), chosen), strict=True):
            wrong += _tell(case, result, trails=args.trails)
            results.append(result)
    if args.json:
        args.json.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n", encoding="utf-8")
    print(f"{len(results)} searches, {wrong} not as docs/model/cases.toml says")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
