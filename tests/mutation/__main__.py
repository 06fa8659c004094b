"""`python -m tests.mutation`: switches every rule of the catalogue off in turn, and says what saw it."""

from __future__ import annotations

import argparse
import os
import sys

from tests.mutation.catalogue import HOMES, ROOT, Mutant, load
from tests.mutation.conditions import clauses
from tests.mutation.runner import as_json, as_lines, run


def main() -> int:
    """0 when every mutant was caught, and all is green without them."""
    options = _parser().parse_args()
    if options.clauses:
        _show_clauses(options.only)
        return 0
    mutants = [m for m in load() if _wanted(m, options.only)]
    if not mutants:
        print(f"no mutant is called {', '.join(options.only)}", file=sys.stderr)
        return 2
    outcomes, red = run(mutants, options.jobs, green=not options.no_green)
    caught = sum(o.caught for o in outcomes)
    if options.json:
        print(as_json(outcomes, red))
    else:
        told = [o for o in outcomes if not (options.quiet and o.caught)]
        for line in as_lines(told, red):
            print(line)
        print(f"{caught} of {len(mutants)} mutants caught")
    return 0 if caught == len(mutants) and not red else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="those whose id or file has it")
    parser.add_argument("--json", action="store_true", help="a report for programs")
    parser.add_argument("--quiet", action="store_true", help="show those only that were not caught")
    parser.add_argument("--jobs", type=int, default=3 * (os.cpu_count() or 1), help="so many at once; they wait a lot")
    parser.add_argument("--no-green", action="store_true", help="don't run the tests without a mutant")
    parser.add_argument("--clauses", action="store_true", help="show the clauses of the scripts, as entries name them")
    return parser


def _wanted(mutant: Mutant, only: list[str]) -> bool:
    return not only or any(text in mutant.id or text in mutant.file for text in only)


def _show_clauses(only: list[str]) -> None:
    for path in sorted((ROOT / HOMES["lua"]).rglob("*.lua")):
        name = f"lua/{path.relative_to(ROOT / HOMES['lua']).as_posix()}"
        if not only or any(text in name for text in only):
            for clause in clauses(path.read_text(encoding="utf-8")):
                print(f"{name}: {clause}")


if __name__ == "__main__":
    sys.exit(main())
