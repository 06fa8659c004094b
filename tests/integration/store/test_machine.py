"""A machine that does anything at any time to a model and a store, and compares them after each step.

`make nightly` runs it ten times as far.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome, Priority, Status, Target
from qgjob_coordinator.model.failures import CHARGES
from qgjob_coordinator.model.jobs import ANY_DEVICE, JobError, JobSpec, Overflow, Requirements, TestResult
from qgjob_coordinator.store.types.claims import DeviceClaim
from qgjob_coordinator.store.types.endings import Release, ReleaseCharge
from qgjob_coordinator.store.types.waiting import Judged
from tests.fakes.blocking_store import at_once
from tests.fakes.jobs import NOW, ending, ulid, without_build
from tests.fakes.store_model import ModelJob, gid_of
from tests.fakes.store_process import StoreProcess
from tests.integration.store.side_by_side import Call, SideBySide
from tests.integration.store.steps import LEAST, NIGHTLY, Steps, examples

ORGS = ("acme", "globex")
AGENTS = ("agent-1", "agent-2")
COORDINATORS = ("c-1", "c-2")
JOBS = 16
"""An org that has so many takes no more until some are removed."""

# A repeated renewal renews again; a batch that gave something to one device may move what another is told; what is
# forgotten is unknown.
NOT_REPEATABLE = {"renew", "claim", "forget"}

pick = st.integers(0, 40)
orgs = st.sampled_from(("acme", "acme", "acme", "globex"))
agents = st.sampled_from(AGENTS)
skews = st.sampled_from((0, 0, 0, -1500, 1500))
shares = st.sampled_from((0.0, 0.25, 0.9999999, 1.0, 0.1 + 0.2))
operations = st.sampled_from(((None, ""), (None, ""), (None, ""), ("op-1", "this"), ("op-1", "that"), ("op-2", "")))
"""Ids, which a careless caller uses twice, and what they are for."""
maybe_number = st.none() | st.integers(0, 3)

specs = st.builds(
    JobSpec,
    org_id=st.just("acme"),  # the rule puts its own
    ulid=st.sampled_from(("new", "new", "new", "new", "old")),  # the rule puts one
    app_version_id=st.sampled_from(("v1", "v1", "v2")),
    test_path=st.sampled_from(("tests/a.spec.ts", "tests/b.spec.ts", "tests/ü b.spec.ts")),
    priority=st.sampled_from(Priority),
    target=st.sampled_from((Target.EMULATOR, Target.EMULATOR, Target.DEVICE)),
    max_retries=st.integers(0, 2),
    run_id=st.sampled_from((None, "run-1", "run-2")),
    labels=st.sampled_from(({}, {"team": "a b"})),
    requirements=st.sampled_from((ANY_DEVICE, ANY_DEVICE, Requirements(platform="android", labels=(("x", "!y}"),)))),
    env=st.sampled_from(({}, {"A": "1\n2"})),
    idempotency_key=st.sampled_from((*(None,) * 9, "key 1", "key 2")),
    not_before=st.none() | st.integers(-2, 4).map(lambda n: NOW + 2000 * n),
    timeout_ms=st.sampled_from((None, 60_000)),
    queue_timeout_ms=st.sampled_from((None, None, 3000, 20_000)),
    overflow=st.sampled_from((None, None, Overflow(Target.BROWSERSTACK, 60_000), Overflow(Target.BROWSERSTACK, 9000))),
    no_dedup=st.sampled_from((False, False, True)),
    own_priority=st.booleans(),
    own_max_retries=st.booleans(),
)
results = st.none() | st.builds(
    TestResult,
    passed=st.sampled_from((0, 1, 9)),
    skipped=st.sampled_from((0, 0, 1)),
    summary=st.sampled_from(("", 'all "good"\n')),
)
measured = st.sampled_from((1000, 1000, 1, 2500, 61_003, 0, -5, 10**12))
"""Durations (ms) as agents report them, some of them absurd."""
ways_to_end = st.sampled_from((*CHARGES.items(), (Outcome.PASSED, None), (Outcome.DEVICE_ERROR, Charge.FINAL)))


class NothingThereError(Exception):
    """A step named something while there is nothing of its kind."""


def step(**choices: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule that does nothing when there is nothing to do it to; `assume` would throw the whole run away."""

    def decorate(do: Callable[..., None]) -> Callable[..., None]:
        @wraps(do)
        def attempt(self: Any, **chosen: Any) -> None:
            with suppress(NothingThereError):
                do(self, **chosen)

        return rule(**choices)(attempt)

    return decorate


@dataclass(frozen=True)
class Held:
    """A lease that was granted once, with the agent that got it."""

    org_id: str
    ulid: str
    token: str
    agent_id: str


class StoreMachine(RuleBasedStateMachine):
    """Callers, agents, coordinators and time, all of them careless."""

    process: ClassVar[StoreProcess]
    runner: ClassVar[asyncio.Runner]
    raw: ClassVar[Redis]
    steps: ClassVar = Steps()

    def __init__(self) -> None:
        super().__init__()
        self.both = SideBySide(self.runner, self.process.url, self.raw, ORGS)
        self.now = NOW
        self.granted: list[Held] = []
        self._tokens = 0
        self._ids = 0

    def teardown(self) -> None:
        try:
            self.both.check_all()
        finally:
            self.both.close()

    @invariant()
    def the_store_is_as_the_model(self) -> None:
        self.steps.taken += 1
        self.both.check()

    def _do(self, org_id: str | None, name: str, *args: Any, **options: Any) -> Any:
        return self.both.do(Call(org_id, name, args, tuple(options.items())))

    # Who is there to be named. A wrong choice is as good as a right one.

    def _job(self, org_id: str, n: int) -> ModelJob:
        jobs = list(self.both.orgs[org_id].jobs.values())
        if not jobs:
            raise NothingThereError
        return jobs[n % len(jobs)]

    def _ulid(self, *, old: bool) -> str:
        """An id that nobody has, or the last one."""
        self._ids += not old or not self._ids
        return ulid(self._ids)

    def _lease(self, n: int, *, live: bool) -> Held:
        """One that is held now, or any that ever was."""
        found = self.granted
        if live:
            found = [h for h in found if self._is_held(h)]
        if not found:
            raise NothingThereError
        return found[-1 - n % len(found)]

    def _succeeded(self, n: int) -> Held:
        """One that is over while its job has another one now."""
        found = [h for h in self.granted if not self._is_held(h) and self._job_has_a_lease(h)]
        if not found:
            raise NothingThereError
        return found[n % len(found)]

    def _job_has_a_lease(self, h: Held) -> bool:
        job = self.both.orgs[h.org_id].jobs.get(h.ulid)
        return job is not None and job.lease is not None

    def _is_held(self, h: Held) -> bool:
        job = self.both.orgs[h.org_id].jobs.get(h.ulid)
        return job is not None and job.lease is not None and job.lease.token == h.token

    def _epoch(self, agent_id: str, change: int) -> int:
        session = self.both.fleet.sessions.get(agent_id)
        return max(1, (session.epoch if session else 1) + change)

    # Callers.

    @initialize(org_id=orgs, first=st.lists(specs, min_size=2, max_size=5))
    def some_work(self, org_id: str, first: list[JobSpec]) -> None:
        self.submit(org_id=org_id, new=first, own=True, skew=0)

    @step(org_id=orgs, new=st.lists(specs, min_size=1, max_size=4), own=st.booleans(), skew=skews)
    def submit(self, org_id: str, new: list[JobSpec], own: bool, skew: int) -> None:
        if len(self.both.orgs[org_id].jobs) >= JOBS:
            return
        for spec in new:
            spec.org_id = org_id
            spec.ulid = self._ulid(old=spec.ulid == "old")
        self._do(org_id, "submit", new, [own] * len(new), self.now + skew)

    @step(org_id=orgs, n=pick)
    def retry_what_was_submitted_again(self, org_id: str, n: int) -> None:
        """An equal of a job, perhaps after its verdict, and then the job's retry."""
        job = self._job(org_id, n)
        new = replace(job.spec, ulid=self._ulid(old=False), no_dedup=False, idempotency_key=None)
        self._do(org_id, "submit", [new], [True], self.now)
        self._do(org_id, "retry", [(job.spec.ulid, job.round, None)], self.now)

    @step(org_id=orgs, n=st.lists(pick, min_size=1, max_size=2), again=st.booleans(), key=st.sampled_from((1, 2)))
    def submit_with_a_key(self, org_id: str, n: list[int], again: bool, key: int) -> None:
        """What is there already with a key, or what was sent under one, perhaps changed."""
        org = self.both.orgs[org_id]
        sent = [spec for _, spec in org.keyed.values()]
        if not again or not sent:
            sent = [self._job(org_id, i).spec for i in n]
        run_id, labels = (None, "run-1", "run-2")[n[0] % 3], {"n": str(n[0])}
        new = [
            replace(
                sent[i % len(sent)],
                ulid=self._ulid(old=False),
                idempotency_key=f"key {key}" if i % 5 else sent[i % len(sent)].idempotency_key,
                run_id=run_id,
                labels=labels,
                no_dedup=False,
            )
            for i in n
        ]
        self._do(org_id, "submit", new, [i % 2 == 0 for i in n], self.now)

    @step(org_id=orgs, aliases=st.booleans())
    def a_day_passes(self, org_id: str, aliases: bool) -> None:
        """Keys are free again, and their callers use them for new jobs; what is over is removed."""
        org = self.both.orgs[org_id]
        sent = [spec for _, spec in org.keyed.values()]
        self.both.forget(org_id, aliases=aliases)
        if sent and len(org.jobs) < JOBS:
            new = [replace(spec, ulid=self._ulid(old=False), no_dedup=True) for spec in sent]
            self._do(org_id, "submit", new, [True] * len(new), self.now)
        for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED):
            self._do(org_id, "retire", status, self.now + 1, 0, 100)

    @step(
        org_id=orgs,
        n=st.lists(pick, min_size=1, max_size=3),
        round_=st.sampled_from((None, 0, 0, -1, 1)),
        operation=operations,
        run_id=st.sampled_from((None, None, "run-1", "run-2")),
    )
    def cancel(
        self, org_id: str, n: list[int], round_: int | None, operation: tuple[str | None, str], run_id: str | None
    ) -> None:
        jobs = [self._job(org_id, i) for i in n]
        meant = [(j.spec.ulid, None if round_ is None else j.round + round_) for j in jobs]
        op, asked = operation
        self._do(org_id, "cancel", meant, self.now, reason="by hand", operation_id=op, asked=asked, run_id=run_id)

    @step(
        org_id=orgs,
        n=st.lists(pick, min_size=1, max_size=2),
        round_=st.sampled_from((0, 0, 0, -1, 1)),
        operation=operations,
        wait=st.sampled_from((None, 4000)),
    )
    def retry(
        self, org_id: str, n: list[int], round_: int, operation: tuple[str | None, str], wait: int | None
    ) -> None:
        over = [j for j in self.both.orgs[org_id].jobs.values() if j.status.final]
        jobs = [over[i % len(over)] if over else self._job(org_id, i) for i in n]
        deadline = None if wait is None else self.now + wait
        rows = [(j.spec.ulid, j.round + round_, deadline) for j in jobs]
        self._do(org_id, "retry", rows, self.now, operation_id=operation[0], asked=operation[1])

    # Coordinators.

    @step(
        agent_id=agents,
        change=st.sampled_from((-1, 0, 1, 1, 1, 2)),
        instance=st.sampled_from(("h1.1", "h1.1", "h1.2", "h2.1")),
        coordinator=st.sampled_from(COORDINATORS),
    )
    def open(self, agent_id: str, change: int, instance: str, coordinator: str) -> None:
        self._do(None, "open", agent_id, instance, self._epoch(agent_id, change), coordinator, self.now)

    @step(
        agent_id=agents,
        change=st.sampled_from((0, 0, 0, -1)),
        counter=st.sampled_from((None, 0, 0, -1)),
        state=st.sampled_from(("timed_out", "detached", "closed", "closed")),
    )
    def observe(self, agent_id: str, change: int, counter: int | None, state: str) -> None:
        session = self.both.fleet.sessions.get(agent_id)
        seen = -1 if counter is None else (session.counter if session else 1) + counter
        self._do(None, "observe", agent_id, self._epoch(agent_id, change), seen, state)

    @step(agent_id=agents, heard_before=st.sampled_from((None, None, NOW, NOW + 20_000)), sweeps=st.booleans())
    def forget(self, agent_id: str, heard_before: int | None, sweeps: bool) -> None:
        """An agent that is closed, maybe after its sweep."""
        session = self.both.fleet.sessions.get(agent_id)
        if sweeps and session is not None and session.state == "closed":
            for org_id in ORGS:
                self._do(org_id, "sweep", agent_id, session.epoch, self.now, 0.25)
            self._do(None, "swept", agent_id, session.epoch, self.both.fleet.epoch, list(ORGS))
        self._do(None, "forget", agent_id, self.now, heard_before)

    @step(
        agent_id=agents,
        what=st.sampled_from(("renew", "admit", "admit", "swept")),
        change=st.sampled_from((0, 0, 0, -1)),
        named=st.sets(orgs, min_size=1),
    )
    def session(self, agent_id: str, what: str, change: int, named: set[str]) -> None:
        more = {"renew": (self.now,), "admit": (sorted(named),), "swept": (0, sorted(named))}[what]
        self._do(None, what, agent_id, self._epoch(agent_id, change), *more)

    @step(
        org_id=orgs,
        n=pick,
        agent_id=agents,
        device=st.integers(1, 2),
        started=st.sampled_from((True, True, False)),
    )
    def serve(self, org_id: str, n: int, agent_id: str, device: int, started: bool) -> None:
        """Work as it goes when nobody is careless."""
        self._serve(org_id, n, agent_id, device, started=started)

    def _serve(self, org_id: str, n: int, agent_id: str, device: int, *, started: bool) -> None:
        one = self._device_claim(org_id, n, agent_id, device, 2, 0, None, noise=False)
        one.epoch = max(one.epoch, self.both.orgs[org_id].floors.get(agent_id, 0))
        before = len(self.granted)
        self._claim(org_id, [one], None, None)
        if started:
            granted = [(h.ulid, h.token, self.now) for h in self.granted[before:]]
            self._do(org_id, "start", granted, self.now)

    @step(
        org_id=orgs,
        n=pick,
        agent_id=agents,
        device=st.integers(1, 2),
        count=st.integers(1, 3),
        stale=st.sampled_from((0, 0, 0, -1)),
        seen=st.sampled_from((None, 0, 0, 1)),
        quota=st.none() | st.none() | st.integers(0, 4),
        cap=st.none() | st.none() | st.integers(1, 2),
        noise=st.booleans(),
    )
    def claim(
        self,
        org_id: str,
        n: int,
        agent_id: str,
        device: int,
        count: int,
        stale: int,
        seen: int | None,
        quota: int | None,
        cap: int | None,
        noise: bool,
    ) -> None:
        one = self._device_claim(org_id, n, agent_id, device, count, stale, seen, noise)
        self._claim(org_id, [one], quota, cap)

    @step(
        org_id=orgs,
        a=pick,
        b=pick,
        agent_id=agents,
        seen=st.sampled_from((None, 0)),
        quota=maybe_number,
        cap=st.none() | st.integers(1, 2),
    )
    def claim_for_two(
        self, org_id: str, a: int, b: int, agent_id: str, seen: int | None, quota: int | None, cap: int | None
    ) -> None:
        both = [
            self._device_claim(org_id, n, agent_id, d, 2, 0, seen, noise=False) for d, n in enumerate((a, b), start=1)
        ]
        self._claim(org_id, both, quota, cap)

    def _device_claim(
        self, org_id: str, n: int, agent_id: str, device: int, count: int, stale: int, seen: int | None, noise: bool
    ) -> DeviceClaim:
        org = self.both.orgs[org_id]
        waiting = [j for j in org.jobs.values() if j.ready]
        group = (waiting[n % len(waiting)] if waiting else self._job(org_id, n)).group
        chosen = [j for j in waiting if j.group == group][:count]
        if noise:
            chosen.append(self._job(org_id, n))
        expected = None if seen is None else len(org.serving(group)) + seen
        jobs = [(j.spec.ulid, self._token()) for j in chosen]
        return DeviceClaim(
            agent_id, self._epoch(agent_id, stale), f"{agent_id}.d{device}", gid_of(group), expected, jobs
        )

    def _claim(self, org_id: str, claims: list[DeviceClaim], quota: int | None, cap: int | None) -> None:
        for claim, answer in zip(claims, self._do(org_id, "claim", claims, self.now, quota, cap), strict=True):
            self.granted += [Held(org_id, g.ulid, g.token, claim.agent_id) for g in answer.grants]

    def _token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    @precondition(lambda self: self.granted)
    @step(
        agent_id=agents,
        change=st.sampled_from((0, 1, 1, -1)),
        hidden=st.sets(st.integers(0, 4)),
        share=shares,
        came_back=st.sampled_from((0, 0, 0, 1, 2)),
    )
    def adopt(self, agent_id: str, change: int, hidden: set[int], share: float, came_back: int) -> None:
        """A session that shows what it has, or forgets some, or shows what was never its own."""
        epoch = self._epoch(agent_id, change)
        for org_id in ORGS:
            own = [h for h in self.granted if h.org_id == org_id and (h.agent_id == agent_id or len(hidden) > 3)]
            shown = [(h.ulid, h.token) for i, h in enumerate(own[-5:]) if i not in hidden]
            self._do(org_id, "adopt", agent_id, epoch, shown, self.now, share, came_back and epoch + 1 - came_back)

    @step(org_id=orgs, agent_id=agents, change=st.sampled_from((0, 0, 1, -1)), share=shares)
    def sweep(self, org_id: str, agent_id: str, change: int, share: float) -> None:
        self._do(org_id, "sweep", agent_id, self._epoch(agent_id, change), self.now, share)

    @step(org_id=orgs, n=pick, agent_id=agents)
    def lose_an_agent(self, org_id: str, n: int, agent_id: str) -> None:
        """It dies with what it runs."""
        self._serve(org_id, n, agent_id, 1, started=True)
        epoch = self.both.orgs[org_id].floors.get(agent_id, 1)
        self._do(org_id, "sweep", agent_id, epoch, self.now, 0.0)

    # Agents. A report comes once, twice, late, or for a lease that is long over.

    @step(n=pick, live=st.sampled_from((True, True, True, False)), skew=skews)
    def start(self, n: int, live: bool, skew: int) -> None:
        h = self._lease(n, live=live)
        self._do(h.org_id, "start", [(h.ulid, h.token, self.now + skew)], self.now)

    @step(
        n=pick,
        way=ways_to_end,
        share=shares,
        install=st.sampled_from((None, 3000)),
        result=results,
        with_start=st.booleans(),
        took=measured,
    )
    def finish(
        self,
        n: int,
        way: tuple[Outcome, Charge | None],
        share: float,
        install: int | None,
        result: TestResult | None,
        with_start: bool,
        took: int,
    ) -> None:
        self._finish(
            self._lease(n, live=True),
            way,
            1,
            share=share,
            install_ms=install,
            result=result,
            with_start=with_start,
            duration_ms=took,
        )

    @step(n=pick, way=ways_to_end, times=st.integers(1, 2), share=shares)
    def finish_anything(self, n: int, way: tuple[Outcome, Charge | None], times: int, share: float) -> None:
        self._finish(self._lease(n, live=times == 2), way, times, share=share)

    @step(n=pick, way=ways_to_end, progress=st.booleans())
    def report_for_a_predecessor(self, n: int, way: tuple[Outcome, Charge | None], progress: bool) -> None:
        held = self._succeeded(n)
        if progress:
            self._do(held.org_id, "progress", [(held.ulid, held.token, 70)], self.now)
        self._do(held.org_id, "start", [(held.ulid, held.token, self.now)], self.now)
        self._finish(held, way, 1, share=0.0)
        gone = Release(held.ulid, held.token, self.now, ReleaseCharge.LOST, "late", 0.0)
        self._do(held.org_id, "release", [gone], self.now)

    @step(org_id=orgs, n=pick, agent_id=agents, way=ways_to_end, share=shares, took=measured)
    def serve_to_the_end(
        self, org_id: str, n: int, agent_id: str, way: tuple[Outcome, Charge | None], share: float, took: int
    ) -> None:
        before = len(self.granted)
        self._serve(org_id, n, agent_id, 1, started=True)
        for held in self.granted[before:]:
            self._finish(held, way, 1, share=share, duration_ms=took)

    @step(org_id=orgs, n=pick, agent_id=agents, took=st.lists(measured, min_size=3, max_size=3))
    def serve_two_to_the_end_at_once(self, org_id: str, n: int, agent_id: str, took: list[int]) -> None:
        """Several results in one script, of one test perhaps."""
        before = len(self.granted)
        self._serve(org_id, n, agent_id, 1, started=True)
        endings = [
            ending(h.ulid, h.token, (Outcome.PASSED, Outcome.TEST_FAILED)[ms % 2], self.now, duration_ms=ms)
            for h, ms in zip(self.granted[before:], took, strict=False)
        ]
        if endings:
            self._do(org_id, "finish", endings, self.now)

    def _finish(self, held: Held, way: tuple[Outcome, Charge | None], times: int, **details: Any) -> None:
        outcome, charge = way
        one = ending(held.ulid, held.token, outcome, self.now, charge=charge, **details)
        self._do(held.org_id, "finish", [one] * times, self.now)

    @step(
        n=st.lists(pick, min_size=1, max_size=2),
        live=st.sampled_from((True, True, False)),
        charge=st.sampled_from(ReleaseCharge),
        share=shares,
    )
    def release(self, n: list[int], live: bool, charge: ReleaseCharge, share: float) -> None:
        held = [self._lease(i, live=live) for i in n]
        org_id = held[0].org_id
        gone = [Release(h.ulid, h.token, self.now, charge, 'said "so"', share) for h in held if h.org_id == org_id]
        self._do(org_id, "release", gone, self.now)

    @step(n=pick, live=st.booleans(), percent=st.sampled_from((0, 50, 100)))
    def progress(self, n: int, live: bool, percent: int) -> None:
        h = self._lease(n, live=live)
        self._do(h.org_id, "progress", [(h.ulid, h.token, percent)], self.now)

    # Time.

    @step(ms=st.sampled_from((1, 700, 2500)))
    def tick(self, ms: int) -> None:
        self.now += ms

    @step(org_id=orgs, ahead=st.sampled_from((-1500, 0, 1000, 30_000)), limit=st.sampled_from((1, 1000)))
    def promote(self, org_id: str, ahead: int, limit: int) -> None:
        self._do(org_id, "promote", self.now + ahead, limit)

    @step(org_id=orgs, ahead=st.sampled_from((0, 4000, 30_000)), all_of_them=st.booleans())
    def expire(self, org_id: str, ahead: int, all_of_them: bool) -> None:
        """Those whose deadline has come, or everybody."""
        error = JobError(ErrorClass.QUEUE_TIMEOUT, "waited too long")
        jobs = [j for j in self.both.orgs[org_id].jobs.values() if all_of_them or j.watched]
        self._do(org_id, "expire", [(j.spec.ulid, error) for j in jobs], self.now + ahead)

    @step(org_id=orgs, n=st.lists(pick, min_size=1, max_size=3), older=st.sampled_from((0, 0, 0, 1)))
    def reject(self, org_id: str, n: list[int], older: int) -> None:
        """Jobs for which there is no build; some were judged at an older version."""
        jobs = {j.spec.ulid: j for j in (self._job(org_id, i) for i in n)}
        rows = [without_build(j.spec, max(1, j.version - older)) for j in jobs.values()]
        self._do(org_id, "reject", rows, self.now)

    @step(
        org_id=orgs,
        n=st.lists(pick, min_size=1, max_size=3),
        older=st.sampled_from((0, 0, 0, 1)),
        goes=st.booleans(),
        wait=st.sampled_from((None, 340_000)),
    )
    def overflow(self, org_id: str, n: list[int], older: int, goes: bool, wait: int | None) -> None:
        """Jobs that may go to their second target, most of them; some were judged at an older version."""
        may = [j for j in self.both.orgs[org_id].jobs.values() if j.may_go and not j.status.final]
        jobs = {j.spec.ulid: j for i in n for j in (may[i % len(may)] if may else self._job(org_id, i),)}
        to = Target.BROWSERSTACK if goes else None
        rows = [
            Judged(ulid, max(1, j.version - older), j.spec.app_version_id, to, wait, self.now + 5000)
            for ulid, j in jobs.items()
        ]
        self._do(org_id, "overflow", rows, self.now)

    @step(org_id=orgs, n=pick, age=st.sampled_from((-1, 3000)), limit=st.sampled_from((1, 100, 100)))
    def retire(self, org_id: str, n: int, age: int, limit: int) -> None:
        status = self._job(org_id, n).status
        if status.final:
            self._do(org_id, "retire", status, self.now - age, 0, limit)

    @step(org_id=orgs)
    def tidy(self, org_id: str) -> None:
        at_once(self.both.store.snapshots.tidy(org_id))
        self.both.check_org(org_id)

    # Replays.

    @precondition(lambda self: self.both.calls)
    @rule()
    def lose_the_reply(self) -> None:
        """The last call is repeated at once: nothing more happens."""
        call = self.both.calls[-1]
        if call.name in NOT_REPEATABLE:
            return
        before = pickle.dumps((self.both.orgs, self.both.fleet))
        limited = call.name in ("promote", "retire") and 1 in call.args
        self.both.do(call)
        assert limited or (self.both.orgs, self.both.fleet) == pickle.loads(before), call  # noqa: S301 - our own

    @precondition(lambda self: self.both.calls)
    @step(n=pick)
    def repeat_something_old(self, n: int) -> None:
        """A message that was under way for long."""
        self.both.do(self.both.calls[-1 - n % len(self.both.calls)])


@pytest.fixture(scope="module")
def machine_needs(store_process: StoreProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """What all examples share."""
    with asyncio.Runner() as runner, store_process.client() as raw, StoreMachine.steps.at_least(LEAST, request):
        StoreMachine.process, StoreMachine.runner, StoreMachine.raw = store_process, runner, raw
        yield


class TestStoreMachine(StoreMachine.TestCase):
    """The machine as pytest runs it."""

    pytestmark: ClassVar = [pytest.mark.usefixtures("machine_needs"), pytest.mark.timeout(0 if NIGHTLY else 600)]
    settings = settings(
        max_examples=examples(30, 180, 1500),
        stateful_step_count=100 if NIGHTLY else 90,
        report_multiple_bugs=False,
    )
