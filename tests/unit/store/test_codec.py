"""What the store keeps of a job comes back as it was."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import ErrorClass, Outcome, Priority, Status, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, JobError, JobSpec, Requirements, TestResult
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS, queue_score
from qgjob_coordinator.store import codec, names
from qgjob_coordinator.store.keys import org
from tests.fakes.damage import BAD_SIGNATURES
from tests.fakes.jobs import NOW, spec

FINGERPRINT = 20
words = st.text(min_size=1, max_size=12)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
pairs = st.dictionaries(ids, st.text(max_size=12), max_size=3)
requirement_sets = st.builds(
    Requirements,
    platform=st.none() | words,
    os_version=st.none() | words,
    device_model=st.none() | words,
    device_id=st.none() | ids,
    labels=pairs.map(lambda d: tuple(sorted(d.items()))),
)
times = st.integers(0, 2**42)
specs = st.builds(
    JobSpec,
    org_id=ids,
    ulid=ids,
    app_version_id=ids,
    test_path=words,
    priority=st.sampled_from(Priority),
    target=st.sampled_from(Target),
    max_retries=st.integers(0, 100),
    run_id=st.none() | ids,
    labels=pairs,
    requirements=requirement_sets,
    env=pairs,
    idempotency_key=st.none() | words,
    not_before=st.none() | times,
    timeout_ms=st.none() | times,
    queue_timeout_ms=st.none() | times,
    no_dedup=st.booleans(),
    suite_digest=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    suite_size_bytes=st.integers(1, 2**40),
)


def fields(s: JobSpec, /, **changes: str) -> dict[str, str]:
    """A new job's hash."""
    sig = names.signature(s.requirements)
    new = {"s": "q", "h": names.content_hash(s, sig), "i": f"e1 1000 {int(s.priority)} 3"}
    return new | ({"sb": sig} if sig else {}) | changes


@given(specs, st.text())
def test_a_line_is_read_as_the_json_that_it_is(s: JobSpec, path: str) -> None:
    for line in (codec.encode_spec(s), codec.encode_spec(replace(s, test_path=path))):
        assert codec.decode_spec(line) == json.loads(line)


@given(specs)
def test_a_submission_comes_back_from_its_line(s: JobSpec) -> None:
    line = codec.encode_spec(s)
    assert "\n" not in line
    job = codec.decode_job(s.org_id, s.ulid, fields(s), line)
    assert (job.app_version_id, job.test_path, job.target) == (s.app_version_id, s.test_path, s.target)
    assert (job.labels, job.env, job.requirements) == (s.labels, s.env, s.requirements)
    assert (job.timeout_ms, job.queue_timeout_ms) == (s.timeout_ms, s.queue_timeout_ms)
    assert (job.not_before, job.suite_digest) == (s.not_before, s.suite_digest)
    assert (job.status, job.round, job.version, job.attempts) == (Status.QUEUED, 1, 1, [])


@given(requirement_sets, st.lists(ids, max_size=4, unique=True))
def test_a_signature_tells_requirements_and_what_to_avoid(requirements: Requirements, avoid: list[str]) -> None:
    text = names.signature(requirements) + (f"!{','.join(avoid)}" if avoid else "")
    assert names.parse_signature(text) == (requirements, tuple(avoid))


@pytest.mark.parametrize("text", BAD_SIGNATURES)
def test_what_is_no_signature_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"requirements {text}: ")):
        names.parse_signature(text)


def test_the_signature_of_any_device_is_empty() -> None:
    assert names.signature(ANY_DEVICE) == ""


@given(
    outcome=st.sampled_from(Outcome),
    duration=st.none() | times,
    install=st.none() | times,
    result=st.none() | st.builds(TestResult, times, times, times, times, st.text()),
    error=st.none() | st.builds(JobError, st.sampled_from(ErrorClass), st.text()),
)
def test_an_attempts_record_comes_back_from_its_line(
    outcome: Outcome, duration: int | None, install: int | None, result: TestResult | None, error: JobError | None
) -> None:
    rest = f'"{outcome.value}",{codec.encode_measured(duration, install, result)},{codec.encode_pair(error)}'
    assert "\n" not in rest
    text = f'{codec.encode_spec(spec())}\n[1,1,"agent-1","d1","t1",{NOW},null,{NOW + 9},{rest}]'
    job = codec.decode_job("acme", "01J", fields(spec(), s="f", oc=f"agent_lost {NOW}"), text)
    (attempt,) = job.attempts
    assert (attempt.outcome, attempt.duration_ms, attempt.install_ms, attempt.error) == (
        outcome, duration, install, error,
    )  # fmt: skip
    assert (attempt.scheduled_at, attempt.started_at, attempt.ended_at) == (NOW, None, NOW + 9)
    assert (job.result, job.error, job.device_id) == (result, error, "d1")


@given(
    duration=st.none() | times, install=st.none() | times, result=st.none() | st.builds(TestResult, times, times, times)
)
def test_an_attempt_that_passed_is_shown_the_same_from_its_job_and_from_its_line(
    duration: int | None, install: int | None, result: TestResult | None
) -> None:
    measured = codec.encode_measured(duration, install, result)
    done = fields(spec(), s="c", oc=f"flaky {NOW + 9}", n="3", r="2")
    in_job = done | {"l": f"7 t3 agent-1 d1 {NOW}", "en": f"{NOW + 9},8,{measured}"}
    line = f'[3,2,"agent-1","d1","t3",{NOW},{NOW + 1},{NOW + 9},"passed",{measured},null]'
    first = codec.encode_spec(spec())
    assert codec.decode_job("acme", "01J", in_job, first) == codec.decode_job("acme", "01J", done, f"{first}\n{line}")


def test_an_error_that_no_attempt_had_counts_for_its_round_only() -> None:
    text = f'{codec.encode_spec(spec())}\n{{"e":["poison","cost two agents"],"r":1}}'
    failed = fields(spec(), s="f", oc=f"agent_lost {NOW}")
    assert codec.decode_job("acme", "01J", failed, text).error == JobError(ErrorClass.POISON, "cost two agents")
    assert codec.decode_job("acme", "01J", failed | {"r": "2"}, text).error is None


def test_what_a_retry_waits_for_comes_before_what_the_submission_asked_for_and_a_new_round_asks_for_nothing() -> None:
    s = spec(not_before=NOW)
    shown = [
        codec.decode_job("acme", "01J", fields(s, **more), codec.encode_spec(s)).not_before
        for more in ({}, {"nb": str(NOW + 5)}, {"r": "2"}, {"r": "2", "nb": str(NOW + 5)})
    ]
    assert shown == [NOW, NOW + 5, None, NOW + 5]


ATTEMPT_1 = f'[1,1,"agent-1","d1","t1",{NOW},{NOW + 1},{NOW + 9},"{{}}",8,null,[0,1,0,5,""],["test","it failed"]]'
FAILED_LINE = ATTEMPT_1.replace("{}", "test_failed")
CANCELLED_LINE = ATTEMPT_1.replace("{}", "cancelled")
POISON_LINE, CANCEL_LINE, EXPIRE_LINE, OLD_LINE = (
    f'{{"e":["{word}","why"],"r":{round_}}}'
    for word, round_ in (("poison", 1), ("cancelled", 1), ("queue_timeout", 1), ("cancelled", 0))
)


@pytest.mark.parametrize(
    ("status", "outcome", "lines", "device"),
    [
        pytest.param("x", "cancelled", [FAILED_LINE, CANCEL_LINE], None, id="cancelled while it waited for a retry"),
        pytest.param("f", "expired", [FAILED_LINE, EXPIRE_LINE], None, id="expired while it waited for a retry"),
        pytest.param("x", "cancelled", [CANCEL_LINE, CANCELLED_LINE], "d1", id="cancelled while it ran"),
        pytest.param("f", "agent_lost", [FAILED_LINE, POISON_LINE], "d1", id="poison"),
        pytest.param("f", "test_failed", [OLD_LINE, FAILED_LINE], "d1", id="cancelled in an earlier round"),
    ],
)
def test_a_job_shows_the_attempt_that_its_round_ended_with(
    status: str, outcome: str, lines: list[str], device: str | None
) -> None:
    text = "\n".join([codec.encode_spec(spec()), *lines])
    job = codec.decode_job("acme", "01J", fields(spec(), s=status, oc=f"{outcome} {NOW}", n="1"), text)
    assert job.device_id == device
    shown = [job.agent_id, job.scheduled_at, job.started_at, job.result]
    assert [x is None for x in shown] == [device is None] * 4
    assert job.error is not None
    assert len(job.attempts) == 1


def test_a_job_cancelled_beside_the_dying_tree_of_its_round_before_shows_no_device() -> None:
    lease = {"l": f"1 t1 agent-1 d1 {NOW}", "n": "1", "rv": "1", "ar": "1"}
    cancelled = fields(spec(), r="2", s="x", oc=f"cancelled {NOW}", **lease)
    job = codec.decode_job("acme", "01J", cancelled, codec.encode_spec(spec()))
    assert (job.agent_id, job.device_id, job.scheduled_at, job.started_at) == (None,) * 4


def test_a_requeued_job_shows_no_device_while_a_revoked_lease_of_its_round_before_ends() -> None:
    lease = {"l": f"1 t1 agent-1 d1 {NOW}", "n": "1", "rv": "1", "ar": "1"}
    job = codec.decode_job("acme", "01J", fields(spec(), r="2", **lease), codec.encode_spec(spec()))
    assert (job.agent_id, job.device_id, job.scheduled_at) == (None, None, None)
    assert [(a.round, a.outcome, a.ended_at) for a in job.attempts] == [(1, Outcome.CANCELLED, None)]


IDENTITY: list[dict[str, Any]] = [
    {"app_version_id": "v2"},
    {"test_path": "other.spec.ts"},
    {"target": Target.DEVICE},
    {"requirements": Requirements(platform="ios")},
    {"env": {"A": "1"}},
    {"suite_digest": "ab" * 32},
    {"suite_digest": "cd" * 32},
]
CONTENT: list[dict[str, Any]] = [
    {"priority": Priority.HIGH},
    {"max_retries": 9},
    {"run_id": "run-1"},
    {"run_id": "None"},
    {"labels": {"a": "b"}},
    {"idempotency_key": "k"},
    {"idempotency_key": "None"},
    {"not_before": NOW},
    {"timeout_ms": 5},
    {"queue_timeout_ms": 5},
    {"no_dedup": True},
]


def hash_of(s: JobSpec) -> str:
    return names.content_hash(s, names.signature(s.requirements))


@pytest.mark.parametrize("change", IDENTITY, ids=str)
def test_what_makes_jobs_unequal_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert hash_of(spec(**change))[:FINGERPRINT] != hash_of(spec())[:FINGERPRINT]


@pytest.mark.parametrize("change", CONTENT, ids=str)
def test_the_rest_of_a_submission_changes_the_content_and_not_the_fingerprint(change: dict[str, Any]) -> None:
    assert hash_of(spec(**change)) != hash_of(spec())
    assert hash_of(spec(**change))[:FINGERPRINT] == hash_of(spec())[:FINGERPRINT]


def test_what_the_caller_left_to_the_defaults_is_no_content() -> None:
    first = spec(own_priority=False, own_max_retries=False)
    again = spec(own_priority=False, own_max_retries=False, priority=Priority.HIGH, max_retries=9)
    assert hash_of(first) == hash_of(again) != hash_of(spec())


@pytest.mark.parametrize("change", [*IDENTITY, *CONTENT], ids=str)
def test_all_but_run_and_labels_is_what_a_key_stands_for(change: dict[str, Any]) -> None:
    first, again = (names.keyed_hash(s, names.signature(s.requirements)) for s in (spec(), spec(**change)))
    assert (first == again) is (not {"run_id", "labels", "idempotency_key"}.isdisjoint(change))


def test_a_job_without_a_suite_has_the_hash_that_it_had_before_there_were_suites() -> None:
    """Else what waits in a store would be equal to nothing that is submitted after an upgrade."""
    assert hash_of(spec())[:8] == names._digest("\x1f".join(("v1", Target.EMULATOR.value, "", "")), 6)


def test_all_contents_differ_from_each_other() -> None:
    hashes = [hash_of(spec(**change)) for change in (*IDENTITY, *CONTENT)]
    assert len(set(hashes)) == len(hashes)


@given(specs)
def test_the_order_of_labels_and_variables_does_not_matter(s: JobSpec) -> None:
    other = replace(s, labels=dict(reversed(s.labels.items())), env=dict(reversed(s.env.items())))
    assert hash_of(other) == hash_of(s)


@given(ids, st.sampled_from(Target))
def test_a_group_id_begins_with_its_target_and_is_a_key_part(version: str, target: Target) -> None:
    gid = names.group_id(version, target)
    assert names.LETTER_TARGET[gid[0]] is target
    assert set(gid) & set(":{}+/ ") == set()
    assert gid != names.group_id(version + "x", target)


@given(words)
def test_any_idempotency_key_becomes_a_key_part(key: str) -> None:
    digest = names.digest_key(key)
    assert len(digest) == 24
    assert set(digest) & set(":{}+/ ") == set()


def test_scores_stay_within_what_lua_and_redis_count_exactly() -> None:
    year_2090 = 3_786_912_000_000
    order = (year_2090 - ORDER_EPOCH_MS) * ORDERS_PER_MS
    assert 0 < queue_score(Priority.HIGH, order, failed_last=True) < queue_score(Priority.LOW, order) < 2**53
    assert codec.created_at(order) == year_2090


def test_status_and_target_letters_are_all_different() -> None:
    assert set(codec.STATUS_LETTER) == set(Status)
    assert len(set(codec.STATUS_LETTER.values())) == len(Status)
    assert set(names.TARGET_LETTER) == set(Target)
    assert len(set(names.TARGET_LETTER.values())) == len(Target)


def test_the_prefix_of_an_org_has_its_id_as_hash_tag() -> None:
    assert org("acme") == "qg:o:{acme}:"


def test_compact_json_is_one_line_whatever_it_says() -> None:
    assert names.dumps({"b": "ü\n", "a": 1}) == '{"a":1,"b":"ü\\n"}'
    assert json.loads(names.dumps({"x": "\u2028"})) == {"x": "\u2028"}
