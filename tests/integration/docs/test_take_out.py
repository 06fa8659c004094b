"""The repair that docs/operations.md advises: a job is taken out of its org, and what is counted is right again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.submissions import SubmitWord
from tests.fakes import scenes
from tests.fakes.damage import damaged
from tests.fakes.jobs import NOW, ending, overflowing, spec
from tests.fakes.store_audit import audit

ROOT = Path(__file__).resolve().parents[3]
ORG = keys.org("acme")
NEEDS_REDIS_CLI = pytest.mark.skipif(
    not shutil.which("redis-cli"), reason="the page's command needs redis-cli: apt install redis-tools"
)
GROUP = names.group_id("v1", Target.EMULATOR)
BAD, GOOD = spec(1, run_id="r1"), spec(2, run_id="r1")


def take_out(raw: Redis, ulid: str) -> list[str]:
    """What the page's command does."""
    script = (ROOT / "tools" / "take_out.lua").read_text(encoding="utf-8")
    return list(raw.eval(script, 1, ORG, ulid))


def command(redis_url: str, instead: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs the page's example with a job's id put in, and what stands in `instead`."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ +(redis-cli .*--eval tools/take_out\.lua .*)$", page, re.MULTILINE)
    line = re.sub(r"acme~\w+$", f"acme~{BAD.ulid}", line)
    assert line.endswith(f"acme~{BAD.ulid}")
    for old, new in instead.items():
        assert old in line
        line = line.replace(old, new)
    environment = {**os.environ, "REDIS_URL": redis_url}
    return subprocess.run(["bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


async def waits(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, BAD, GOOD)


async def runs(store: Store) -> None:
    await waits(store)
    assert (await scenes.claim(store, BAD, (BAD.ulid, "t1"), (GOOD.ulid, "t2"))).grants
    await store.leases.start("acme", [(BAD.ulid, "t1", NOW), (GOOD.ulid, "t2", NOW)], NOW)


async def is_revoked(store: Store) -> None:
    await runs(store)
    await store.jobs.cancel("acme", [(BAD.ulid, 1), (GOOD.ulid, 1)], NOW, reason="x")


async def is_over(store: Store) -> None:
    await runs(store)
    await store.leases.finish("acme", [ending(BAD.ulid, "t1")], NOW)


async def was_alone(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.running(store, overflowing(1, queue_timeout_ms=1000))


@pytest.mark.parametrize("prepare", [waits, runs, is_revoked, is_over, was_alone])
@pytest.mark.parametrize("field", ["i", "s", "l", None])
async def test_a_job_that_was_taken_out_leaves_nothing_behind(
    prepare: object, field: str | None, store: Store, raw: Redis
) -> None:
    await prepare(store)  # type: ignore[operator]
    record = f"{ORG}j:{BAD.ulid}"
    if field is None:
        raw.delete(record)
        raw.set(record, "of another type")
    else:
        raw.hset(record, field, "gar bage")
    assert take_out(raw, BAD.ulid)
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []
    with pytest.raises(ResponseError, match=f"no job {BAD.ulid} in {ORG}"):
        take_out(raw, BAD.ulid)
    await scenes.submit(store, BAD)
    assert audit(raw) == []


@pytest.mark.parametrize("prepare", [waits, runs, is_over])
async def test_the_id_that_commands_print_is_taken_too(prepare: object, store: Store, raw: Redis) -> None:
    await prepare(store)  # type: ignore[operator]
    raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    assert take_out(raw, f"acme~{BAD.ulid}")
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []


async def test_other_damaged_jobs_of_the_org_keep_none_from_being_taken_out(store: Store, raw: Redis) -> None:
    await runs(store)
    for job in BAD, GOOD:
        raw.delete(f"{ORG}j:{job.ulid}")
        raw.set(f"{ORG}j:{job.ulid}", "of another type")
    assert take_out(raw, BAD.ulid)
    assert take_out(raw, GOOD.ulid)
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []


async def test_neither_a_key_nor_another_id_stands_for_a_job_that_was_taken_out(store: Store, raw: Redis) -> None:
    """Who submits the test again, as the page says, would be told that it has ended."""
    keyed, other = replace(BAD, idempotency_key="k1"), replace(GOOD, idempotency_key="k2")
    equal, equal_of_other = replace(keyed, ulid=spec(11).ulid), replace(other, ulid=spec(12).ulid)
    await scenes.submit(store, keyed, other)
    known = await scenes.submit(store, equal, equal_of_other)
    assert [(row.word, row.ulid) for row in known] == [(SubmitWord.KEYED, BAD.ulid), (SubmitWord.KEYED, GOOD.ulid)]
    raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    assert take_out(raw, BAD.ulid)
    again = await scenes.submit(store, equal, equal_of_other)
    assert [(row.word, row.ulid) for row in again] == [(SubmitWord.NEW, equal.ulid), (SubmitWord.DEDUP, GOOD.ulid)]
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []


@pytest.mark.parametrize("suffix", ["ct", "gs", f"g:{GROUP}", f"gd:{GROUP}"])
async def test_where_nothing_can_be_counted_nothing_is_changed(suffix: str, store: Store, raw: Redis) -> None:
    """Else the job would be gone by then, and no second try would count anew."""
    await runs(store)
    with damaged(raw, suffix):
        before = {key: raw.dump(key) for key in raw.keys("*")}
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            take_out(raw, BAD.ulid)
        assert {key: raw.dump(key) for key in raw.keys("*")} == before
    assert take_out(raw, BAD.ulid)
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []


async def test_what_stands_in_an_index_only_is_taken_out(store: Store, raw: Redis) -> None:
    await waits(store)
    raw.delete(f"{ORG}j:{BAD.ulid}", f"{ORG}d:{BAD.ulid}")
    assert take_out(raw, BAD.ulid)
    assert audit(raw) == []


@pytest.mark.parametrize(
    ("key", "job", "said"),
    [
        (ORG, f"ORG~{BAD.ulid}", f"ORG~{BAD.ulid} is not a job of {ORG}"),
        ("qg:o:acme:", BAD.ulid, "qg:o:acme: is not the prefix of an org's keys"),
        ("acme", BAD.ulid, "acme is not the prefix of an org's keys"),
        ("qg:o:{acme}:,", BAD.ulid, "is not the prefix of an org's keys"),
        ("qg:o:{acme}", BAD.ulid, "is not the prefix of an org's keys"),
        ("qg:o:{ORG}:", BAD.ulid, f"no job {BAD.ulid} in qg:o:{{ORG}}:"),
        (ORG, "01M8", f"no job 01M8 in {ORG}"),
        (ORG, "", "names no job"),
        (ORG, "acme~", "names no job"),
        (ORG, f"other~{BAD.ulid}", f"other~{BAD.ulid} is not a job of {ORG}"),
        (ORG, None, "names no job"),
    ],
)
async def test_arguments_that_fit_nothing_are_refused_before_anything_changes(
    key: str, job: str | None, said: str, store: Store, raw: Redis
) -> None:
    await is_over(store)
    raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    raw.hset(f"{ORG}ct", "qe", 77)  # counts are not right before: no one may count anew
    before = {k: raw.dump(k) for k in raw.keys("*")}
    script = (ROOT / "tools" / "take_out.lua").read_text(encoding="utf-8")
    with pytest.raises(ResponseError) as refused:
        raw.eval(script, 1, key, *([] if job is None else [job]))
    assert said in str(refused.value)
    assert "nothing was changed" in str(refused.value)
    assert {k: raw.dump(k) for k in raw.keys("*")} == before


@NEEDS_REDIS_CLI
@pytest.mark.parametrize("wrong", [{"acme": "{ORG}"}, {"{acme}": "acme"}, {BAD.ulid: "01M8"}])
async def test_the_command_of_the_page_fails_on_wrong_arguments(
    wrong: dict[str, str], redis_url: str, store: Store, raw: Redis
) -> None:
    await runs(store)
    done = command(redis_url, wrong)
    assert done.returncode == 1
    assert "nothing was changed" in done.stdout + done.stderr
    assert audit(raw) == []


@NEEDS_REDIS_CLI
async def test_the_command_of_the_page_takes_it_out(redis_url: str, store: Store, raw: Redis) -> None:
    await runs(store)
    raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    done = command(redis_url, {})
    assert done.returncode == 0, done.stderr
    assert f"{ORG}j:{BAD.ulid}" in done.stdout
    assert raw.hgetall(f"aside:{ORG}j:{BAD.ulid}")
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []
