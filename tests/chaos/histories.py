"""Histories written by hand, for the tests of the checker: a sound one, and what one is made from. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from qgjob import Attempt, Job, JobStatus, Outcome, Priority, Target
from tests.chaos.checker import check
from tests.chaos.history import Asked, Done, Event, History, Outage, Recovery, Span
from tests.chaos.scale import Scale
from tests.chaos.schedule import Fault, Kind
from tests.chaos.truth import Run
from tests.chaos.violations import Violation
from tests.chaos.workload import Does, JobPlan, Verb

BOOT = 1_800_000_000.0
SCALE = Scale(0.1)  # S = 1.5 s, A = 6 s, patience 3.8 s
ACME, GLOBEX = "acme~01", "globex~02"

Damage = Callable[[History], None]


@dataclass(frozen=True)
class Case:
    """A damage to the sound history, the rule that has to see it, and a part of what it has to say.

    `alone`: no other rule sees it.
    """

    damage: Damage
    rule: str
    text: str
    alone: bool = False


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """A test for each of the cases, as its argument `case`."""
    return pytest.mark.parametrize("case", cases, ids=[case.damage.__name__ for case in cases])


def violations(damage: Damage) -> list[Violation]:
    """What the checker finds in the sound history after the damage."""
    history = sound()
    damage(history)
    return check(history)


def judge(case: Case) -> None:
    """Raises AssertionError when the rule does not see it, or another one does too and must not."""
    found = violations(case.damage)
    assert any(case.text in v.text for v in found if v.rule == case.rule), found
    assert not case.alone or {v.rule for v in found} == {case.rule}, found


def wall(at: float) -> datetime:
    return datetime.fromtimestamp(BOOT + at, UTC)


def attempt(number: int, outcome: Outcome, begin: float, end: float, device: str = "cmd-1-1", **fields: Any) -> Attempt:
    values: dict[str, Any] = {"round": 1, "agent_id": device.rpartition("-")[0], "device_id": device} | fields
    return Attempt(attempt=number, outcome=outcome, started_at=wall(begin), ended_at=wall(end), **values)


def job(job_id: str, *attempts: Attempt, **fields: Any) -> Job:
    org_id, _, number = job_id.partition("~")
    values: dict[str, Any] = {
        "app_version_id": "v1",
        "test_path": f"tests/{number}.spec.js",
        "priority": Priority.MEDIUM,
        "target": Target.DEVICE,
        "status": JobStatus.COMPLETED,
        "outcome": Outcome.PASSED,
        "round": 1,
        "created_at": wall(0),
        "updated_at": wall(0),
        "max_retries": 3,
    }
    return Job(job_id=job_id, org_id=org_id, attempts=attempts, **values | fields)


def events(job_id: str, *steps: str, begin: float = 1.0) -> list[Event]:
    """`q`, `s1 cmd-1-1`, `c1:passed cmd-1-1`, …: letter, attempt, outcome and device, 0.1 s apart."""
    found = []
    for version, step in enumerate(steps, 1):
        word, _, device = step.partition(" ")
        state, _, outcome = word.partition(":")
        found.append(
            Event(
                job_id=job_id,
                version=version,
                letter=state[0],
                outcome=outcome or None,
                at=begin + version / 10,
                org_id=job_id.partition("~")[0],
                attempt=int(state[1:] or 0),
                device_id=device or None,
                agent_id=device.rpartition("-")[0] or None,
            )
        )
    return found


def run(job_id: str, number: int, begin: float, end: float | None, device: str = "cmd-1-1", **fields: Any) -> Run:
    org_id, _, name = job_id.partition("~")
    values: dict[str, Any] = {"alone": True, "code": None if end is None else 0} | fields
    key = f"{org_id}-{name}.spec.js"
    return Run(f"{job_id}{number}{begin}", device, job_id, number, begin, org_id=org_id, key=key, ended=end, **values)


def done(kind: Kind, target: str, begin: float, end: float, *recoveries: Recovery) -> Done:
    return Done(Fault(1, kind, begin, end - begin, target), Span(begin, end), recoveries)


def sound() -> History:
    """Two jobs of two orgs, one after the other on one device; the first lost an attempt when its agent's host went."""
    h = History(1, SCALE, Span(0.0, 60.0), boot=BOOT, simulated=frozenset({"sim-1"}))
    h.asked = [
        Asked(Verb.SUBMIT, "acme", 1.0, answered_at=1.1, job_ids=(ACME,)),
        Asked(Verb.SUBMIT, "globex", 1.0, answered_at=1.1, job_ids=(GLOBEX,)),
        Asked(Verb.SUBMIT, "globex", 30.0, answered_at=40.0, error="conflict"),
    ]
    lost = attempt(1, Outcome.AGENT_LOST, 2.0, 9.0, "cmd-2-1")
    h.jobs = {
        ACME: job(ACME, lost, attempt(2, Outcome.PASSED, 10.0, 11.0)),
        GLOBEX: job(GLOBEX, attempt(1, Outcome.PASSED, 11.0, 12.0)),
    }
    h.listed = {"acme": [ACME], "globex": [GLOBEX]}
    passed = ("s2 cmd-1-1", "r2 cmd-1-1", "c2:passed cmd-1-1")
    h.events = events(ACME, "q", "s1 cmd-2-1", "r1 cmd-2-1", "q1", *passed)
    h.events += events(GLOBEX, "q", "s1 cmd-1-1", "r1 cmd-1-1", "c1:passed cmd-1-1")
    h.runs = [run(ACME, 1, 2.0, None, "cmd-2-1"), run(ACME, 2, 10.0, 11.0), run(GLOBEX, 1, 11.0, 12.0)]
    back = Recovery("its jobs are adopted or released", 10.0, 10.5, SCALE.session, ("store",))
    h.done = [done(Kind.AGENT_GONE, "cmd-2", 3.0, 10.0, back)]
    h.outages = [Outage("cmd-2", Span(3.0, 10.0))]
    return h


def plan(job_id: str, test: Does | None = Does.PASS, retries: int = 3, run_id: str | None = None) -> JobPlan:
    org_id, _, number = job_id.partition("~")
    return JobPlan(int(number), org_id, f"tests/{number}.spec.js", "v1", test, 1.0, retries, run_id, True)


def ended(h: History, job_id: str, outcome: Outcome, letter: str = "f") -> None:
    """The last attempt of the job, and with it the job, as all that was written down has it."""
    status = JobStatus.CANCELLED if outcome is Outcome.CANCELLED else JobStatus.FAILED
    before = h.jobs[job_id]
    *others, last = before.attempts
    attempts = (*others, replace(last, outcome=outcome))
    h.jobs[job_id] = replace(before, attempts=attempts, status=status, outcome=outcome)
    i = max(i for i, e in enumerate(h.events) if e.job_id == job_id)
    h.events[i] = replace(h.events[i], letter=letter, outcome=outcome.value)
    k = max(k for k, r in enumerate(h.runs) if r.job_id == job_id)
    h.runs[k] = replace(h.runs[k], code=1)
