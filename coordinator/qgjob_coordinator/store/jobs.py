"""Writes that callers ask for: submit, cancel, retry; and those that time brings: promote, expire, reject, retire."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from qgjob_coordinator.model.enums import ErrorClass, Outcome, Status, Target
from qgjob_coordinator.model.jobs import JobError, JobSpec
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS, queue_score
from qgjob_coordinator.store import codec, keys, names
from qgjob_coordinator.store.estimates import FleetEstimates
from qgjob_coordinator.store.scripts import Arg, ScriptRunner, Step
from qgjob_coordinator.store.settled import parse
from qgjob_coordinator.store.snapshots import OrgSnapshot, decode, shown
from qgjob_coordinator.store.types.asked import Cancelled, CancelWord, Retried, RetryWord
from qgjob_coordinator.store.types.endings import Settled
from qgjob_coordinator.store.types.submissions import (
    Manner,
    OperationReusedError,
    SubmitConflictError,
    Submitted,
    SubmitWord,
)
from qgjob_coordinator.store.types.waiting import Judged, OverflowWord, Promoted, Unbuilt

MAX_JOBS = 1000

PLAINLY = Manner()


class JobStore:
    """Jobs of one org at a time, at most 1,000 a call."""

    def __init__(self, runner: ScriptRunner, fleet: FleetEstimates) -> None:
        self._runner = runner
        self._fleet = fleet
        self._last_order = 0

    def _orders(self, now: int, count: int) -> range:
        """`count` orders, after all that this process gave before and not before `now` (ms)."""
        first = max(self._last_order + 1, (now - ORDER_EPOCH_MS) * ORDERS_PER_MS)
        self._last_order = first + count - 1
        return range(first, first + count)

    async def submit(
        self, org_id: str, specs: Sequence[JobSpec], own_ids: Sequence[bool], now: int, manner: Manner = PLAINLY
    ) -> dict[int, Submitted]:
        """Accepts all specs or none. `own_ids[i]` says that the caller chose the id, so that it must stay known.

        Answers which of them, by index, got no new job. Raises SubmitConflictError when an id exists with another
        content, or an idempotency key stands for one, StoreUnavailableError.
        """
        return (await self.submit_and_look(org_id, specs, own_ids, now, None, manner))[0]

    async def submit_and_look(
        self,
        org_id: str,
        specs: Sequence[JobSpec],
        own_ids: Sequence[bool],
        now: int,
        heads: int | None,
        manner: Manner = PLAINLY,
    ) -> tuple[dict[int, Submitted], OrgSnapshot | None]:
        """As `submit`; with `heads`, also what a planning round needs of the org, in the same round trip."""
        groups: dict[str, JobSpec] = {}
        taken: dict[tuple[str, str | None], None] = {}
        rows: list[Arg] = []
        orders = self._orders(now, len(specs))
        for spec, own, order in zip(specs, own_ids, orders, strict=True):
            sig = names.signature(spec.requirements)
            gid = names.group_id(spec.app_version_id, spec.target)
            if gid not in groups:
                groups[gid] = spec
            if spec.supersede is not None:
                taken[spec.supersede, spec.run_id] = None
            rows += (
                spec.ulid,
                names.content_hash(spec, sig),
                ("" if spec.no_dedup else "d") + ("o" if own else ""),
                gid,
                sig,
                codec.encode_submitted(gid, order, spec.priority, spec.max_retries),
                queue_score(spec.priority, order),
                order,
                spec.run_id or "",
                codec.encode_spec(spec),
                _rare(spec, sig, now),
            )
        head: list[Arg] = [now, len(specs), len(groups), keys.ALIAS_TTL_MS, keys.IDEMPOTENCY_TTL_MS]
        head.append(_of_runs(specs, taken, manner))
        for gid, spec in groups.items():
            head += (gid, spec.app_version_id, spec.target.value)
        # The org is on the active set before and after its job is: see "active set" in docs/protocol.md.
        active = Step(None, "", ("SADD", f"{keys.FLEET}act", org_id))
        known = Step(None, "", ("SADD", f"{keys.FLEET}orgs", org_id))
        steps = [active, known, Step("submit", keys.org(org_id), head + rows), active]
        if heads is not None:
            steps.append(Step("snapshot", keys.org(org_id), shown(heads)))
        replies = await self._runner.batch(steps)
        seen = decode(org_id, replies[4], self._fleet.typical) if heads is not None else None
        return _known(replies[2]), seen

    async def cancel(
        self,
        org_id: str,
        jobs: Sequence[tuple[str, int | None]],
        now: int,
        *,
        reason: str,
        operation_id: str | None = None,
        asked: str = "",
        run_id: str | None = None,
    ) -> list[Cancelled]:
        """Cancels (ulid, round meant or None) pairs; with `run_id`, takes them off that run first.

        An operation that is repeated within its time gets the rows of the first time, whatever jobs it names now:
        `asked` says what it is for. Raises OperationReusedError when its id was used with another `asked`.
        """
        error = codec.encode_error(JobError(ErrorClass.CANCELLED, reason))
        args: list[Arg] = [now, *_operation(operation_id, asked), run_id or "", error, keys.LEFT_RUN_TTL_MS]
        for ulid, round_ in jobs:
            args += (ulid, "" if round_ is None else round_)
        reply = _first(await self._runner.run("cancel", keys.org(org_id), args), operation_id)
        return [
            Cancelled(
                ulid,
                CancelWord(word),
                _status(letter),
                int(round_) if round_ else None,
                agent or None,
                token or None,
                names.LETTER_TARGET.get(target),
            )
            for ulid, word, letter, round_, agent, token, target in _rows(reply, 7)
        ]

    async def retry(
        self,
        org_id: str,
        jobs: Sequence[tuple[str, int, int | None]],
        now: int,
        *,
        operation_id: str | None = None,
        asked: str = "",
    ) -> list[Retried]:
        """Starts a new round of (ulid, round meant, queue deadline or None in ms) triples.

        `operation_id`, `asked` and errors as in `cancel`.
        """
        args: list[Arg] = [now, *_operation(operation_id, asked)]
        for ulid, round_, deadline in jobs:
            args += (ulid, round_, "" if deadline is None else deadline)
        reply = _first(await self._runner.run("retry", keys.org(org_id), args), operation_id)
        return [
            Retried(ulid, RetryWord(word), _status(letter), int(round_) if round_ else None, equal or None)
            for ulid, word, letter, round_, equal in _rows(reply, 5)
        ]

    async def promote(
        self, org_id: str, now: int, limit: int = MAX_JOBS, without: Collection[str] = ()
    ) -> list[Promoted]:
        """Puts due retries on their queues, of the first `limit` those not `without`; which, first due first."""
        reply = await self._runner.run("promote", keys.org(org_id), [now, limit, *without])
        return [Promoted(ulid, attempts) for ulid, attempts in _rows(reply, 2)]

    async def overflow(self, org_id: str, jobs: Sequence[Judged], now: int) -> list[OverflowWord]:
        """Puts jobs into the groups of their second targets, and notes when to judge the others again; a word each."""
        groups: dict[str, tuple[str, Target]] = {}
        rows: list[Arg] = []
        for job in jobs:
            gid = ""
            if job.move_to is not None:
                gid = names.group_id(job.app_version_id, job.move_to)
                groups[gid] = job.app_version_id, job.move_to
            expected = "-" if job.expected_wait_ms is None else job.expected_wait_ms
            rows += (job.ulid, job.version, gid, expected, job.again)
        head: list[Arg] = [now, len(groups)]
        for gid, (app_version_id, target) in groups.items():
            head += (gid, app_version_id, target.value)
        return [OverflowWord(word) for word in await self._runner.run("overflow", keys.org(org_id), head + rows)]

    async def expire(self, org_id: str, jobs: Sequence[tuple[str, JobError]], now: int) -> list[Settled | None]:
        """Ends (ulid, error) pairs as `expired` whose deadline has come; what it did to each, None for nothing."""
        rows = [(ulid, codec.encode_error(error), "", "") for ulid, error in jobs]
        return await self._end(org_id, Outcome.EXPIRED, rows, now)

    async def reject(self, org_id: str, jobs: Sequence[Unbuilt], now: int) -> list[Settled | None]:
        """Ends queued jobs as `provider_error` for whose devices no build was pushed; what it did to each, None for
        nothing."""
        rows = [(job.ulid, codec.encode_error(job.error), job.version, ",".join(job.lacking)) for job in jobs]
        return await self._end(org_id, Outcome.PROVIDER_ERROR, rows, now)

    async def _end(
        self, org_id: str, outcome: Outcome, rows: Iterable[tuple[Arg, ...]], now: int
    ) -> list[Settled | None]:
        """`rows` as the script has them."""
        args: list[Arg] = [now, outcome.value, *chain.from_iterable(rows)]
        return [parse(line) if line else None for line in await self._runner.run("expire", keys.org(org_id), args)]

    async def retire(self, org_id: str, status: Status, finished_before: int, skip: int, limit: int) -> tuple[int, int]:
        """Removes finished jobs of `status`; how many it looked at, and how many it removed.

        Oldest submissions come first, and those that were submitted after `finished_before` (ms) can't be due.
        """
        highest = (finished_before - ORDER_EPOCH_MS) * ORDERS_PER_MS
        args: list[Arg] = [finished_before, codec.STATUS_LETTER[status], highest, skip, limit]
        looked, removed = await self._runner.run("retire", keys.org(org_id), args)
        return int(looked), int(removed)


def _rare(spec: JobSpec, sig: str, now: int) -> str:
    """What few jobs have, for the script; empty for the others."""
    second = spec.overflow
    if spec.idempotency_key is None and spec.not_before is None and spec.queue_timeout_ms is None and second is None:
        return ""
    given: dict[str, Arg] = {}
    if spec.idempotency_key is not None:
        given["k"] = names.digest_key(spec.idempotency_key)
        given["c"] = names.keyed_hash(spec, sig)
    if spec.not_before is not None:
        given["b"] = spec.not_before
    if spec.queue_timeout_ms is not None:
        given["q"] = max(now, spec.not_before or 0) + spec.queue_timeout_ms
    if second is not None:
        given["o"] = codec.encode_overflow(second)
    return names.dumps(given)


def _of_runs(specs: Sequence[JobSpec], taken: Iterable[tuple[str, str | None]], manner: Manner) -> str:
    """What a call does to runs, for the script; empty for most. `taken`: keys, and the runs that take them."""
    flat = [text for key, run in taken for text in (names.digest_key(key), run or "")]
    if not flat and manner.bound_to is None:
        return ""
    given: dict[str, object] = {"s": flat, "b": [], "m": manner.more_follows, "w": specs[0].ulid}
    given |= {"k": keys.SUPERSEDE_TTL_MS, "l": keys.SUPERSEDED_TTL_MS}
    if manner.bound_to is not None:
        runs = dict.fromkeys(spec.run_id for spec in specs if spec.run_id is not None)
        given |= {"b": list(runs), "c": manner.bound_to.client_id, "a": manner.bound_to.after_ms}
    return names.dumps(given)


def _known(reply: list[Any]) -> dict[int, Submitted]:
    """Which submissions got no new job. Raises SubmitConflictError."""
    if reply[0] == "CONFLICT":
        raise SubmitConflictError(reply[1] - 1, *reply[2:])
    known = {}
    for i, (word, text) in enumerate(zip(reply[1::2], reply[2::2], strict=True)):
        if word != SubmitWord.NEW:
            ulid, _, removed = text.partition(" ")
            known[i] = Submitted(SubmitWord(word), ulid, removed or None)
    return known


def _operation(operation_id: str | None, asked: str) -> tuple[Arg, ...]:
    return operation_id or "", names.digest_key(asked), keys.OPERATION_TTL_MS


def _first(reply: Sequence[str], operation_id: str | None) -> Sequence[str]:
    """The reply, unless the operation id was used for something else."""
    if operation_id is not None and list(reply) == ["REUSED"]:
        raise OperationReusedError(operation_id)
    return reply


def _rows(flat: Sequence[Any], width: int) -> Iterator[Sequence[Any]]:
    return (flat[i : i + width] for i in range(0, len(flat), width))


def _status(letter: str) -> Status | None:
    return codec.LETTER_STATUS[letter] if letter else None
