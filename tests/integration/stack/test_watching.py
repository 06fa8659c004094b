"""Watches and logs over two coordinators: nothing is missed silently."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from qgjob import AsyncClient, InvalidError, Job, JobStatus, WatchEvent, WatchEventKind
from qgjob_coordinator.app import STOP_GRACE_SECONDS
from tests.fakes.stack import Stack
from tests.integration.stack.specs import command, pinned, simulated


async def take(client: AsyncClient, org: str, until_final: str, cursor: str | None = None) -> list[WatchEvent]:
    """Events until this job has its verdict."""
    events = []
    async with aclosing(client.watch(org, cursor=cursor)) as stream, asyncio.timeout(20):
        async for event in stream:
            events.append(event)
            if event.job is not None and event.job.job_id == until_final and event.job.final:
                break
    return events


async def ready(client: AsyncClient, org: str, cursor: str | None = None) -> str:
    """A cursor after everything that has happened."""
    async with aclosing(client.watch(org, cursor=cursor)) as stream, asyncio.timeout(20):
        async for event in stream:
            if event.event is WatchEventKind.READY and event.cursor is not None:
                return event.cursor
    raise AssertionError("the watch ended")


async def test_a_watch_goes_on_after_its_cursor_at_another_coordinator(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient
) -> None:
    (before,) = await first.submit_many(simulated(org))
    await first.wait(before.job_id, timeout_seconds=20)
    cursor = await ready(first, org)
    (job,) = await first.submit_many(simulated(org))
    await first.wait(job.job_id, timeout_seconds=20)
    events = await take(second, org, job.job_id, cursor)
    assert {event.event for event in events} == {WatchEventKind.TRANSITION}
    assert {event.job.job_id for event in events if event.job is not None} == {job.job_id}
    again = await take(second, org, job.job_id, events[0].cursor)
    assert [e.job for e in again if e.job is not None][-1] == await first.get(job.job_id)


async def test_a_trimmed_cursor_is_reset_and_a_snapshot_follows(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient
) -> None:
    trimmed = f"trimmed-{org}"  # not of the test's orgs: its history can't be checked
    device = pinned("sim-1-1")
    await first.drain(device_id="sim-1-1")
    missed, waiting = [await first.submit(spec) for spec in simulated(trimmed, 2, requirements=device)]
    cursor = await ready(first, trimmed)
    await first.cancel(missed.job_id)
    later = await first.submit(simulated(trimmed, requirements=device)[0])
    with stack.store.client() as raw:
        raw.xtrim(f"qg:o:{{{trimmed}}}:ev", maxlen=1, approximate=False)
    events = []
    async with aclosing(second.watch(trimmed, cursor=cursor)) as stream, asyncio.timeout(20):
        async for event in stream:
            events.append(event)
            if event.event is WatchEventKind.READY:
                await first.resume(device_id="sim-1-1")
            if event.job is not None and event.job.job_id == later.job_id and event.job.final:
                break
    kinds = [event.event for event in events]
    assert kinds[:4] == [WatchEventKind.RESET, WatchEventKind.SNAPSHOT, WatchEventKind.SNAPSHOT, WatchEventKind.READY]
    assert {event.job.job_id for event in events[1:3] if event.job is not None} == {waiting.job_id, later.job_id}
    assert set(kinds[4:]) == {WatchEventKind.TRANSITION}
    with pytest.raises(InvalidError, match="cursor"):
        await ready(second, trimmed, "no-cursor")


async def test_a_key_puts_its_finished_job_on_a_run_which_is_watched_and_waited_for(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient
) -> None:
    spec = simulated(org, idempotency_key="k", run_id="ci-1")[0]
    job = await first.submit(spec)
    await first.wait(job.job_id, timeout_seconds=20)
    async with aclosing(second.watch(org, run_id="ci-2")) as stream, asyncio.timeout(20):
        async for event in stream:
            if event.event is WatchEventKind.READY:
                assert (await first.submit(replace(spec, run_id="ci-2"))).job_id == job.job_id
            if event.job is not None:
                break
    assert event.job is not None
    assert (event.job.job_id, event.job.status) == (job.job_id, JobStatus.COMPLETED)
    (waited,) = await second.wait_run(org, "ci-2", timeout_seconds=20)
    assert waited.run_ids == ("ci-1", "ci-2")
    for run_id in ("ci-1", "ci-2"):
        assert (await second.run(org, run_id)).status_counts["completed"] == 1


async def test_p9_a_watch_outlives_its_coordinator(stack: Stack, org: str, second: AsyncClient) -> None:
    passed: set[str] = set()
    jobs: tuple[Job, ...] = ()
    async with stack.client(0, 1) as client, aclosing(client.watch(org)) as stream, asyncio.timeout(30):
        async for event in stream:
            if event.event is WatchEventKind.READY and not jobs:
                jobs = await second.submit_many(simulated(org, 10))
                stack.coordinators[0].kill()
            if event.job is not None and event.job.status is JobStatus.COMPLETED:
                passed.add(event.job.job_id)
            if jobs and len(passed) == len(jobs):
                break
    assert passed == {job.job_id for job in jobs}


async def test_a_log_is_followed_over_two_coordinators_while_it_is_written(
    stack: Stack, org: str, first: AsyncClient, second: AsyncClient, tmp_path: Path
) -> None:
    script = f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two >&2; exit 1"
    (job,) = await first.submit_many([command(org, script, requirements=pinned("cmd-1-1"), max_retries=0)])
    assert stack.at("cmd-1") == 0
    text = b""
    async with aclosing(second.logs(job.job_id, follow=True)) as chunks, asyncio.timeout(20):
        async for chunk in chunks:
            assert (chunk.attempt, chunk.offset) == (1, len(text))
            text += chunk.data
            if text == b"one\n":
                (tmp_path / "go").touch()
    assert text == b"one\ntwo\n"
    kept = [chunk.data async for chunk in first.logs(job.job_id, attempt=1, offset=4)]
    assert b"".join(kept) == b"two\n"


async def test_a_followed_log_goes_on_through_the_retry(
    stack: Stack, org: str, second: AsyncClient, tmp_path: Path
) -> None:
    script = f"echo try $QGJOB_ATTEMPT; [ -e {tmp_path}/again ] || {{ touch {tmp_path}/again; exit 1; }}"
    job = await second.submit(command(org, script))
    async with asyncio.timeout(20):
        logs = [(c.attempt, c.data) async for c in second.logs(job.job_id, follow=True) if c.data]
    assert logs == [(1, b"try 1\n"), (2, b"try 2\n")]


async def test_a_coordinator_that_ends_keeps_no_watcher_waiting(stack: Stack, org: str) -> None:
    """A watch has no end of its own: its caller goes on at another coordinator, and misses nothing."""
    seen: list[str] = []
    async with stack.client(0, 1) as client, aclosing(client.watch(org)) as events, asyncio.timeout(20):
        async for event in events:
            if event.event is WatchEventKind.READY:
                begun = time.monotonic()
                stack.coordinators[0].terminate()
                assert await stack.coordinators[0].exit_code() == 0
                took = time.monotonic() - begun
                async with stack.client(1) as second:
                    job = await second.submit(simulated(org)[0])
            elif event.job is not None:
                seen.append(event.job.job_id)
                if event.job.final:
                    break
    assert seen
    assert set(seen) == {job.job_id}
    assert took < STOP_GRACE_SECONDS
