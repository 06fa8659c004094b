"""What the store's operations do, said as plainly as possible: dicts, loops, and the tables of `model/`.

The Hypothesis machine in tests/integration/store drives this beside a real store. Nothing here knows a key, a script or
an index: whatever can be derived (queues, groups, counters, indexes, dedup entries, leases of an agent) is derived from
the jobs each time, so that a real index that was forgotten somewhere differs from it.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from bench.scheduling.durations import Durations
from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome, Priority, Status, Target
from qgjob_coordinator.model.failures import AVOIDED_DEVICES, POISON_AGENTS, POISON_MESSAGE, host_mark
from qgjob_coordinator.model.jobs import Attempt, Job, JobError, JobSpec, Overflow, TestResult
from qgjob_coordinator.model.lifecycle import JobEvent, move, status_of
from qgjob_coordinator.policy.estimates.measurement import measures, reported_ms, skipped
from qgjob_coordinator.policy.rank import queue_score
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.store.types.asked import Cancelled, CancelWord, Retried, RetryWord
from qgjob_coordinator.store.types.claims import Claimed, ClaimWord, DeviceClaim, Grant
from qgjob_coordinator.store.types.endings import Ended, Ending, LeaseEnd, Release, ReleaseCharge, ReportWord, Settled
from qgjob_coordinator.store.types.sessions import ShownWord
from qgjob_coordinator.store.types.submissions import OperationReusedError, SubmitConflictError, Submitted, SubmitWord
from qgjob_coordinator.store.types.waiting import Judged, OverflowWord, Promoted, Unbuilt
from tests.fakes.retrying import backoff_ms, may_retry

DIRECT = ""
"""Stands among the runs of a job for a submission without a run."""

A = TypeVar("A")
GroupKey = tuple[str, Target]
ORDER_EPOCH_MS = 1_577_836_800_000


@dataclass
class Lease:
    """The right to run one attempt."""

    token: str
    epoch: int
    agent_id: str
    device_id: str
    scheduled_at: int
    attempt: int
    round: int
    started_at: int | None = None
    progress: int = 0
    revoked: bool = False


@dataclass
class Tried:
    """An attempt that ended."""

    token: str
    shown: Attempt
    result: TestResult | None


@dataclass
class ModelJob:
    """All that is known of a job."""

    spec: JobSpec
    order: int
    priority: Priority
    status: Status = Status.QUEUED
    round: int = 1
    version: int = 1
    number: int = 0
    retries_used: int = 0
    infra_used: int = 0
    outages: int = 0
    lost_agents: list[str] = field(default_factory=list)
    avoid: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)  # idempotency keys that stand for it
    tried: list[Tried] = field(default_factory=list)
    lease: Lease | None = None
    not_before: int | None = None
    deadline: int | None = None
    watched: bool = False  # its deadline is looked at
    outcome: Outcome | None = None
    own_error: JobError | None = None
    ended_waiting: bool = False  # its verdict came while it had no attempt of its round under way
    completed_at: int | None = None
    touched_at: int = 0
    expected: float | None = None  # seconds, as it was known when it was submitted
    failed_before: bool = False
    second: Overflow | None = None
    judged_at: int | None = None  # when its overflow is to be judged next

    @property
    def target(self) -> Target:
        return self.second.target if self.second is not None and self.second.moved_at is not None else self.spec.target

    @property
    def may_go(self) -> bool:
        """To its second target."""
        return self.second is not None and self.second.moved_at is None and self.number == 0

    @property
    def ready(self) -> bool:
        """On its queue."""
        return self.status is Status.QUEUED and self.lease is None and self.not_before is None

    @property
    def score(self) -> int:
        """Its place among the ready jobs of its group."""
        return queue_score(self.priority, self.order, failed_last=self.failed_before)

    @property
    def created_at(self) -> int:
        return ORDER_EPOCH_MS + self.order // 1000

    @property
    def group(self) -> GroupKey:
        return self.spec.app_version_id, self.target

    def _updated_at(self) -> int:
        lease = self.lease
        times = [self.touched_at, self.completed_at or 0]
        if lease is not None:
            times += [lease.scheduled_at, lease.started_at or 0]
        return max(times) or self.created_at

    def as_job(self) -> Job:
        """What a reader is to see."""
        s = self.spec
        job = Job(
            org_id=s.org_id,
            ulid=s.ulid,
            app_version_id=s.app_version_id,
            test_path=s.test_path,
            priority=self.priority,
            target=self.target,
            overflow=self.second,
            status=self.status,
            created_at=self.created_at,
            updated_at=self._updated_at(),
            max_retries=s.max_retries,
            outcome=self.outcome,
            round=self.round,
            version=self.version,
            run_ids=[r for r in self.runs if r != DIRECT],
            labels=s.labels,
            requirements=s.requirements,
            env=s.env,
            suite_digest=s.suite_digest,
            not_before=s.not_before if self.not_before is None and self.round == 1 else self.not_before,
            completed_at=self.completed_at,
            attempts=[t.shown for t in self.tried],
            retry_count=self.retries_used,
            timeout_ms=s.timeout_ms,
            queue_timeout_ms=s.queue_timeout_ms,
            queue_deadline=self.deadline,
            avoid_devices=tuple(self.avoid),
        )
        shown: Attempt | None = None
        if self.lease is not None:
            lease = self.lease
            shown = Attempt(lease.attempt, lease.round, lease.agent_id, lease.device_id, lease.scheduled_at)
            shown.started_at = lease.started_at
            shown.outcome = Outcome.CANCELLED if lease.revoked else None
            job.attempts.append(shown)
            job.progress = lease.progress
            if self.status is Status.QUEUED or self.ended_waiting:
                shown = None
        elif self.status.final and not self.ended_waiting and self.tried and self.tried[-1].shown.round == self.round:
            shown = self.tried[-1].shown
            job.result = self.tried[-1].result
        if shown is not None:
            job.agent_id, job.device_id = shown.agent_id, shown.device_id
            job.scheduled_at, job.started_at = shown.scheduled_at, shown.started_at
        if self.status in (Status.FAILED, Status.CANCELLED):
            job.error = self.own_error or job.attempts[-1].error
        if self.status is Status.COMPLETED:
            job.progress = 100
        return job


@dataclass
class OrgModel:
    """The operations of one org."""

    org_id: str
    rules: RetryRules = field(default_factory=RetryRules)
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    aliases: dict[str, tuple[str, JobSpec]] = field(default_factory=dict)  # job returned instead, what was sent
    keyed: dict[str, tuple[str, JobSpec]] = field(default_factory=dict)  # job that the key stands for, what was sent
    tombstones: dict[str, str] = field(default_factory=dict)  # status of a removed job, by key
    operations: dict[tuple[str, str], tuple[str, Any]] = field(default_factory=dict)  # what was asked, first answer
    floors: dict[str, int] = field(default_factory=dict)
    group_installs: Counter[GroupKey] = field(default_factory=Counter)
    saved: int = 0
    durations: Durations = field(default_factory=Durations)
    failed_last: dict[tuple[str, Target], bool] = field(default_factory=dict)  # by test

    # What can be derived.

    def unfinished(self) -> list[ModelJob]:
        return [j for j in self.jobs.values() if not j.status.final]

    def equal_of(self, spec: JobSpec) -> ModelJob | None:
        """The unfinished job that is equal to a submission."""
        if spec.no_dedup:
            return None
        for job in self.unfinished():
            if not job.spec.no_dedup and _identity(job.spec) == _identity(spec):
                return job
        return None

    def serving(self, group: GroupKey) -> Counter[str]:
        """Leases by device; revoked ones occupy their device too."""
        return Counter(j.lease.device_id for j in self.jobs.values() if j.group == group and j.lease)

    def held(self) -> int:
        return sum(j.status in (Status.SCHEDULED, Status.RUNNING) for j in self.jobs.values())

    def of_run(self, run_id: str) -> list[ModelJob]:
        return sorted((j for j in self.jobs.values() if run_id in j.runs), key=lambda j: j.order)

    # Callers.

    def submit(
        self, specs: Sequence[JobSpec], own_ids: Sequence[bool], orders: Sequence[int], now: int
    ) -> dict[int, Submitted]:
        trial: OrgModel = pickle.loads(pickle.dumps(self))  # noqa: S301 - a copy, for all or none
        answers: list[Submitted] = []
        for i, one in enumerate(zip(specs, own_ids, orders, strict=True)):
            try:
                answers.append(trial._submit(i, *one, now))
            except SubmitConflictError as e:
                if e.holder in {a.ulid for a in answers if a.word is SubmitWord.NEW}:
                    e.holder = None  # which is not made after all
                raise
        self.__dict__.update(trial.__dict__)
        return {i: a for i, a in enumerate(answers) if a.word is not SubmitWord.NEW}

    def _submit(self, index: int, spec: JobSpec, own_id: bool, order: int, now: int) -> Submitted:
        if spec.ulid in self.jobs:
            if _content(self.jobs[spec.ulid].spec) != _content(spec):
                raise SubmitConflictError(index)
            return Submitted(SubmitWord.REPLAYED, spec.ulid)
        if spec.ulid in self.aliases:
            # A late replay: what it asked for was done when it came first.
            returned, sent = self.aliases[spec.ulid]
            if _content(sent) != _content(spec):
                raise SubmitConflictError(index)
            return Submitted(SubmitWord.DEDUP, returned, self._tombstone(spec, returned))
        if spec.idempotency_key in self.keyed:
            first, sent = self.keyed[spec.idempotency_key]
            if _keyed_content(sent) != _keyed_content(spec):
                raise SubmitConflictError(index, first)
            removed = self._tombstone(spec, first)
            if removed is None:
                self._merge(self.jobs[first], spec, own_id, now)
            return Submitted(SubmitWord.KEYED, first, removed)
        equal = self.equal_of(spec)
        if equal is not None:
            self._merge(equal, spec, own_id, now)
            self._remember_key(equal, spec)
            return Submitted(SubmitWord.DEDUP, equal.spec.ulid)
        self._accept(spec, order, now)
        return Submitted(SubmitWord.NEW, spec.ulid)

    def _tombstone(self, spec: JobSpec, answered: str) -> str | None:
        """The status of a job that was removed, if the submission's key stands for it."""
        key = spec.idempotency_key
        return self.tombstones.get(key) if key in self.keyed and self.keyed[key][0] == answered else None

    def _remember_key(self, job: ModelJob, spec: JobSpec) -> None:
        """From now on the submission's key stands for the job."""
        if spec.idempotency_key is not None:
            self.keyed[spec.idempotency_key] = (job.spec.ulid, spec)
            job.keys.append(spec.idempotency_key)

    def _accept(self, spec: JobSpec, order: int, now: int) -> None:
        test = (spec.test_path, spec.target)
        job = ModelJob(spec, order, spec.priority, second=spec.overflow)
        if spec.overflow is not None:
            job.judged_at = max(now, spec.not_before or 0)
        job.expected = self.durations.of_test(self.org_id, *test)
        job.failed_before = self.failed_last.get(test, False)
        run = spec.run_id or DIRECT
        job.runs = [run]
        if spec.not_before is not None and spec.not_before > now:
            job.not_before = spec.not_before
        if spec.queue_timeout_ms is not None:
            job.deadline, job.watched = max(now, spec.not_before or 0) + spec.queue_timeout_ms, True
        self._remember_key(job, spec)
        self.jobs[spec.ulid] = job

    def _merge(self, job: ModelJob, spec: JobSpec, own_id: bool, now: int) -> None:
        """Another submission adds its run, its priority if that is higher and still matters, and its id as an alias."""
        if own_id:
            self.aliases[spec.ulid] = (job.spec.ulid, spec)
        run = spec.run_id or DIRECT
        before = (job.priority, list(job.runs))
        if not job.status.final:
            job.priority = max(job.priority, spec.priority)
        if run not in job.runs:
            job.runs.append(run)
        if before != (job.priority, job.runs):
            self._touch(job, now)

    def cancel(
        self,
        jobs: Sequence[tuple[str, int | None]],
        now: int,
        *,
        reason: str,
        operation_id: str | None = None,
        asked: str = "",
        run_id: str | None = None,
    ) -> list[Cancelled]:
        return self._once(
            ("cancel", operation_id),
            asked,
            lambda: [self._cancel(ulid, round_, now, reason, run_id) for ulid, round_ in jobs],
        )

    def _once(self, operation: tuple[str, str | None], asked: str, do: Callable[[], list[A]]) -> list[A]:
        """An operation with an id is done once; its id is for what was asked first."""
        kind, id_ = operation
        if id_ is None:
            return do()
        if (kind, id_) not in self.operations:
            self.operations[kind, id_] = (asked, do())
        first, answer = self.operations[kind, id_]
        if first != asked:
            raise OperationReusedError(id_)
        return list(answer)

    def _cancel(self, ulid: str, round_: int | None, now: int, reason: str, run_id: str | None) -> Cancelled:
        job = self.jobs.get(ulid)
        if job is None:
            return Cancelled(ulid, CancelWord.MISSING, None, None, None, None)
        word, revoke = self._cancel_word(job, round_, run_id), None
        if word is CancelWord.DETACHED and run_id is not None:
            job.runs.remove(run_id)
            self._touch(job, now)
        if word is CancelWord.CANCELLED:
            if job.lease is not None and not job.lease.revoked:
                job.lease.revoked = True
                revoke = job.lease
            job.own_error = JobError(ErrorClass.CANCELLED, reason)
            job.ended_waiting = job.status is Status.QUEUED
            self._verdict(job, JobEvent.CANCEL, Outcome.CANCELLED, now)
        agent, token = (revoke.agent_id, revoke.token) if revoke else (None, None)
        return Cancelled(ulid, word, job.status, job.round, agent, token, job.target)

    def _cancel_word(self, job: ModelJob, round_: int | None, run_id: str | None) -> CancelWord:
        if round_ is not None and round_ != job.round:
            return CancelWord.ROUND
        if job.status is Status.CANCELLED:
            return CancelWord.ALREADY
        if job.status.final:
            return CancelWord.ILLEGAL
        if run_id is not None:
            if run_id not in job.runs:
                return CancelWord.OUTSIDE
            if len(job.runs) > 1:
                return CancelWord.DETACHED
        return CancelWord.CANCELLED

    def retry(
        self, jobs: Sequence[tuple[str, int, int | None]], now: int, *, operation_id: str | None = None, asked: str = ""
    ) -> list[Retried]:
        return self._once(("retry", operation_id), asked, lambda: [self._retry(*one, now) for one in jobs])

    def _retry(self, ulid: str, round_: int, deadline: int | None, now: int) -> Retried:
        job = self.jobs.get(ulid)
        if job is None:
            return Retried(ulid, RetryWord.MISSING, None, None, None)
        if round_ != job.round:
            return Retried(ulid, RetryWord.ROUND, job.status, job.round, None)
        if job.status not in (Status.FAILED, Status.CANCELLED):
            return Retried(ulid, RetryWord.ILLEGAL, job.status, job.round, None)
        equal = self.equal_of(job.spec)
        if equal is not None:
            return Retried(ulid, RetryWord.EQUAL, job.status, job.round, equal.spec.ulid)
        job.status = move(job.spec.job_id, JobEvent.RETRY, job.status)
        job.round += 1
        job.retries_used = job.infra_used = job.outages = 0
        job.lost_agents, job.avoid = [], []
        job.outcome = job.own_error = job.completed_at = None
        job.ended_waiting = False
        job.deadline, job.watched = deadline, deadline is not None
        if job.may_go and job.second is not None:
            job.second, job.judged_at = replace(job.second, since=now), now
        self._touch(job, now)
        return Retried(ulid, RetryWord.QUEUED, job.status, job.round, None)

    # Leases.

    def claim(self, claims: Sequence[DeviceClaim], now: int, quota: int | None, cap: int | None) -> list[Claimed]:
        return [self._claim(c, now, quota, cap) for c in claims]

    def _claim(self, claim: DeviceClaim, now: int, quota: int | None, cap: int | None) -> Claimed:
        floor = self.floors.get(claim.agent_id, 0)
        if claim.epoch < floor:
            return Claimed(ClaimWord.STALE, floor=floor)
        group = self._group_named(claim.gid)
        serving = self.serving(group) if group else Counter()
        joins = claim.device_id not in serving
        moved = claim.serving_seen is not None and len(serving) != claim.serving_seen
        if joins and (moved or (cap is not None and len(serving) >= cap)):
            return Claimed(ClaimWord.MOVED)
        self.floors[claim.agent_id] = max(claim.epoch, self.floors.get(claim.agent_id, 0))
        grants, over = [], 0
        for ulid, token in claim.jobs:
            job = self.jobs.get(ulid)
            if job is None:
                continue
            lease = job.lease
            if job.ready and job.group == group:
                if quota is not None and self.held() >= quota:
                    over += 1
                else:
                    lease = self._grant(job, claim, token, now)
            if lease is not None and (lease.token, lease.agent_id) == (token, claim.agent_id):
                grants.append(Grant(ulid, token, lease.attempt, lease.round, job.created_at, _sent(job)))
        return Claimed(ClaimWord.OK, tuple(grants), over)

    def _grant(self, job: ModelJob, claim: DeviceClaim, token: str, now: int) -> Lease:
        job.status = move(job.spec.job_id, JobEvent.CLAIM, job.status)
        job.number += 1
        job.lease = Lease(token, claim.epoch, claim.agent_id, claim.device_id, now, job.number, job.round)
        self._touch(job, None)
        return job.lease

    def _group_named(self, gid: str) -> GroupKey | None:
        return next((j.group for j in self.jobs.values() if gid_of(j.group) == gid), None)

    def start(self, started: Sequence[tuple[str, str, int]], now: int) -> list[ReportWord]:
        return [self._start(*one, now) for one in started]

    def _start(self, ulid: str, token: str, started_at: int, now: int) -> ReportWord:
        job = self.jobs.get(ulid)
        if job is None or job.lease is None or job.lease.token != token or job.lease.revoked:
            return ReportWord.STALE
        if job.status is Status.RUNNING:
            return ReportWord.REPLAYED
        job.status = move(job.spec.job_id, JobEvent.START, job.status)
        job.lease.started_at = started_at
        self._touch(job, None)
        return ReportWord.APPLIED

    def finish(self, endings: Sequence[Ending], now: int) -> list[Ended]:
        return [self._finish(e, now) for e in endings]

    def _finish(self, e: Ending, now: int) -> Ended:
        job = self.jobs.get(e.ulid)
        if job is None:
            return Ended(ReportWord.STALE, None, None)
        if job.lease is None or job.lease.token != e.token:
            word = ReportWord.REPLAYED if _ended(job, e.token) else ReportWord.STALE
            return Ended(word, job.status, None, target=job.target)
        if job.lease.revoked:
            was = job.lease
            self._tree_dead(job, e.ended_at, now)
            released = _settled(job, LeaseEnd.REVOKED, was)
            return Ended(ReportWord.STALE, job.status, None, target=job.target, released=released)
        if e.with_start and job.status is Status.SCHEDULED:
            job.status = move(job.spec.job_id, JobEvent.START, job.status)
            self._touch(job, None)
        lease = self._record(job, e.outcome, e.ended_at, e.started_at)
        last = job.tried[-1]
        last.result = last.shown.result = e.result
        last.shown.duration_ms, last.shown.install_ms, last.shown.error = e.duration_ms, e.install_ms, e.error
        if e.install_ms is None:
            self.saved += 1
        else:
            self.group_installs[job.group] += 1
        self._learn(job, e)
        if e.charge is None:
            self._verdict(job, JobEvent.PASS, Outcome.FLAKY if job.retries_used else Outcome.PASSED, now)
        else:
            self._fail(job, lease, e.outcome, e.charge, e.share, now)
        return Ended(ReportWord.APPLIED, job.status, job.not_before, job.outcome, job.target)

    def _learn(self, job: ModelJob, e: Ending) -> None:
        """What the end of an attempt tells of its test."""
        s = job.spec
        if e.charge in (None, Charge.TEST) and not skipped(e.result):
            self.failed_last[s.test_path, job.target] = e.charge is not None
            if measures(e.outcome, e.result):
                seconds = (reported_ms(e.duration_ms) or 0) / 1000
                self.durations.observe(self.org_id, gid_of(job.group), s.test_path, job.target, seconds)

    def release(self, releases: Sequence[Release], now: int) -> tuple[list[ReportWord], list[Settled | None]]:
        answers = [self._release_one(r, now) for r in releases]
        return [word for word, _ in answers], [done for _, done in answers]

    def _release_one(self, r: Release, now: int) -> tuple[ReportWord, Settled | None]:
        job = self.jobs.get(r.ulid)
        if job is None or job.lease is None or job.lease.token != r.token:
            return (ReportWord.REPLAYED if job and _ended(job, r.token) else ReportWord.STALE), None
        return ReportWord.APPLIED, self._release(job, r.ended_at, r.charge, r.message, r.share, now)

    def _release(
        self, job: ModelJob, ended_at: int, charge: ReleaseCharge, message: str, share: float, now: int
    ) -> Settled:
        """A lease ends without an outcome of its own."""
        was, end = job.lease, LeaseEnd.LOST
        assert was is not None
        if was.revoked:
            end = LeaseEnd.REVOKED
            self._tree_dead(job, ended_at, now)
        elif job.status is Status.SCHEDULED:
            end = LeaseEnd.UNSTARTED
            job.lease = None
            job.number -= 1  # it never began, so it is no attempt
            self._requeue(job, None, now)
        else:
            lease = self._record(job, Outcome.AGENT_LOST, ended_at, None)
            job.tried[-1].shown.error = JobError(ErrorClass.INFRASTRUCTURE, message)
            if charge is ReleaseCharge.LOST:
                job.lost_agents = [a for a in job.lost_agents if a != lease.agent_id] + [lease.agent_id]
            if charge is ReleaseCharge.LOST and len(job.lost_agents) >= POISON_AGENTS:
                job.own_error = JobError(ErrorClass.POISON, POISON_MESSAGE.format(agents=", ".join(job.lost_agents)))
                self._verdict(job, JobEvent.FAIL, Outcome.AGENT_LOST, now)
            elif charge is ReleaseCharge.OUTAGE:
                self._cut_off(job, lease, share, now)
            else:
                budget = Charge.NOBODY if charge is ReleaseCharge.NOBODY else Charge.INFRASTRUCTURE
                lost = charge is ReleaseCharge.LOST
                self._fail(job, lease, Outcome.AGENT_LOST, budget, share, now, host_lost=lost)
        return _settled(job, end, was)

    def _cut_off(self, job: ModelJob, lease: Lease, share: float, now: int) -> None:
        """An attempt is lost to an outage: few of them are free."""
        job.outages += 1
        if job.outages > max(self.rules.infra_max, 1):
            self._fail(job, lease, Outcome.AGENT_LOST, Charge.INFRASTRUCTURE, share, now, host_lost=True)
            return
        if job.outages > 1:
            self._avoid(job, host_mark(lease.agent_id))
        self._requeue(job, None, now)

    def adopt(
        self,
        agent_id: str,
        epoch: int,
        shown: Sequence[tuple[str, str]],
        now: int,
        share: float,
        came_back_below: int = 0,
    ) -> tuple[list[Settled], list[ShownWord]]:
        words = [self._adopt(agent_id, epoch, *one) for one in shown]
        self.floors[agent_id] = max(epoch, self.floors.get(agent_id, 0))
        message = f"agent {agent_id} came back without this attempt"
        over = f"agent {agent_id} was done with this attempt: the store went back to an older state"
        below = min(came_back_below, epoch)
        done = self._release_below(agent_id, below, over, now, share, ReleaseCharge.OUTAGE)
        done += self._release_below(agent_id, epoch, message, now, share)
        return sorted(done, key=lambda s: s.ulid), words

    def _adopt(self, agent_id: str, epoch: int, ulid: str, token: str) -> ShownWord:
        job = self.jobs.get(ulid)
        lease = job.lease if job else None
        if lease is None or (lease.token, lease.agent_id) != (token, agent_id) or lease.epoch > epoch:
            return ShownWord.GONE
        lease.epoch = epoch
        return ShownWord.REVOKED if lease.revoked else ShownWord.ADOPTED

    def sweep(self, agent_id: str, epoch: int, now: int, share: float) -> list[Settled]:
        self.floors[agent_id] = max(epoch + 1, self.floors.get(agent_id, 0))
        return self._release_below(agent_id, epoch + 1, f"agent {agent_id} was lost", now, share)

    def _release_below(
        self,
        agent_id: str,
        epoch: int,
        message: str,
        now: int,
        share: float,
        charge: ReleaseCharge = ReleaseCharge.LOST,
    ) -> list[Settled]:
        found = [j for j in self.jobs.values() if j.lease and j.lease.agent_id == agent_id and j.lease.epoch < epoch]
        done = [self._release(job, now, charge, message, share, now) for job in found]
        return sorted(done, key=lambda s: s.ulid)

    def progress(self, rows: Sequence[tuple[str, str, int]], now: int) -> None:
        for ulid, token, percent in rows:
            job = self.jobs.get(ulid)
            if job is None or job.lease is None or job.lease.token != token or job.lease.revoked:
                continue
            if job.lease.progress != percent:
                job.lease.progress = percent
                self._touch(job, now)

    # Time.

    def promote(self, now: int, limit: int = 1000) -> list[Promoted]:
        due = sorted(
            (j for j in self.jobs.values() if j.not_before is not None and j.not_before <= now),
            key=lambda j: (j.not_before, j.spec.ulid),
        )
        for job in due[:limit]:
            job.not_before = None
            self._touch(job, now)
        return [Promoted(job.spec.ulid, job.number) for job in due[:limit]]

    def overflow(self, jobs: Sequence[Judged], now: int) -> list[OverflowWord]:
        return [self._overflow(one, now) for one in jobs]

    def _overflow(self, row: Judged, now: int) -> OverflowWord:
        job = self.jobs.get(row.ulid)
        if job is None:
            return OverflowWord.GONE
        second = job.second
        came_before = job.version == row.version + 1 and row.move_to is job.target
        if second is not None and second.moved_at is not None and came_before:
            return OverflowWord.MOVED
        if job.status is not Status.QUEUED or not job.may_go or second is None:
            job.judged_at = None
            return OverflowWord.GONE
        if job.version != row.version:
            return OverflowWord.CHANGED
        if row.move_to is None or job.not_before is not None:
            job.judged_at = row.again
            return OverflowWord.STAYS
        left = job.group
        job.second = replace(second, moved_from=job.target, moved_at=now, expected_wait_ms=row.expected_wait_ms)
        job.judged_at = None
        test = (job.spec.test_path, job.target)
        job.expected, job.failed_before = self.durations.of_test(self.org_id, *test), self.failed_last.get(test, False)
        self._group_left(left)
        self._touch(job, now)
        return OverflowWord.MOVED

    def expire(self, jobs: Sequence[tuple[str, JobError]], now: int) -> list[Settled | None]:
        return [self._expire(ulid, error, now) for ulid, error in jobs]

    def _expire(self, ulid: str, error: JobError, now: int) -> Settled | None:
        job = self._waiting(ulid)
        if job is None or job.deadline is None or job.deadline > now:
            return None
        return self._ended_waiting(job, JobEvent.EXPIRE, Outcome.EXPIRED, error, now)

    def reject(self, jobs: Sequence[Unbuilt], now: int) -> list[Settled | None]:
        return [self._reject(row, now) for row in jobs]

    def _reject(self, row: Unbuilt, now: int) -> Settled | None:
        job = self._waiting(row.ulid)
        if job is None or job.version != row.version:
            return None
        return self._ended_waiting(job, JobEvent.REJECT, Outcome.PROVIDER_ERROR, row.error, now)

    def _waiting(self, ulid: str) -> ModelJob | None:
        """A job that is queued; the deadline of another one is not looked at any more."""
        job = self.jobs.get(ulid)
        if job is not None and job.status is not Status.QUEUED:
            job.watched = False
            return None
        return job

    def _ended_waiting(self, job: ModelJob, event: JobEvent, outcome: Outcome, error: JobError, now: int) -> Settled:
        job.own_error, job.ended_waiting = error, True
        self._verdict(job, event, outcome, now)
        return _settled(job, LeaseEnd.NONE, None)

    def retire(self, status: Status, finished_before: int, skip: int, limit: int) -> tuple[int, int]:
        highest = (finished_before - ORDER_EPOCH_MS) * 1000
        of_status = [j for j in self.jobs.values() if j.status is status and j.order <= highest]
        looked = sorted(of_status, key=lambda j: j.order)[skip : skip + limit]
        due = [j for j in looked if j.completed_at is not None and j.completed_at < finished_before and not j.lease]
        for job in due:
            del self.jobs[job.spec.ulid]
            own = [key for key in job.keys if key in self.keyed and self.keyed[key][0] == job.spec.ulid]
            self.tombstones |= dict.fromkeys(own, status.value)
        return len(looked), len(due)

    def forget(self, *, aliases: bool) -> None:
        """A day passes: for keys, and for the ids that were proposed."""
        self.keyed.clear()
        self.tombstones.clear()
        if aliases:
            self.aliases.clear()

    # Parts of the above.

    def _touch(self, job: ModelJob, now: int | None) -> None:
        """What readers see of a job changed. A grant, a start and a verdict have times of their own (None)."""
        job.version += 1
        job.touched_at = now or job.touched_at

    def _record(self, job: ModelJob, outcome: Outcome, ended_at: int, started_at: int | None) -> Lease:
        """The lease becomes an attempt that ended."""
        lease = job.lease
        assert lease is not None
        begun = lease.started_at if started_at is None else started_at
        attempt = Attempt(
            lease.attempt, lease.round, lease.agent_id, lease.device_id, lease.scheduled_at, outcome, begun, ended_at
        )
        job.tried.append(Tried(lease.token, attempt, None))
        job.lease = None
        return lease

    def _tree_dead(self, job: ModelJob, ended_at: int, now: int) -> None:
        """A revoked lease ends: no verdict, but the device is free and a retry may be claimed."""
        self._record(job, Outcome.CANCELLED, ended_at, None)
        self._touch(job, now)

    def _verdict(self, job: ModelJob, event: JobEvent, outcome: Outcome, now: int) -> None:
        job.status = move(job.spec.job_id, event, job.status)
        assert job.status is status_of(outcome)
        job.outcome, job.completed_at = outcome, now
        job.not_before, job.watched, job.judged_at = None, False, None
        self._group_left(job.group)
        self._touch(job, None)

    def _group_left(self, group: GroupKey) -> None:
        """A job of it is not unfinished, or not of it, any more."""
        if not any(j.group == group for j in self.unfinished()):
            self.group_installs.pop(group, None)
            self.durations.forget_group(self.org_id, gid_of(group))

    def _avoid(self, job: ModelJob, suspect: str) -> None:
        job.avoid = ([d for d in job.avoid if d != suspect] + [suspect])[-AVOIDED_DEVICES:]

    def _requeue(self, job: ModelJob, not_before: int | None, now: int) -> None:
        job.status = move(job.spec.job_id, JobEvent.RELEASE, job.status)
        if not_before is not None and not_before > now:
            job.not_before = not_before
        job.watched = job.deadline is not None
        if job.may_go:
            job.judged_at = now
        self._touch(job, now)

    def _fail(
        self,
        job: ModelJob,
        lease: Lease,
        outcome: Outcome,
        charge: Charge,
        share: float,
        now: int,
        *,
        host_lost: bool = False,
    ) -> None:
        """An attempt failed: back to the queue within the budget that its charge uses up."""
        left = may_retry(
            charge,
            retries_used=job.retries_used,
            max_retries=job.spec.max_retries,
            infra_used=job.infra_used,
            infra_max=self.rules.infra_max,
        )
        if not left:
            self._verdict(job, JobEvent.FAIL, outcome, now)
            return
        used = job.retries_used
        if charge is Charge.TEST:
            job.retries_used += 1
        elif charge is Charge.INFRASTRUCTURE:
            used = job.infra_used
            job.infra_used += 1
            for suspect in (lease.device_id, host_mark(lease.agent_id)) if host_lost else (lease.device_id,):
                self._avoid(job, suspect)
        wait = backoff_ms(used, share, self.rules)
        self._requeue(job, None if charge is Charge.NOBODY else now + wait, now)


def gid_of(group: GroupKey) -> str:
    """The store's name of a group, which callers pass on and never read."""
    from qgjob_coordinator.store.names import group_id  # noqa: PLC0415 - the only thing of the codec that is used

    return group_id(*group)


def _identity(spec: JobSpec) -> tuple[object, ...]:
    """Equal for jobs that are equal."""
    env = tuple(sorted(spec.env.items()))
    second = None if spec.overflow is None else spec.overflow.target
    return spec.app_version_id, spec.test_path, spec.target, second, spec.requirements, env, spec.suite_digest


def _content(spec: JobSpec) -> JobSpec:
    """What the caller sent: another default than the first time is no other content."""
    return replace(
        spec,
        priority=spec.priority if spec.own_priority else Priority.LOW,
        max_retries=spec.max_retries if spec.own_max_retries else 0,
    )


def _keyed_content(spec: JobSpec) -> JobSpec:
    """What has to be the same under one idempotency key."""
    return replace(_content(spec), ulid="", run_id=None, labels={})


def _settled(job: ModelJob, end: LeaseEnd, lease: Lease | None) -> Settled:
    """Where the job stands, and the lease that ended."""
    attempt = job.number if lease is None else lease.attempt
    agent, device = (None, None) if lease is None else (lease.agent_id, lease.device_id)
    target = job.target
    return Settled(job.spec.ulid, job.status, target, job.outcome, attempt, end, agent, device, job.not_before)


def _ended(job: ModelJob, token: str) -> bool:
    return any(t.token == token for t in job.tried)


def _sent(job: ModelJob) -> dict[str, object]:
    """What a grant brings of the job, see codec.encode_spec."""
    spec = job.spec
    sent: dict[str, object] = {"a": spec.app_version_id, "p": spec.test_path, "g": job.target.value}
    optional = {
        "l": dict(spec.labels),
        "e": dict(spec.env),
        "t": spec.timeout_ms,
        "w": spec.queue_timeout_ms,
        "b": spec.not_before,
        "u": [spec.suite_digest, spec.suite_size_bytes] if spec.suite_digest else None,
    }
    return sent | {k: v for k, v in optional.items() if v}
