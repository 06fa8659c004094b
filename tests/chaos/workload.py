"""What clients ask for during a run. Pure: one seed is one list of actions.

Jobs have the ids that their clients make, so that a repeated submission is the same job. Half of them are simulated
tests, half are shell scripts whose beginning and end are written down where they run (truth.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

ORGS = ("acme", "globex", "initech")
VERSIONS = ("v1", "v2")
MEAN_JOBS = 2.9
"""Of an action that submits."""
WINDOW = 40
"""Cancels, retries and repeats mean one of so many latest jobs."""


class Does(StrEnum):
    """What a shell test does."""

    PASS = "pass"  # noqa: S105 - a word of tests
    FAIL = "fail"
    FLAKY = "flaky"  # fails in its first attempt
    TREE = "tree"  # leaves a child in a session of its own that ignores TERM
    STUBBORN = "stubborn"  # ignores TERM and does not end by itself


class Verb(StrEnum):
    """What a client asks for."""

    SUBMIT = "submit"
    SUBMIT_MANY = "submit_many"
    REPEAT = "repeat"  # the same submission once more
    EQUAL = "equal"  # an equal job under another id
    CANCEL = "cancel"
    CANCEL_RUN = "cancel_run"
    RETRY = "retry"


@dataclass(frozen=True)
class JobPlan:
    """A job. `number` counts from 1; `test` is None for a simulated one."""

    number: int
    org_id: str
    path: str
    version: str
    test: Does | None
    seconds: float
    max_retries: int
    run_id: str | None
    dedup: bool

    @property
    def key(self) -> str:
        """What its test finds in its environment, and writes down: by it a foreign environment would show."""
        return f"{self.org_id}-{self.path.rpartition('/')[2]}"


@dataclass(frozen=True)
class Action:
    """`at`: seconds after the begin. `jobs`: what is submitted; `mean`: number of the job that is meant otherwise."""

    at: float
    verb: Verb
    org_id: str
    jobs: tuple[JobPlan, ...] = ()
    mean: int | None = None
    run_id: str | None = None


def workload(seed: int, seconds: float, jobs_per_second: float) -> list[Action]:
    """All actions of a run, by time; `seconds` x `jobs_per_second` jobs in all, about."""
    return list(_actions(random.Random(f"{seed} workload"), seconds, jobs_per_second))  # noqa: S311 - no secret


def _actions(rng: random.Random, seconds: float, rate: float) -> Iterator[Action]:
    at = 0.0
    made: list[JobPlan] = []
    runs: list[tuple[str, str]] = []
    while True:
        count = rng.choices((1, rng.randint(2, 6), rng.randint(10, 40)), (60, 25, 4))[0]
        at += rng.expovariate(rate / MEAN_JOBS)
        if at >= seconds:
            return
        org_id = rng.choice(ORGS)
        run_id = None
        if count > 1 and rng.random() < 0.5:
            run_id = f"run{len(runs) + 1}"
            runs.append((org_id, run_id))
        jobs = tuple(_job(rng, len(made) + 1 + i, org_id, run_id) for i in range(count))
        made += jobs
        yield Action(at, Verb.SUBMIT_MANY if count > 1 else Verb.SUBMIT, org_id, jobs, run_id=run_id)
        yield from _others(rng, at, made, runs)


def _others(rng: random.Random, at: float, made: list[JobPlan], runs: list[tuple[str, str]]) -> Iterator[Action]:
    """What is asked about jobs that there are."""
    meant = rng.choice(made[-WINDOW:])
    dice = rng.random()
    if dice < 0.08:
        yield Action(at, Verb.REPEAT, meant.org_id, (meant,), mean=meant.number)
    elif dice < 0.16:
        yield Action(at, Verb.EQUAL, meant.org_id, (meant,), mean=meant.number)
    elif dice < 0.28:
        yield Action(at, Verb.CANCEL, meant.org_id, mean=meant.number)
    elif dice < 0.38:
        yield Action(at, Verb.RETRY, meant.org_id, mean=meant.number)
    elif dice < 0.40 and runs:
        org_id, run_id = rng.choice(runs[-5:])
        yield Action(at, Verb.CANCEL_RUN, org_id, run_id=run_id)


def _job(rng: random.Random, number: int, org_id: str, run_id: str | None) -> JobPlan:
    test = None
    if rng.random() < 0.5:
        test = rng.choices(list(Does), (62, 8, 12, 12, 6))[0]
    return JobPlan(
        number=number,
        org_id=org_id,
        path=f"tests/{number}.spec.js",
        version=rng.choice(VERSIONS),
        test=test,
        seconds=round(min(rng.expovariate(1 / 0.4), 5.0), 2),
        max_retries=rng.choice((0, 1, 2)) if test is not Does.FLAKY else 2,
        run_id=run_id,
        dedup=rng.random() < 0.8,
    )
