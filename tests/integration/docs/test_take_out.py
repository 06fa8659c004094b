"""The repair that docs/operations.md advises: a job is taken out of its org, and what is counted is right again."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from redis import Redis

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, overflowing, spec
from tests.fakes.store_audit import audit

ROOT = Path(__file__).resolve().parents[3]
ORG = keys.org("acme")
BAD, GOOD = spec(1, run_id="r1"), spec(2, run_id="r1")


def take_out(raw: Redis, ulid: str) -> list[str]:
    """What the page's command does."""
    script = (ROOT / "tools" / "take_out.lua").read_text(encoding="utf-8")
    return list(raw.eval(script, 1, ORG, ulid))


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
    assert take_out(raw, BAD.ulid) == [], "there was more to do"
    await scenes.submit(store, BAD)
    assert audit(raw) == []


@pytest.mark.skipif(not shutil.which("redis-cli"), reason="the page's command needs redis-cli: apt install redis-tools")
async def test_the_command_of_the_page_takes_it_out(redis_url: str, store: Store, raw: Redis) -> None:
    await runs(store)
    raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ +(redis-cli --eval tools/take_out\.lua .*)$", page, re.MULTILINE)
    _, *words = shlex.split(line.replace("{ORG}", "{acme}").replace("ULID", BAD.ulid))
    done = subprocess.run(["redis-cli", "-u", redis_url, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{ORG}j:{BAD.ulid}" in done.stdout
    assert raw.hgetall(f"aside:{ORG}j:{BAD.ulid}")
    raw.delete(*raw.keys("aside:*"))
    assert audit(raw) == []
