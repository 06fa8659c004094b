"""How a job lies in the store.

`j:<ulid>` is a hash of short fields, so that Redis keeps it in its compact form: s status, h content hash (see
store/names), i "gid order priority retries expected" as submitted (retries: the most of them; expected: ms, and `!` if
its test had failed in its last run, absent when nothing was known), nd not deduplicated, sb requirement signature, qd
queue deadline, rn runs, ik idempotency digests, nb the time it waits for, n attempts, r round (1 when absent), v
version (1 when absent), ov "target ms since" of its overflow (since absent in the first round), mv "moved expected"
when it went there (expected: the wait in ms, or -), tr and ir retries used, ou attempts lost to outages, av devices to
avoid (`@agent`: all of a host), pz agents lost, u updated (or a later time below), oc "outcome completed"; while there
is a lease: l "epoch token agent device scheduled", st started, pr progress, rv revoked, ar round of the attempt. A
completed job keeps l of the attempt that passed, with en (JSON: ended, ms from start to end, duration, install,
result), unless that is too long for a compact hash: nothing follows it, so it needs no record in the text.

`d:<ulid>` is text: the spec as JSON, then one line of JSON for each ended attempt (an array, see `_record`) or for an
error that no attempt had (an object).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from qgjob_coordinator.model.enums import ErrorClass, Outcome, Priority, Status, Target
from qgjob_coordinator.model.jobs import Attempt, Job, JobError, JobSpec, Overflow, TestResult
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS
from qgjob_coordinator.store.names import LETTER_TARGET, TARGET_LETTER, dumps, parse_signature

STATUS_LETTER: dict[Status, str] = {
    Status.QUEUED: "q",
    Status.SCHEDULED: "s",
    Status.RUNNING: "r",
    Status.COMPLETED: "c",
    Status.FAILED: "f",
    Status.CANCELLED: "x",
}
LETTER_STATUS = {letter: status for status, letter in STATUS_LETTER.items()}
_quote = json.encoder.encode_basestring
_loads = json.loads


@lru_cache(maxsize=65536)
def _spec_head(app_version_id: str, target: Target) -> str:
    return dumps({"a": app_version_id, "g": target.value})[:-1] + ',"p":'


def encode_submitted(gid: str, order: int, priority: Priority, retries: int) -> str:
    """What a job has from its submission, less what was expected of it, which the script adds."""
    return f"{gid} {order} {priority:d} {retries}"


def encode_overflow(overflow: Overflow) -> str:
    """A job's field `ov` as submitted."""
    return f"{TARGET_LETTER[overflow.target]} {overflow.after_ms}"


def encode_spec(spec: JobSpec) -> str:
    """Line 1 of a job's text."""
    d: dict[str, Any] = {}
    if spec.labels:
        d["l"] = dict(spec.labels)
    if spec.env:
        d["e"] = dict(spec.env)
    if spec.timeout_ms is not None:
        d["t"] = spec.timeout_ms
    if spec.queue_timeout_ms is not None:
        d["w"] = spec.queue_timeout_ms
    if spec.not_before is not None:
        d["b"] = spec.not_before
    if spec.suite_digest is not None:
        d["u"] = [spec.suite_digest, spec.suite_size_bytes]
    rest = "," + dumps(d)[1:] if d else "}"
    return f"{_spec_head(spec.app_version_id, spec.target)}{_quote(spec.test_path)}{rest}"


@lru_cache(maxsize=65536)
def _decoded_head(head: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _loads(head + "}")
    return found


def decode_spec(line: str) -> dict[str, Any]:
    """Line 1 of a job's text, by the letters of `encode_spec`; the caller's own.

    Most have a path that is quoted as it is and nothing behind it. Quotes within JSON's strings are escaped, so the
    mark before the path is the only one.
    """
    head, mark, rest = line.partition(',"p":"')
    path = rest[:-2]
    if mark and rest.endswith('"}') and '"' not in path and "\\" not in path:
        return {**_decoded_head(head), "p": path}
    found: dict[str, Any] = _loads(line)
    return found


def created_at(order: int) -> int:
    """When a job of this order was accepted, in ms."""
    return ORDER_EPOCH_MS + order // ORDERS_PER_MS


def _record(values: list[Any]) -> Attempt:
    number, round_, agent, device, _token, scheduled, started, ended, outcome, duration, install, result, error = values
    return Attempt(
        attempt=number,
        round=round_,
        agent_id=agent,
        device_id=device,
        scheduled_at=scheduled,
        started_at=started,
        ended_at=ended,
        outcome=Outcome(outcome),
        duration_ms=duration,
        install_ms=install,
        error=_error(error),
        result=TestResult(*result) if result else None,
    )


def _error(pair: list[str] | None) -> JobError | None:
    return JobError(ErrorClass(pair[0]), pair[1]) if pair else None


def encode_measured(duration_ms: int | None, install_ms: int | None, result: TestResult | None) -> str:
    """What an attempt's report tells of its time and its tests, as a part of a record."""
    counted = "null"
    if result is not None:
        r = result
        counted = f"[{r.passed},{r.failed},{r.skipped},{r.duration_ms},{_quote(r.summary)}]"
    duration = "null" if duration_ms is None else duration_ms
    install = "null" if install_ms is None else install_ms
    return f"{duration},{install},{counted}"


def encode_pair(error: JobError | None) -> str:
    """An error as a part of a record."""
    return f'["{error.error_class.value}",{_quote(error.message)}]' if error else "null"


def encode_error(error: JobError) -> str:
    """The line that a job keeps of an error that no attempt had; the script closes it with the round."""
    return dumps({"e": [error.error_class.value, error.message]})[:-1]


def _int(fields: Mapping[str, str], name: str) -> int | None:
    value = fields.get(name)
    return int(value) if value is not None else None


@dataclass(frozen=True, slots=True)
class _OwnError:
    """An error that no attempt had, the round that it ended, and how many attempts had ended before."""

    round: int
    error: JobError
    attempts: int


def decode_text(text: str) -> tuple[dict[str, Any], list[Attempt], list[Any] | None, _OwnError | None]:
    """Spec, ended attempts, the last record, and the last error that no attempt had."""
    first, *lines = text.split("\n")
    attempts: list[Attempt] = []
    last: list[Any] | None = None
    own: _OwnError | None = None
    for line in lines:
        value = _loads(line)
        if isinstance(value, list):
            last = value
            attempts.append(_record(value))
        else:
            own = _OwnError(value["r"], JobError(ErrorClass(value["e"][0]), value["e"][1]), len(attempts))
    return decode_spec(first), attempts, last, own


def decode_job(org_id: str, ulid: str, fields: Mapping[str, str], text: str) -> Job:
    """A job from its hash and its text."""
    spec, attempts, last, own = decode_text(text)
    base = fields.get("sb", "")
    status = LETTER_STATUS[fields["s"]]
    gid, order_, priority, retries, *_expected = fields["i"].split(" ")
    order = int(order_)
    outcome, completed_at = _verdict(fields)
    round_ = int(fields.get("r", "1"))
    job = Job(
        org_id=org_id,
        ulid=ulid,
        app_version_id=spec["a"],
        test_path=spec["p"],
        priority=Priority(int(priority)),
        target=LETTER_TARGET[gid[0]] if "mv" in fields else Target(spec["g"]),
        status=status,
        created_at=created_at(order),
        updated_at=_updated_at(fields, order, completed_at),
        max_retries=int(retries),
        outcome=outcome,
        round=round_,
        version=int(fields.get("v", "1")),
        run_ids=[x for x in fields.get("rn", "").split(",") if x not in ("", ".")],
        labels=spec.get("l", {}),
        requirements=parse_signature(base)[0],
        env=spec.get("e", {}),
        not_before=_int(fields, "nb") if round_ > 1 or "nb" in fields else spec.get("b"),
        completed_at=completed_at,
        attempts=attempts,
        retry_count=int(fields.get("tr", "0")),
        timeout_ms=spec.get("t"),
        queue_timeout_ms=spec.get("w"),
        queue_deadline=_int(fields, "qd"),
        suite_digest=spec["u"][0] if "u" in spec else None,
        overflow=_overflow(fields, Target(spec["g"])) if "ov" in fields else None,
        avoid_devices=tuple(x for x in fields.get("av", "").split(",") if x),
    )
    if "l" in fields and status is Status.COMPLETED:
        last = _record_in_job(fields, round_)
        job.attempts.append(_record(last))
        _add_last_attempt(job, last)
    elif "l" in fields:
        _add_held_attempt(job, fields)
    elif attempts and status.final and _ended_with_attempt(own, attempts, round_):
        _add_last_attempt(job, last)
    if status in (Status.FAILED, Status.CANCELLED):
        if own is not None and own.round == round_:
            job.error = own.error
        elif attempts:
            job.error = attempts[-1].error
    if status is Status.COMPLETED:
        job.progress = 100
    return job


def _overflow(fields: Mapping[str, str], asked: Target) -> Overflow:
    """A job's second target, and whether it went there; `asked` is the first one."""
    letter, after, *since = fields["ov"].split(" ")
    where, counts_from = LETTER_TARGET[letter], int(since[0]) if since else None
    if "mv" not in fields:
        return Overflow(where, int(after), counts_from)
    moved_at, expected = fields["mv"].split(" ")
    return Overflow(where, int(after), counts_from, asked, int(moved_at), None if expected == "-" else int(expected))


def _ended_with_attempt(own: _OwnError | None, attempts: Sequence[Attempt], round_: int) -> bool:
    """Whether the last attempt was under way as the round ended, and the job was not waiting for another one.

    An error of the job's own is written before the end of an attempt that it cancelled, and after that of the last
    attempt of a poison job.
    """
    if attempts[-1].round != round_:
        return False
    if own is None or own.round != round_ or own.error.error_class is ErrorClass.POISON:
        return True
    return own.attempts < len(attempts)


def _verdict(fields: Mapping[str, str]) -> tuple[Outcome | None, int | None]:
    """The job's outcome and when it was completed."""
    if "oc" not in fields:
        return None, None
    outcome, _, completed_at = fields["oc"].partition(" ")
    return Outcome(outcome), int(completed_at)


def _updated_at(fields: Mapping[str, str], order: int, completed_at: int | None) -> int:
    """The last of the times that a job keeps: not every change writes one of its own."""
    times = [completed_at or 0, *(int(fields.get(name, 0)) for name in ("u", "st"))]
    if "l" in fields:
        times.append(int(fields["l"].rpartition(" ")[2]))
    return max(times) or created_at(order)


def _record_in_job(fields: Mapping[str, str], round_: int) -> list[Any]:
    """The record of an attempt that passed, which stays in its job."""
    _epoch, token, agent, device, scheduled = fields["l"].split(" ")
    ended, took, *measured = _loads(f"[{fields['en']}]")
    times = [int(scheduled), ended - took, ended]
    return [int(fields["n"]), round_, agent, device, token, *times, Outcome.PASSED.value, *measured, None]


def _add_held_attempt(job: Job, fields: Mapping[str, str]) -> None:
    """The attempt that the lease is for, and what the job shows of it."""
    _epoch, _token, agent, device, scheduled = fields["l"].split(" ")
    attempt = Attempt(
        attempt=int(fields["n"]),
        round=int(fields.get("ar", job.round)),
        agent_id=agent,
        device_id=device,
        scheduled_at=int(scheduled),
        started_at=_int(fields, "st"),
        outcome=Outcome.CANCELLED if "rv" in fields else None,
    )
    job.attempts.append(attempt)
    job.progress = int(fields.get("pr", "0"))
    if job.status is not Status.QUEUED and attempt.round == job.round:
        _show(job, attempt)


def _add_last_attempt(job: Job, record: list[Any] | None) -> None:
    """What a finished job shows of its last attempt."""
    _show(job, job.attempts[-1])
    counted = record[11] if record else None
    if counted:
        job.result = TestResult(*counted)


def _show(job: Job, attempt: Attempt) -> None:
    job.agent_id = attempt.agent_id
    job.device_id = attempt.device_id
    job.scheduled_at = attempt.scheduled_at
    job.started_at = attempt.started_at


def pairs(flat: list[str]) -> dict[str, str]:
    """A hash as Redis replies with it from a script."""
    it = iter(flat)
    return dict(zip(it, it, strict=True))
