"""Runs every operation on the model and on a real store, and compares answers and states."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.estimates.typical import typical_seconds
from qgjob_coordinator.policy.snapshot import Head
from qgjob_coordinator.store import estimates, keys, names
from qgjob_coordinator.store.snapshots import Due
from qgjob_coordinator.store.types.sessions import SessionRow
from qgjob_coordinator.store.types.submissions import OperationReusedError, SubmitConflictError
from tests.fakes.blocking_store import at_once, blocking_store
from tests.fakes.fleet_model import FleetModel
from tests.fakes.store_audit import audit
from tests.fakes.store_model import ORDER_EPOCH_MS, GroupKey, ModelJob, OrgModel, gid_of

HEADS = 64
PAGE = 3
KEPT_DB = 1
"""The database in which an older state of the store is kept."""
COPY_ALL = "for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', ARGV[1]) end"
GET_ALL = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('GET', key)
end
return found
"""
DIGEST = """
local all = {}
local found = redis.call('KEYS', ARGV[1])
table.sort(found)
for _, key in ipairs(found) do
  all[#all + 1] = key
  all[#all + 1] = redis.call('DUMP', key)
  all[#all + 1] = redis.call('PTTL', key) < 0 and 'for ever' or 'ends'
end
return redis.sha1hex(table.concat(all, ' '))
"""
"""Of the keys that begin so, their values, and which of them end by themselves."""


@dataclass(frozen=True)
class Call:
    """One operation with its arguments, so that it can be repeated; `org_id` None for the fleet's."""

    org_id: str | None
    name: str
    args: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return f"{self.org_id or 'fleet'}.{self.name}{self.args}{dict(self.options) or ''}"


class SideBySide:
    """A model and a store that have seen the same operations."""

    def __init__(self, runner: asyncio.Runner, url: str, raw: Redis, orgs: Sequence[str]) -> None:
        raw.flushall()
        self._runner = runner
        self._raw = raw
        self._kept_keys = Redis.from_url(url, db=KEPT_DB, decode_responses=True, protocol=2)
        self.store = blocking_store(url)
        self.orgs = {org_id: OrgModel(org_id) for org_id in orgs}
        self.fleet = FleetModel()
        self.calls: list[Call] = []
        self._last_order = 0
        self._touched: set[str | None] = set()
        self._compared: dict[str | None, tuple[str, bytes]] = {}  # how both stood when they were found to agree
        self._kept: bytes | None = None
        self.went_back = 0
        self.late: list[Callable[[], Awaitable[Any]]] = []  # calls that are under way to the store
        self.granted: set[str] = set()  # tokens of all leases there ever were

    def close(self) -> None:
        self._kept_keys.close()
        at_once(self.store.close())

    def do(self, call: Call) -> Any:
        """Runs an operation on both; their common answer."""
        return at_once(self.also(call))

    async def also(
        self, call: Call, on_store: Callable[[], Awaitable[Any]] | None = None, orders: range | None = None
    ) -> Any:
        """As `do`, in a task.

        `on_store` is how the operation is done on the store, if another way than usual; `orders` what its jobs get.
        """
        self.calls.append(call)
        self._touched.add(call.org_id)
        real = await self._on_store(call, on_store)
        model = self._on_model(call, real, orders)
        assert real == model, f"{call}\nstore: {real}\nmodel: {model}"
        if call.name == "claim":
            self.granted |= {g.token for answer in real for g in answer.grants}
        return model

    def forget(self, org_id: str, *, aliases: bool) -> None:
        """A day passes in an org. What was called before it is not repeated any more."""
        self.calls.clear()
        self.orgs[org_id].forget(aliases=aliases)
        for kind in ("ik", "al") if aliases else ("ik",):
            for key in self._raw.keys(f"{keys.org(org_id)}{kind}:*"):
                self._raw.delete(key)

    # An older state.

    def keep(self) -> None:
        """Keeps both as they stand, to go back to."""
        self._kept_keys.flushdb()
        self._raw.eval(COPY_ALL, 0, KEPT_DB)
        self._kept = pickle.dumps((self.orgs, self.fleet))

    def go_back(self) -> bool:
        """Puts both back to what was kept, as a failover does; False where nothing was.

        What was under way to the store that is lost is lost with it.
        """
        if self._kept is None:
            return False
        self._raw.flushdb()
        self._kept_keys.eval(COPY_ALL, 0, 0)
        self.orgs, self.fleet = pickle.loads(self._kept)  # noqa: S301 - our own
        self._touched = {None, *self.orgs}
        self.went_back += 1
        self.calls.clear()
        self.late.clear()
        return True

    # Operations.

    def _on_model(self, call: Call, real: Any, orders: range | None) -> Any:
        target: Any = self.fleet if call.org_id is None else self.orgs[call.org_id]
        args = call.args
        if call.name == "submit":
            specs, own_ids, now = args
            if orders is None:
                self.fleet.mark_active(str(call.org_id))
                self._touched.add(None)
            args = (specs, own_ids, orders or self.orders(now, len(specs)), now)
        if call.name == "hello":
            args = (*args, real[0])
        try:
            return getattr(target, call.name)(*args, **dict(call.options))
        except SubmitConflictError as e:
            return ("CONFLICT", e.index, e.field, e.holder)
        except OperationReusedError as e:
            return ("REUSED", e.operation_id)

    async def _on_store(self, call: Call, on_store: Callable[[], Awaitable[Any]] | None) -> Any:
        try:
            return await (self._usual(call) if on_store is None else on_store())
        except SubmitConflictError as e:
            return ("CONFLICT", e.index, e.field, e.holder)
        except OperationReusedError as e:
            return ("REUSED", e.operation_id)

    async def _usual(self, call: Call) -> Any:
        store, options = self.store, dict(call.options)
        if call.org_id is not None:
            home: Any = store.jobs if hasattr(store.jobs, call.name) else store.leases
            return await getattr(home, call.name)(call.org_id, *call.args, **options)
        if call.name == "open":
            agent, instance, epoch, coordinator, now = call.args
            return await store.sessions.open(agent, instance, epoch, {}, coordinator, [], now)
        if call.name == "hello":
            return (await store.sessions.hello(*call.args))[1:]
        if call.name == "mark":
            kind, org_id = call.args
            self._raw.sadd(f"{keys.FLEET}{kind}", org_id)
            return None
        if call.name.startswith("mark_"):
            return await getattr(store, call.name)(*call.args)
        home = store.sessions if hasattr(store.sessions, call.name) else store.fleet
        return await getattr(home, call.name)(*call.args, **options)

    def orders(self, now: int, count: int) -> range:
        """The orders that the store is to give: by time, and never one twice."""
        first = max(self._last_order + 1, (now - ORDER_EPOCH_MS) * 1000)
        self._last_order = first + count - 1
        return range(first, first + count)

    # States.

    def check(self) -> None:
        """Compares what the last operations may have changed."""
        touched, self._touched = self._touched, set()
        for org_id in touched:
            stands = self._stands(org_id)
            if self._compared.get(org_id) == stands:
                continue
            if org_id is None:
                self._check_fleet()
            else:
                self._check_org(self.orgs[org_id])
            self._compared[org_id] = stands

    def _stands(self, org_id: str | None) -> tuple[str, bytes]:
        """All that a comparison goes by: where neither has changed since the last one, it would find the same."""
        prefix = keys.FLEET if org_id is None else keys.org(org_id)
        model = self.fleet if org_id is None else self.orgs[org_id]
        return self._raw.eval(DIGEST, 0, f"{prefix}*"), pickle.dumps(model)

    def check_org(self, org_id: str) -> None:
        """Compares one org."""
        self._check_org(self.orgs[org_id])

    def check_all(self) -> None:
        """Compares everything, by every read that there is."""
        self._check_fleet()
        for org in self.orgs.values():
            self._check_org(org)
            self._runner.run(self._check_pages(org))
            at_once(self._check_numbers(org))
            at_once(self._check_events(org))
            self._check_estimates(org)
        assert audit(self._raw) == []

    def _check_org(self, org: OrgModel) -> None:
        async def read() -> tuple[Any, Any, Any]:
            store, org_id = self.store, org.org_id
            jobs = await store.reads.get(org_id, [*org.jobs, "01JUNKNOWN"])
            return jobs, await store.snapshots.org(org_id, HEADS), await store.snapshots.due(org_id)

        jobs, snapshot, due = at_once(read())
        for actual, expected in zip(jobs, [*(j.as_job() for j in org.jobs.values()), None], strict=True):
            assert actual == expected, f"\nstore: {actual}\nmodel: {expected}"
        expected_snapshot = _expected_snapshot(org)
        assert _seen(snapshot) == expected_snapshot
        judged = min((j.judged_at for j in org.jobs.values() if j.judged_at is not None), default=None)
        unfinished = bool(org.unfinished())
        assert due == Due(
            expected_snapshot["retry"], expected_snapshot["deadline"], unfinished, next_overflow_at=judged
        )
        self._check_keys(org)
        wrong = audit(self._raw, org.org_id)
        assert wrong == [], "\n".join(wrong)

    def _check_keys(self, org: OrgModel) -> None:
        """What every idempotency key stands for."""
        prefix = f"{keys.org(org.org_id)}ik:"
        expected = {}
        for key, (answered, sent) in org.keyed.items():
            content = names.keyed_hash(sent, names.signature(sent.requirements))
            expected[prefix + names.digest_key(key)] = f"{answered} {org.tombstones.get(key, '-')} {content}"
        found = self._raw.eval(GET_ALL, 0, f"{prefix}*")
        assert dict(zip(found[::2], found[1::2], strict=True)) == expected

    def _check_fleet(self) -> None:
        async def read() -> tuple[Any, Any, Any]:
            store = self.store
            orgs = {agent: await store.agent_orgs(agent) for agent in self.fleet.sessions}
            return await store.sessions.watch(), orgs, await store.fleet.read()

        (closed, rows), orgs, agents = at_once(read())
        assert set(closed) == self.fleet.to_sweep
        expected = {SessionRow(a, s.epoch, s.counter, s.state) for a, s in self.fleet.sessions.items()}
        assert set(rows) == expected
        assert orgs == {agent: self.fleet.orgs_of(agent) for agent in self.fleet.sessions}
        assert {d.info.device_id: a.agent_id for a in agents for d in a.devices if d.present} == self.fleet.devices
        assert {a.agent_id: a.holds_seen for a in agents if a.holds_seen} == {
            a: n for a, n in self.fleet.holds_seen.items() if n
        }
        pipe = self._raw.pipeline(transaction=False)
        active, registry = pipe.smembers(f"{keys.FLEET}act").smembers(f"{keys.FLEET}orgs").execute()
        assert active == self.fleet.active
        assert registry == self.fleet.registry

    async def _check_pages(self, org: OrgModel) -> None:
        runs = {r for j in org.jobs.values() for r in j.runs if r}
        for status in (None, *Status):
            wanted = [j for j in org.jobs.values() if status in (None, j.status)]
            assert await self._walk(org.org_id, status, None) == _newest_first(wanted)
        for run in runs:
            assert await self._walk(org.org_id, None, run) == _newest_first(org.of_run(run))
            assert await self.store.reads.run_ulids(org.org_id, run) == [j.spec.ulid for j in org.of_run(run)]
            queued = [j for j in org.of_run(run) if j.status is Status.QUEUED]
            assert await self._walk(org.org_id, Status.QUEUED, run) == _newest_first(queued)

    async def _walk(self, org_id: str, status: Status | None, run_id: str | None) -> list[str]:
        found: list[Job] = []
        cursor = None
        while True:
            page = await self.store.reads.page(org_id, status, run_id, PAGE, cursor)
            found += page.jobs
            cursor = page.next_
            if cursor is None:
                return [j.ulid for j in found]
            assert len(page.jobs) == PAGE

    async def _check_numbers(self, org: OrgModel) -> None:
        reads, org_id, jobs = self.store.reads, org.org_id, list(org.jobs.values())
        counts, saved = await reads.counters(org_id)
        expected: dict[Any, int] = {}
        for j in jobs:
            expected[j.status, j.target] = expected.get((j.status, j.target), 0) + 1
        assert {k: n for k, n in counts.items() if n} == expected
        assert saved == org.saved
        waiting = [j.created_at for j in jobs if j.status is Status.QUEUED]
        assert await reads.oldest_waiting_at(org_id) == min(waiting, default=None)
        assert await reads.delayed_count(org_id) == sum(j.not_before is not None for j in jobs)
        assert {j.ulid for j in await reads.held(org_id)} == {j.spec.ulid for j in jobs if j.lease}
        places = await reads.positions(org_id, [j.spec.ulid for j in jobs])
        assert places == [_place(org, j) for j in jobs]
        for agent in org.floors:
            revoked = {j.lease.token for j in jobs if j.lease and j.lease.agent_id == agent and j.lease.revoked}
            assert set(await reads.revoked(org_id, agent)) == revoked

    def _check_estimates(self, org: OrgModel) -> None:
        """What is known of every test."""
        kept = self._raw.hgetall(f"{keys.org(org.org_id)}est")
        kept.pop("*", None)
        tests = {names.TARGET_LETTER[t] + names.path_digest(path): (path, t) for path, t in org.failed_last}
        assert set(kept) == set(tests)
        for field, test in tests.items():
            assert estimates.estimate(kept[field]) == org.durations.estimate(org.org_id, *test)
            assert (estimates.FAILED_MARK in kept[field]) == org.failed_last[test]

    async def _check_events(self, org: OrgModel) -> None:
        """Each version of each job was told, in order, the last as the job stands."""
        told: dict[str, list[Any]] = {}
        for _, transitions in await self.store.events.after(org.org_id, "0-0", 100_000):
            for t in transitions:
                told.setdefault(t.ulid, []).append(t)
        for ulid, job in org.jobs.items():
            versions = [t.version for t in told[ulid]]
            first = len(versions) - versions[::-1].index(1) - 1  # a job that was removed may have had the same id
            assert versions[first:] == list(range(1, job.version + 1))
            assert told[ulid][-1].status is job.status


def _newest_first(jobs: Sequence[ModelJob]) -> list[str]:
    return [j.spec.ulid for j in sorted(jobs, key=lambda j: (j.order, j.spec.ulid), reverse=True)]


def _place(org: OrgModel, job: ModelJob) -> int | None:
    if not job.ready:
        return None
    return 1 + sum(j.ready and j.group == job.group and j.score < job.score for j in org.jobs.values())


def _seen(snapshot: Any) -> dict[str, Any]:
    groups = {}
    for g in snapshot.groups:
        queues = {(q.requirements, q.avoid): (q.waiting, list(q.heads)) for q in g.queues}
        assert len(queues) == len(g.queues)
        assert (g.org_id, g.gid) == (snapshot.org_id, gid_of((g.app_version_id, g.target)))
        groups[g.app_version_id, g.target] = (g.unfinished, g.installs, dict(g.serving), queues, g.typical_seconds)
    return {
        "held": snapshot.held,
        "retry": snapshot.next_retry_at,
        "deadline": snapshot.next_deadline_at,
        "groups": groups,
    }


def _expected_snapshot(org: OrgModel) -> dict[str, Any]:
    unfinished = org.unfinished()
    groups: dict[GroupKey, Any] = {}
    for group in {j.group for j in unfinished}:
        members = [j for j in unfinished if j.group == group]
        queues: dict[Any, Any] = {}
        for j in sorted((j for j in members if j.ready), key=lambda j: j.score):
            heads = queues.setdefault((j.spec.requirements, tuple(j.avoid)), [])
            heads.append(Head(j.score, j.spec.ulid, j.expected))
        counted = {key: (len(heads), heads[:HEADS]) for key, heads in queues.items()}
        typical = typical_seconds(org.durations.wholes(org.org_id, gid_of(group)))
        groups[group] = (len(members), org.group_installs[group], dict(org.serving(group)), counted, typical)
    return {
        "held": org.held(),
        "retry": min((j.not_before for j in unfinished if j.not_before is not None), default=None),
        "deadline": min((j.deadline for j in unfinished if j.watched and j.deadline is not None), default=None),
        "groups": groups,
    }
