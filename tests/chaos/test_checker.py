"""The checker as a whole: a sound history is not blamed, damage to any is seen, every rule has a test."""

from __future__ import annotations

import copy
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from qgjob import Outcome
from tests.chaos import (
    test_rules_asked,
    test_rules_causes,
    test_rules_grants,
    test_rules_health,
    test_rules_jobs,
    test_rules_places,
    test_rules_refusals,
    test_rules_runs,
    test_rules_sessions,
    test_rules_times,
    test_rules_wishes,
)
from tests.chaos.checker import RULES, check
from tests.chaos.histories import BOOT, SCALE, attempt, events, job, run, sound
from tests.chaos.history import Asked, History, Span
from tests.chaos.workload import Verb

TESTED = (
    test_rules_jobs,
    test_rules_grants,
    test_rules_asked,
    test_rules_causes,
    test_rules_runs,
    test_rules_places,
    test_rules_refusals,
    test_rules_times,
    test_rules_wishes,
    test_rules_health,
    test_rules_sessions,
)


def test_a_sound_history_is_not_blamed() -> None:
    assert check(sound()) == []


def test_every_rule_has_a_history_that_breaks_it() -> None:
    assert {case.rule for module in TESTED for case in module.BROKEN} == {rule.__name__ for rule in RULES}


# A property: whatever order and devices sound jobs have, nobody is blamed, and each kind of damage to any of them is.

NUMBERS = st.integers(0, 7)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Jobs one after the other on up to three devices, with failures that are retried."""
    h = History(1, SCALE, Span(0.0, 1000.0), boot=BOOT)
    free = dict.fromkeys(("cmd-1-1", "cmd-1-2", "cmd-2-1"), 1.0)
    for n in range(draw(st.integers(2, 8))):
        job_id = f"{draw(st.sampled_from(['acme', 'globex']))}~{n:02}"
        steps, attempts = ["q"], []
        count, end = draw(st.integers(1, 3)), 0.0
        for number in range(1, count + 1):
            device = draw(st.sampled_from(sorted(free)))
            begin = max(free[device], end) + draw(st.floats(0, 2))
            end = free[device] = begin + draw(st.floats(0.01, 3))
            last = number == count
            outcome = Outcome.PASSED if last else Outcome.TEST_FAILED
            attempts.append(attempt(number, outcome, begin, end, device))
            h.runs.append(run(job_id, number, begin, end, device, code=0 if last else 1))
            steps += [f"s{number} {device}", f"r{number} {device}"]
            flaky = ":flaky" if count > 1 else ":passed"
            steps.append(f"c{number}{flaky} {device}" if last else f"q{number}")
        outcome = Outcome.FLAKY if count > 1 else Outcome.PASSED
        h.jobs[job_id] = job(job_id, *attempts, outcome=outcome)
        h.events += events(job_id, *steps)
        h.asked.append(Asked(Verb.SUBMIT, job_id.partition("~")[0], 0.5, answered_at=1.0, job_ids=(job_id,)))
    return h


@given(histories(), NUMBERS, st.data())
def test_any_sound_history_is_not_blamed_and_any_damage_is_found(h: History, pick: int, data: st.DataObject) -> None:
    assert check(h) == []
    job_ids = list(h.jobs)
    job_id = job_ids[pick % len(job_ids)]
    damaged = copy.deepcopy(h)
    damage = data.draw(st.sampled_from(["lose", "verdict", "overlap", "token", "phantom", "after"]))
    mine = [i for i, e in enumerate(damaged.events) if e.job_id == job_id]
    verdict = damaged.events[mine[-1]]
    if damage == "lose":
        del damaged.jobs[job_id]
    elif damage == "verdict":
        damaged.events.append(replace(verdict, version=verdict.version + 1))
    elif damage == "overlap":
        damaged.runs[pick % len(damaged.runs)] = replace(damaged.runs[pick % len(damaged.runs)], alone=False)
    elif damage == "token":
        damaged.events[mine[-1]] = replace(verdict, device_id="cmd-9-9")
    elif damage == "phantom":
        damaged.runs = [r for r in damaged.runs if (r.job_id, r.attempt) != (job_id, verdict.attempt)]
    else:
        damaged.events.append(replace(verdict, version=verdict.version + 1, letter="q", outcome=None))
        damaged.events.append(replace(verdict, version=verdict.version + 2, letter="c", outcome=None))
    assert check(damaged) or damage == "after"
    if damage == "after":  # back to the queue by a retry is legal; then a verdict without a lease is none
        damaged.events[-1] = replace(damaged.events[-1], outcome="passed")
        assert check(damaged)
