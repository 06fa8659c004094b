"""What callers do, told once for both protocols.

A scenario gets a face and an org of its own, and returns the replies worth comparing. What it must come to stands
beside it: each reply as `ok`, `created` (a submission that made a job), or the class of the error and the field that it
names.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from qgjob_coordinator.service import ulid
from tests.contract.api import Api, Json, Reply
from tests.fakes import waiting

Steps = Callable[[Api, str], Awaitable[list[Reply]]]

UNKNOWN_ULID = "01JZZZZZZZZZZZZZZZZZZZZZZZ"

SCENARIOS: dict[str, tuple[Steps, list[str]]] = {}


def scenario(*expected: str) -> Callable[[Steps], Steps]:
    """Enters a scenario into the table under its name."""

    def enter(steps: Steps) -> Steps:
        SCENARIOS[getattr(steps, "__name__", "")] = (steps, list(expected))
        return steps

    return enter


def job(org: str, **changes: Any) -> Json:
    """A submission with the least that it needs."""
    return {"org_id": org, "app_version_id": "v1", "test_path": "tests/a.spec.js"} | changes


def own_id(org: str) -> str:
    """A job id as a client makes it."""
    return f"{org}~{ulid.make(time.time_ns() // 1_000_000)}"


async def until(api: Api, job_id: str, *statuses: str) -> Reply:
    """Reads a job until it has one of the statuses."""

    async def look() -> Reply | None:
        reply = await api.get(job_id)
        return reply if reply.job["status"] in statuses else None

    reply: Reply = await waiting.until(look, f"{job_id} gets none of {statuses}")
    return reply


# Submit.


@scenario("created", "ok")
async def the_least_that_a_job_needs(api: Api, org: str) -> list[Reply]:
    made = await api.submit(job(org))
    assert made.job["deduplicated"] is False
    assert made.job["priority"] == "medium"
    assert made.job["target"] == "emulator"
    assert made.job["max_retries"] == 3
    return [made, await api.get(made.job["job_id"])]


@scenario("created", "ok")
async def everything_that_a_job_may_say(api: Api, org: str) -> list[Reply]:
    body = job(
        org,
        job_id=own_id(org),
        priority="high",
        target="browserstack",
        run_id="ci-7",
        labels={"team": "growth", "empty": ""},
        requirements={"platform": "ios", "os_version": "17", "device_model": "iPhone 15", "labels": {"rack": "a1"}},
        env={"LOCALE": "de_DE", "TOKEN": "a\nb"},
        max_retries=0,
        idempotency_key="build 7 / onboarding",
        supersede="feature/onboarding",
        not_before="2026-01-31T12:00:00.250Z",
        timeout_seconds=90.5,
        queue_timeout_seconds=604800,
        overflow_target="device",
        overflow_after_seconds=120.5,
        no_dedup=True,
    )
    made = await api.submit(body)
    assert made.job["job_id"] == body["job_id"]
    assert made.job["not_before"] == body["not_before"]
    return [made, await api.get(made.job["job_id"])]


@scenario("created", "ok", "conflict job_id", "ok")
async def the_same_id_is_the_same_job_and_never_another(api: Api, org: str) -> list[Reply]:
    body = job(org, job_id=own_id(org))
    first, again = await api.submit(body), await api.submit(body)
    other = await api.submit(body | {"test_path": "tests/other.spec.js"})
    assert again.job["job_id"] == first.job["job_id"]
    assert again.job["deduplicated"] is False
    return [first, again, other, await api.get(body["job_id"])]


@scenario("created", "ok", "ok", "created")
async def an_equal_of_an_unfinished_job_is_that_job(api: Api, org: str) -> list[Reply]:
    first = await api.submit(job(org, run_id="ci-1", priority="low"))
    equal = await api.submit(job(org, run_id="ci-2", priority="high", job_id=(proposed := own_id(org))))
    assert equal.job["job_id"] == first.job["job_id"]
    assert equal.job["deduplicated"] is True
    assert equal.job["run_ids"] == ["ci-1", "ci-2"]
    assert equal.job["priority"] == "high"
    by_proposed = await api.get(proposed)
    assert by_proposed.job["job_id"] == first.job["job_id"]
    return [first, equal, by_proposed, await api.submit(job(org, no_dedup=True))]


@scenario("created", "ok", "created")
async def an_idempotency_key_answers_with_its_first_job(api: Api, org: str) -> list[Reply]:
    first = await api.submit(job(org, idempotency_key="k"))
    await api.cancel(first.job["job_id"])
    again = await api.submit(job(org, idempotency_key="k"))
    assert again.job["job_id"] == first.job["job_id"]
    assert again.job["status"] == "cancelled"
    return [first, again, await api.submit(job(org, idempotency_key="l"))]


@scenario("created", "conflict idempotency_key", "conflict jobs[1].idempotency_key", "conflict jobs[1].idempotency_key")
async def an_idempotency_key_is_for_one_content(api: Api, org: str) -> list[Reply]:
    first = await api.submit(job(org, idempotency_key="k"))
    other = job(org, idempotency_key="k", test_path="tests/other.spec.js")
    refused = await api.submit(other)
    stands_for = f"idempotency_key: 'k' stands for a job with another content, {first.job['job_id']};"
    assert str(refused.message).startswith(stands_for)
    unknown = job(org, idempotency_key="l", test_path="tests/never.spec.js")
    in_a_batch = await api.submit_many([unknown, other])
    among_themselves = await api.submit_many([unknown, other | {"idempotency_key": "l"}])
    assert (await api.list(org_id=org)).job["count"] == 1
    return [first, refused, in_a_batch, among_themselves]


@scenario("created", "ok", "ok", "ok")
async def an_idempotency_key_puts_its_job_on_the_run_also_when_that_is_finished(api: Api, org: str) -> list[Reply]:
    first = await api.submit(job(org, idempotency_key="k", run_id="ci-1"))
    second = await api.submit(job(org, idempotency_key="k", run_id="ci-2"))
    assert second.job["run_ids"] == ["ci-1", "ci-2"]
    await api.cancel(first.job["job_id"])
    third = await api.submit(job(org, idempotency_key="k", run_id="ci-3"))
    assert (third.job["job_id"], third.job["status"]) == (first.job["job_id"], "cancelled")
    listed = await api.list(org_id=org, run_id="ci-3")
    assert [(each["job_id"], each["run_ids"]) for each in listed.job["jobs"]] == [
        (first.job["job_id"], ["ci-1", "ci-2", "ci-3"])
    ]
    return [first, second, third, listed]


@scenario("created", "created", "ok", "invalid run_id")
async def a_newer_run_of_a_key_ends_the_older_one(api: Api, org: str) -> list[Reply]:
    old = await api.submit(job(org, run_id="ci-1", supersede="main"))
    new = await api.submit(job(org, run_id="ci-2", supersede="main", test_path="tests/b.spec.js"))
    gone = await until(api, old.job["job_id"], "cancelled")
    assert gone.job["error"] == {"class": "cancelled", "message": "superseded by run ci-2"}
    return [old, new, gone, await api.submit(job(org, supersede="main"))]


@scenario("created", "ok", "created", "conflict jobs[1].job_id", "ok")
async def many_jobs_are_accepted_all_or_none(api: Api, org: str) -> list[Reply]:
    bodies = [job(org, test_path=f"tests/{n}.spec.js", job_id=own_id(org)) for n in range(3)]
    made, again = await api.submit_many(bodies), await api.submit_many(bodies)
    assert [j["job_id"] for j in made.job["jobs"]] == [b["job_id"] for b in bodies]
    some = await api.submit_many([*bodies, job(org, test_path="tests/new.spec.js")])
    taken = [job(org, test_path="tests/never.spec.js"), bodies[0] | {"app_version_id": "v2"}]
    refused = await api.submit_many(taken)
    listed = await api.list(org_id=org)
    assert listed.job["count"] == 4
    return [made, again, some, refused, listed]


@scenario("invalid jobs", "invalid jobs", "invalid jobs[1].org_id", "invalid jobs[2].test_path", "ok")
async def a_batch_that_breaks_a_rule_leaves_nothing(api: Api, org: str) -> list[Reply]:
    good = job(org)
    return [
        await api.submit_many([]),
        await api.submit_many([job(org, test_path=f"t/{n}.js") for n in range(1001)]),
        await api.submit_many([good, job("other-org")]),
        await api.submit_many([good, good, job(org, test_path="/etc/passwd")]),
        await api.list(org_id=org),
    ]


@scenario("exhausted body", "ok")
async def a_message_over_1_mb_is_refused(api: Api, org: str) -> list[Reply]:
    large = {f"V{n}": "x" * 32_000 for n in range(40)}
    return [await api.submit(job(org, env=large)), await api.list(org_id=org)]


REFUSED: dict[str, list[tuple[str, Json]]] = {
    "org_id": [("empty", {"org_id": ""}), ("braces", {"org_id": "a}b"}), ("colon", {"org_id": "a:b"})],
    "app_version_id": [
        ("empty", {"app_version_id": ""}),
        ("slash", {"app_version_id": "v/1"}),
        ("long", {"app_version_id": "v" * 129}),
        ("first", {"app_version_id": ".v"}),
    ],
    "test_path": [
        ("empty", {"test_path": ""}),
        ("absolute", {"test_path": "/a.js"}),
        ("up", {"test_path": "a/../b.js"}),
        ("backslash", {"test_path": "a\\b.js"}),
        ("option", {"test_path": "-rf.js"}),
        ("newline", {"test_path": "a\n.js"}),
        ("escape", {"test_path": "a\x1b[2J.js"}),
        ("bidi", {"test_path": "a\u202e.js"}),
        ("line separator", {"test_path": "a\u2028.js"}),
        ("paragraph separator", {"test_path": "a\u2029.js"}),
        ("long", {"test_path": "a" * 513}),
        ("long in bytes", {"test_path": "\u00e9" * 257}),
    ],
    "priority": [("unknown", {"priority": "urgent"})],
    "target": [("unknown", {"target": "toaster"})],
    "job_id": [
        ("no tilde", {"job_id": "x"}),
        ("other org", {"job_id": f"other~{UNKNOWN_ULID}"}),
        ("lower case", {"job_id": f"acme~{UNKNOWN_ULID.lower()}"}),
        ("empty", {"job_id": ""}),
    ],
    "run_id": [("space", {"run_id": "a b"}), ("empty", {"run_id": ""})],
    "labels.a b": [("space", {"labels": {"a b": "c"}})],
    "labels.a": [("control", {"labels": {"a": "\x07"}}), ("long", {"labels": {"a": "x" * 1025}})],
    "labels": [("many", {"labels": {f"l{n}": "" for n in range(65)}})],
    "requirements.platform": [
        ("unknown", {"requirements": {"platform": "symbian"}}),
        ("empty", {"requirements": {"platform": ""}}),
    ],
    "requirements.os_version": [
        ("dot", {"requirements": {"os_version": "14."}}),
        ("empty", {"requirements": {"os_version": ""}}),
    ],
    "requirements.device_model": [
        ("long", {"requirements": {"device_model": "m" * 129}}),
        ("empty", {"requirements": {"device_model": ""}}),
    ],
    "requirements.device_id": [
        ("braces", {"requirements": {"device_id": "{x}"}}),
        ("empty", {"requirements": {"device_id": ""}}),
    ],
    "requirements.labels.a:b": [("colon", {"requirements": {"labels": {"a:b": "c"}}})],
    "env": [("many", {"env": {f"V{n}": "" for n in range(65)}})],
    "env.1A": [("name", {"env": {"1A": "x"}})],
    "env.QGJOB_JOB_ID": [("reserved", {"env": {"QGJOB_JOB_ID": "x"}})],
    "env.A": [("nul", {"env": {"A": "\x00"}})],
    "max_retries": [("negative", {"max_retries": -1}), ("absurd", {"max_retries": 101})],
    "idempotency_key": [
        ("long", {"idempotency_key": "k" * 257}),
        ("control", {"idempotency_key": "a\nb"}),
        ("empty", {"idempotency_key": ""}),
    ],
    "not_before": [
        ("far", {"not_before": "2999-01-01T00:00:00.000Z"}),
        ("old", {"not_before": "1969-12-31T23:59:59Z"}),
    ],
    "timeout_seconds": [
        ("zero", {"timeout_seconds": 0}),
        ("negative", {"timeout_seconds": -5}),
        ("over a day", {"timeout_seconds": 86401}),
        ("absurd", {"timeout_seconds": 1e300}),
    ],
    "queue_timeout_seconds": [
        ("zero", {"queue_timeout_seconds": 0}),
        ("over a week", {"queue_timeout_seconds": 604801}),
    ],
    "overflow_after_seconds": [
        ("zero", {"overflow_target": "device", "overflow_after_seconds": 0}),
        ("negative", {"overflow_target": "device", "overflow_after_seconds": -120}),
        ("over a week", {"overflow_target": "device", "overflow_after_seconds": 604801}),
        ("alone", {"overflow_target": "device"}),
    ],
    "overflow_target": [
        ("alone", {"overflow_after_seconds": 120}),
        ("the same", {"target": "device", "overflow_target": "device", "overflow_after_seconds": 120}),
        ("the default", {"overflow_target": "emulator", "overflow_after_seconds": 120}),
        (
            "pinned",
            {
                "requirements": {"device_id": "emulator-1"},
                "overflow_target": "device",
                "overflow_after_seconds": 120,
            },
        ),
    ],
    "suite_digest": [
        ("empty", {"suite_digest": ""}),
        ("upper case", {"suite_digest": "AB" * 32}),
        ("never pushed", {"suite_digest": "ab" * 32}),
    ],
}


@scenario(*(f"invalid {field}" for field, cases in REFUSED.items() for _ in cases), "ok")
async def a_field_that_breaks_a_rule_is_named(api: Api, org: str) -> list[Reply]:
    bodies = [job(org) | changes for cases in REFUSED.values() for _, changes in cases]
    return [*[await api.submit(b) for b in bodies], await api.list(org_id=org)]


# Read.


@scenario(*["invalid job_id"] * 3, *["not_found job_id"] * 3)
async def a_malformed_id_is_invalid_and_an_unknown_one_missing(api: Api, org: str) -> list[Reply]:
    replies = [await api.get("nonsense"), await api.cancel(f"{org}~abc"), await api.retry(f"~{UNKNOWN_ULID}")]
    unknown = f"{org}~{UNKNOWN_ULID}"
    return [*replies, await api.get(unknown), await api.cancel(unknown), await api.retry(unknown)]


@scenario("ok", "ok", "ok", "ok")
async def pages_hold_each_job_once_newest_first(api: Api, org: str) -> list[Reply]:
    made = await api.submit_many([job(org, test_path=f"tests/{n}.js") for n in range(5)])
    first = await api.list(org_id=org, page_size=2)
    second = await api.list(org_id=org, page_size=2, page_token=first.job["next_page_token"])
    last = await api.list(org_id=org, page_size=2, page_token=second.job["next_page_token"])
    seen = [j["job_id"] for page in (first, second, last) for j in page.job["jobs"]]
    assert seen == [j["job_id"] for j in reversed(made.job["jobs"])]
    assert last.job["next_page_token"] is None
    return [first, second, last, await api.list(org_id=org, page_size=1000)]


@scenario("ok", "ok", "ok", "ok", "ok", "ok")
async def lists_are_filtered_by_status_and_run(api: Api, org: str) -> list[Reply]:
    a = await api.submit(job(org, test_path="a.js", run_id="ci-1"))
    await api.submit(job(org, test_path="b.js", run_id="ci-2"))
    await api.cancel(a.job["job_id"])
    replies = [
        await api.list(org_id=org),
        await api.list(org_id=org, status="cancelled"),
        await api.list(org_id=org, status="queued", run_id="ci-2"),
        await api.list(org_id=org, status="queued", run_id="ci-1"),
        await api.list(org_id=org, status="running"),
        await api.list(org_id="nobody"),
    ]
    assert [r.job["count"] for r in replies] == [2, 1, 1, 0, 0, 0]
    assert [r.job["status_filter"] for r in replies[:3]] == ["all", "cancelled", "queued"]
    return replies


@scenario(
    "invalid org_id",
    "invalid org_id",
    "invalid page_size",
    "invalid page_size",
    "invalid page_token",
    "invalid page_token",
    "invalid page_token",
    "invalid status",
    "invalid run_id",
)
async def a_list_is_asked_for_properly(api: Api, org: str) -> list[Reply]:
    await api.submit_many([job(org, test_path=f"{n}.js") for n in range(2)])
    token = (await api.list(org_id=org, page_size=1)).job["next_page_token"]
    return [
        await api.list(),
        await api.list(org_id="a b"),
        await api.list(org_id=org, page_size=1001),
        await api.list(org_id=org, page_size=-1),
        await api.list(org_id=org, page_token="made up"),  # noqa: S106 - no secret
        await api.list(org_id=org, page_token=token, status="queued"),
        await api.groups(org_id=org, page_token=token),
        await api.list(org_id=org, status="sleeping"),
        await api.list(org_id=org, run_id="a/b"),
    ]


@scenario("ok", "ok", "ok", "invalid org_id", "invalid page_size")
async def groups_are_the_unfinished_by_version_and_target(api: Api, org: str) -> list[Reply]:
    await api.submit(job(org, test_path="a.js"))
    await api.submit(job(org, test_path="b.js"))
    await api.submit(job(org, app_version_id="v2"))
    await api.submit(job(org, app_version_id="v2", target="browserstack"))
    every = await api.groups(org_id=org)
    assert sorted(g["queued"] for g in every.job["groups"]) == [1, 1, 2]
    first = await api.groups(org_id=org, page_size=2)
    rest = await api.groups(org_id=org, page_size=2, page_token=first.job["next_page_token"])
    assert first.job["groups"] + rest.job["groups"] == every.job["groups"]
    return [every, first, rest, await api.groups(org_id="a b"), await api.groups(page_size=5000)]


@scenario("ok", "ok", "invalid org_id")
async def stats_count_an_org_or_all(api: Api, org: str) -> list[Reply]:
    made = await api.submit(job(org))
    await api.submit(job(org, test_path="b.js", not_before="2027-01-01T00:00:00Z"))
    await api.cancel(made.job["job_id"])
    mine = await api.stats(org_id=org)
    assert mine.job["queue"]["queued"] == 1
    assert mine.job["queue"]["cancelled"] == 1
    assert mine.job["queue"]["retry_wait"] == 1
    every = await api.stats()
    assert every.job["queue"]["queued"] >= 1
    return [mine, await api.stats(org_id="nobody"), await api.stats(org_id="a b")]


@scenario("ok", "ok", "ok", "ok", "invalid agent_id", "invalid target", "invalid page_token")
async def devices_are_listed_by_id(api: Api, org: str) -> list[Reply]:
    every = await api.devices()
    assert [d["device_id"] for d in every.job["devices"]] == ["device-1", "device-2"]
    return [
        every,
        await api.devices(page_size=1),
        await api.devices(target="device", agent_id="agent-1"),
        await api.devices(target="emulator"),
        await api.devices(agent_id="a b"),
        await api.devices(target="toaster"),
        await api.devices(page_token=org),
    ]


# Why a job waits.


@scenario("ok", "ok")
async def a_waiting_job_says_why(api: Api, org: str) -> list[Reply]:
    never = await api.submit(job(org))
    later = await api.submit(job(org, target="device", not_before="2027-01-01T00:00:00.000Z"))
    replies = [await api.get(never.job["job_id"]), await api.get(later.job["job_id"])]
    assert [r.job["pending_reason"]["code"] for r in replies] == ["no_resource", "retry_wait"]
    assert replies[1].job["pending_reason"]["retry_at"] == "2027-01-01T00:00:00.000Z"
    return replies


# Cancel and retry.


@scenario("ok", "ok", "ok", "conflict job_id", "conflict round", "ok")
async def a_job_is_cancelled_once_and_retried_into_a_new_round(api: Api, org: str) -> list[Reply]:
    id_ = (await api.submit(job(org))).job["job_id"]
    cancelled, again = await api.cancel(id_), await api.cancel(id_)
    assert cancelled.job["status"] == again.job["status"] == "cancelled"
    assert cancelled.job["completed_at"] == again.job["completed_at"] is not None
    retried = await api.retry(id_)
    assert retried.job["round"] == 2
    assert retried.job["completed_at"] is None
    refused = [await api.retry(id_), await api.cancel(id_, round=1)]
    return [cancelled, again, retried, *refused, await api.cancel(id_, round=2, reason="superseded")]


@scenario(*["invalid round"] * 5, "invalid operation_id", "ok")
async def a_round_is_a_number_from_1_on(api: Api, org: str) -> list[Reply]:
    id_ = (await api.submit(job(org))).job["job_id"]
    refused = [await api.cancel(id_, round=0), await api.cancel(id_, round=-1)]
    await api.cancel(id_)
    return [
        *refused,
        await api.cancel(id_, round=0),
        await api.retry(id_, round=0),
        await api.retry(id_, round=-1),
        await api.retry(id_, operation_id=""),
        await api.retry(id_, round=1),
    ]


@scenario("created", "conflict job_id", "ok")
async def a_retry_is_refused_beside_an_unfinished_equal(api: Api, org: str) -> list[Reply]:
    first = (await api.submit(job(org))).job["job_id"]
    await api.cancel(first)
    equal = await api.submit(job(org))
    refused = await api.retry(first)
    assert equal.job["job_id"] in (refused.message or "")
    await api.cancel(equal.job["job_id"])
    return [equal, refused, await api.retry(first)]


@scenario("ok", "ok", "ok", "invalid operation_id", "invalid operation_id", "invalid reason", "invalid operation_id")
async def a_repeated_call_with_its_operation_id_gets_the_first_answer(api: Api, org: str) -> list[Reply]:
    id_ = (await api.submit(job(org))).job["job_id"]
    await api.cancel(id_)
    first, again = (
        await api.retry(id_, round=1, operation_id="op-1"),
        await api.retry(id_, round=1, operation_id="op-1"),
    )
    assert first.job["round"] == again.job["round"] == 2
    cancelled = await api.cancel(id_, operation_id="op-2", reason="no longer needed")
    return [
        first,
        again,
        cancelled,
        await api.cancel((await api.submit(job(org))).job["job_id"], operation_id="op-2"),
        await api.cancel(id_, operation_id="a b"),
        await api.cancel(id_, reason="x" * 501),
        await api.retry(id_, operation_id="a b"),
    ]


@scenario("ok", "conflict job_id", "ok", "ok")
async def a_job_that_expired_may_be_retried_and_not_cancelled(api: Api, org: str) -> list[Reply]:
    id_ = (await api.submit(job(org, queue_timeout_seconds=1))).job["job_id"]
    expired = await until(api, id_, "failed")
    assert expired.job["outcome"] == "expired"
    assert expired.job["error"]["class"] == "no_resource"
    refused, retried = await api.cancel(id_), await api.retry(id_)
    return [expired, refused, retried, await api.cancel(id_)]  # else it would expire again, in another test


@scenario("ok", "conflict job_id", "conflict job_id", "created")
async def a_job_that_passed_is_over(api: Api, org: str) -> list[Reply]:
    id_ = (await api.submit(job(org, target="device"))).job["job_id"]
    passed = await until(api, id_, "completed", "failed")
    assert passed.job["outcome"] == "passed"
    assert passed.job["progress"] == 100
    assert passed.job["agent_id"] == passed.job["attempts"][0]["agent_id"] == "agent-1"
    again = await api.submit(job(org, target="device"))
    assert again.job["deduplicated"] is False
    await until(api, again.job["job_id"], "completed")
    return [passed, await api.cancel(id_), await api.retry(id_), again]
