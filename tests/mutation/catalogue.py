"""The mutants: a rule of the code, switched off. What is replaced by what, which rule that is, and which tests see it.

The data are `mutants/*.toml`. An entry of a Lua file may name a clause of a condition (`clause`, `nth`) in place of the
text that is replaced (`old`); either has to be there, and `old` exactly once, so that an entry can't outlive its code.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.mutation.conditions import Clause, clauses

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "mutants"
HOMES = {
    "lua": Path("coordinator/qgjob_coordinator/store/lua"),
    "coordinator": Path("coordinator/qgjob_coordinator"),
    "agent": Path("agent/qgjob_agent"),
}
"""What the first part of a mutant's `file` stands for."""
KNOWN = {"id", "file", "old", "new", "clause", "nth", "rule", "why", "tests", "fails", "processes"}


class CatalogueError(Exception):
    """A catalogue that does not fit the code. The message says which entry and what to do."""


@dataclass(frozen=True)
class Mutant:
    """One rule that is switched off. `rule` is the row of docs/protocol.md that it takes away, if it is one."""

    id: str
    file: str  # as the catalogue says it: `lua/claim.lua`
    start: int
    end: int
    new: str
    rule: str
    why: str
    tests: tuple[str, ...]
    fails: str  # a text that the failure must have, if it is no AssertionError
    processes: bool  # its tests start programs, which are to have the mutant too

    @property
    def path(self) -> Path:
        """The file that is changed."""
        return _path(self.file)

    @property
    def old(self) -> str:
        """What is replaced."""
        return self.path.read_text(encoding="utf-8")[self.start : self.end]

    def mutated(self) -> str:
        """The file's text with the rule switched off."""
        text = self.path.read_text(encoding="utf-8")
        return text[: self.start] + self.new + text[self.end :]


def _path(file: str) -> Path:
    home, _, rest = file.partition("/")
    if home not in HOMES:
        raise CatalogueError(f"file = {file!r}: it has to begin with one of {', '.join(HOMES)}")
    return ROOT / HOMES[home] / rest


@cache
def load() -> list[Mutant]:
    """All mutants. Raises CatalogueError."""
    found = [_mutant(entry) for path in sorted(DATA.glob("*.toml")) for entry in _entries(path, "mutant")]
    ids = [m.id for m in found]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise CatalogueError(f"these ids are there twice: {', '.join(twice)}")
    return found


@cache
def no_fences() -> dict[tuple[str, str], str]:
    """(file, clause) -> why it is no fence; the clause `*` is all of a file. Raises CatalogueError."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(DATA.glob("*.toml")):
        for entry in _entries(path, "no_fence"):
            for line in entry["clauses"]:
                file, _, clause = line.partition(": ")
                if (file, clause) in found:
                    raise CatalogueError(f"{path.name}: {line!r} is there twice")
                found[file, clause] = entry["why"]
    return found


def _entries(path: Path, kind: str) -> list[dict[str, Any]]:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    unknown = sorted(set(data) - {"mutant", "no_fence"})
    if unknown:
        raise CatalogueError(f"{path.name}: no such table: {', '.join(unknown)}")
    entries: list[dict[str, Any]] = data.get(kind, [])
    return entries


def _mutant(entry: dict[str, Any]) -> Mutant:
    unknown = sorted(set(entry) - KNOWN)
    if unknown:
        raise CatalogueError(f"mutant {entry.get('id')}: no such field: {', '.join(unknown)}")
    file, new = entry["file"], entry["new"]
    text = _path(file).read_text(encoding="utf-8")
    if "clause" in entry:
        clause = _clause(file, text, entry["clause"], entry.get("nth", 1))
        start, end = clause.start, clause.end
        named = f"{Path(file).stem}: {clause} -> {new}"
    else:
        start, named = _only(file, text, entry["old"]), entry.get("id", "")
        end = start + len(entry["old"])
    tests = tuple(_expanded(t) for t in entry["tests"])
    rule, why = entry.get("rule", ""), entry.get("why", "")
    id_ = entry.get("id", named)
    if not id_ or not tests or not (rule or why):
        raise CatalogueError(f"mutant {id_ or file}: it needs an id, tests, and a rule or a why")
    fails, processes = entry.get("fails", ""), entry.get("processes", False)
    return Mutant(id_, file, start, end, new, rule, why, tests, fails, processes)


def _clause(file: str, text: str, wanted: str, nth: int) -> Clause:
    found = _clauses(text).get((wanted, nth))
    if found is not None:
        return found
    raise CatalogueError(
        f"{file} has no clause {wanted!r} (number {nth}) any more; see `python -m tests.mutation --clauses`"
    )


@cache
def _clauses(text: str) -> dict[tuple[str, int], Clause]:
    return {(c.text, c.nth): c for c in clauses(text)}


def _only(file: str, text: str, old: str) -> int:
    times = text.count(old)
    if times != 1:
        raise CatalogueError(f"{file} has {times} times {old!r}, where one is to be replaced")
    return text.index(old)


def _expanded(test: str) -> str:
    """`protocol::test_x` is short for the file that is named so."""
    name, sep, rest = test.partition("::")
    return f"{SHORT.get(name, name)}{sep}{rest}"


SHORT = {
    "protocol": "tests/fundamentals/test_protocol.py",
    "replies": "tests/fundamentals/test_lost_replies.py",
    "submit": "tests/integration/store/test_submit.py",
    "sessions": "tests/integration/store/test_sessions.py",
    "transitions": "tests/integration/store/test_transitions.py",
    "outages": "tests/integration/store/test_outages.py",
    "registry": "tests/integration/store/test_registry.py",
    "overflow": "tests/integration/store/test_overflow.py",
    "unbuilt": "tests/integration/service/test_unbuilt.py",
    "unbuilt_rule": "tests/unit/policy/test_unbuilt.py",
    "active": "tests/integration/store/test_active_orgs.py",
    "batches": "tests/integration/store/test_batches.py",
    "estimates": "tests/integration/store/test_estimates.py",
    "heads": "tests/integration/store/test_heads.py",
    "holds": "tests/integration/store/test_holds.py",
    "reads": "tests/integration/store/test_reads.py",
    "progress": "tests/integration/store/test_progress.py",
    "passed": "tests/integration/store/test_passed_stays_in_job.py",
    "together": "tests/integration/store/test_start_with_finish.py",
    "timers": "tests/integration/store/test_timers.py",
    "backoff": "tests/integration/store/test_backoff.py",
    "coordinators": "tests/integration/store/test_fleet_of_two_coordinators.py",
    "core_guards": "tests/unit/agent/test_core_guards.py",
    "guards": "tests/integration/store/test_guards.py",
    "jobs": "tests/integration/store/test_guards_of_jobs.py",
    "damaged": "tests/integration/store/test_a_damaged_job_among_others.py",
    "each_field": "tests/integration/store/test_each_field_damaged.py",
    "leftovers": "tests/integration/store/test_leftovers_of_leases.py",
    "bonds": "tests/integration/store/test_bonds.py",
    "builds": "tests/integration/store/test_builds.py",
    "uploads": "tests/integration/store/test_uploads.py",
    "pushing": "tests/integration/builds/test_pushing.py",
    "keeping": "tests/integration/artifacts/test_keeping.py",
    "small": "tests/integration/artifacts/test_small.py",
    "suites": "tests/integration/suites/test_keeping.py",
    "agent_suites": "tests/integration/agent/test_suites.py",
    "superseding": "tests/integration/store/test_superseding.py",
    "forgetting": "tests/integration/store/test_forgetting.py",
    "health": "tests/integration/store/test_health.py",
    "reaping": "tests/integration/store/test_reaping.py",
    "order": "tests/integration/store/test_order_of_effects.py",
    "service_holds": "tests/unit/service/test_holds.py",
    "agent": "tests/unit/agent/test_protocol_rules.py",
    "limits": "tests/unit/agent/test_core_limits.py",
    "supervisor": "tests/unit/agent/test_supervisor.py",
    "stories": "tests/unit/agent/test_core_mutants.py",
    "agent_logs": "tests/integration/agent/test_logs.py",
}
"""How test files are called in the catalogue."""
