"""What clients ask for during a run. Pure: one seed is one list of actions.

Jobs have the ids that their clients make, so that a repeated submission is the same job. Half of them are simulated
tests, half are shell scripts whose beginning and end are written down where they run (truth.py).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

ORGS = ("acme", "globex", "initech")
VERSIONS = ("v1", "v2")
MEAN_JOBS = 2.9
"""Of an action that submits."""
WINDOW = 40
"""Cancels, retries and repeats mean one of so many latest jobs."""
BRANCHES = ("main", "next")
"""Keys under which an org wants one run at a time."""
LONG_SECONDS = 20.0
"""What the first job of a run takes that is to be cancelled before its end: else it would end by itself in time."""
BOND_SECONDS = 4.0
"""After which a silent client counts as gone; the product takes a second at least."""
SIGN_SECONDS = BOND_SECONDS / 3
"""Between two signs of life, as AsyncClient.kept sends them."""
DEVICES = tuple(f"{agent_id}-{n}" for agent_id in ("sim-1", "sim-2", "cmd-1", "cmd-2") for n in range(1, 5))
"""Of the lab."""


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
    RETRY_RUN = "retry_run"
    SUPERSEDE = "supersede"  # a run under a key, which the run before it loses
    BOND = "bond"  # a run that is bound to its client
    RESERVE = "reserve"  # a device, for a person
    MAINTAIN = "maintain"


@dataclass(frozen=True)
class JobPlan:
    """A job. `number` counts from 1; `test` is None for a simulated one. `deadline`: the most seconds in its queue."""

    number: int
    org_id: str
    path: str
    version: str
    test: Does | None
    seconds: float
    max_retries: int
    run_id: str | None
    dedup: bool
    deadline: float | None = None

    @property
    def key(self) -> str:
        """What its test finds in its environment, and writes down: by it a foreign environment would show."""
        return f"{self.org_id}-{self.path.rpartition('/')[2]}"


@dataclass(frozen=True)
class Action:
    """`at`: seconds after the begin. `jobs`: what is submitted; `mean`: number of the job that is meant otherwise.

    `key`: of a run that supersedes. `seconds`: how long a client shows that it lives, or a device is held; `leaves`: it
    goes without a word then, or the hold ends by itself. `failed_only`: of a retry.
    """

    at: float
    verb: Verb
    org_id: str
    jobs: tuple[JobPlan, ...] = ()
    mean: int | None = None
    run_id: str | None = None
    key: str | None = None
    device_id: str | None = None
    seconds: float = 0.0
    leaves: bool = True
    failed_only: bool = False


def workload(seed: int, seconds: float, jobs_per_second: float) -> list[Action]:
    """All actions of a run, by time; `seconds` x `jobs_per_second` jobs in all, about."""
    return list(_actions(random.Random(f"{seed} workload"), seconds, jobs_per_second))  # noqa: S311 - no secret


def _actions(rng: random.Random, seconds: float, rate: float) -> Iterator[Action]:
    at = 0.0
    made: list[JobPlan] = []
    runs: list[tuple[str, str]] = []
    latest: Action | None = None
    while True:
        count = rng.choices((1, rng.randint(2, 6), rng.randint(10, 40)), (60, 25, 4))[0]
        at += rng.expovariate(rate / MEAN_JOBS)
        if at >= seconds:
            return
        follows = count > 1 and latest is not None and rng.random() < 0.3
        org_id = latest.org_id if follows and latest is not None else rng.choice(ORGS)
        run_id = None
        if follows or (count > 1 and rng.random() < 0.5):
            run_id = f"run{len(runs) + 1}"
            runs.append((org_id, run_id))
        jobs = tuple(_job(rng, len(made) + 1 + i, org_id, run_id) for i in range(count))
        made += jobs
        asked = _submission(rng, at, org_id, jobs, run_id, latest.key if follows and latest is not None else None)
        latest = asked if asked.verb is Verb.SUPERSEDE else latest
        made[-count:] = asked.jobs
        yield asked
        yield from _others(rng, at, made, runs)
        if rng.random() < 0.06:
            verb = rng.choice((Verb.RESERVE, Verb.MAINTAIN))
            held = {"device_id": rng.choice(DEVICES), "seconds": rng.uniform(6.0, 14.0), "leaves": rng.random() < 0.6}
            yield Action(at, verb, org_id, **held)


def _submission(
    rng: random.Random, at: float, org_id: str, jobs: tuple[JobPlan, ...], run_id: str | None, key: str | None
) -> Action:
    """Of runs some are under a key, `key` where one follows another, and some are bound to their client."""
    dice = rng.random()
    long = (replace(jobs[0], test=Does.PASS, seconds=LONG_SECONDS, deadline=None), *jobs[1:])
    if run_id is not None and (key is not None or dice < 0.25):
        return Action(at, Verb.SUPERSEDE, org_id, long, run_id=run_id, key=key or rng.choice(BRANCHES))
    if run_id is not None and dice < 0.6:
        lives = rng.uniform(0.5, 2.5)
        return Action(at, Verb.BOND, org_id, long, run_id=run_id, seconds=lives, leaves=rng.random() < 0.7)
    return Action(at, Verb.SUBMIT_MANY if len(jobs) > 1 else Verb.SUBMIT, org_id, jobs, run_id=run_id)


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
    elif dice < 0.44 and runs:
        org_id, run_id = rng.choice(runs[-5:])
        yield Action(at, Verb.RETRY_RUN, org_id, run_id=run_id, failed_only=rng.random() < 0.7)


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
        deadline=round(rng.uniform(1.0, 8.0), 1) if rng.random() < 0.08 else None,
    )
