"""An agent of an earlier version of the stream, as it was recorded, against today's coordinator and later ones."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from qgjob import AsyncClient, Outcome
from qgjob_proto.v1 import agent_pb2 as pb
from tests.fakes import later_coordinator
from tests.fakes.stack import Stack
from tests.integration.stack.conftest import keeps_promises
from tests.skew import record, transcript
from tests.skew.player import Player

RECORDING = Path(record.__file__).with_name("before-joined-reports.jsonl")
LINES = transcript.read(RECORDING)


@asynccontextmanager
async def coordinator(folder: Path, version: int | None) -> AsyncIterator[tuple[Stack, AsyncClient]]:
    """One that speaks this version of the stream; None is today's."""
    stack = Stack(folder, coordinators=1, agents=(), times=record.TIMES)
    if version is not None:
        stack.coordinators[0]._command = [sys.executable, "-P", later_coordinator.__file__, str(version)]
    await stack.start()
    try:
        async with stack.client() as client:
            yield stack, client
    finally:
        await stack.stop()


def test_the_recording_is_of_an_agent_that_lacks_what_came_later() -> None:
    """It says nothing of `begun`, and tells installations by themselves."""
    said = [line.what for line in LINES if line.kind == "up"]
    reports = [report for message in said for report in message.get("reports", {}).get("reports", [])]
    assert {kind for report in reports for kind in report} >= {"started", "finished", "tree_dead"}
    assert not [report for report in reports if "begun" in report.get("finished", {})]
    assert [message["installed"]["outcome"] for message in said if "installed" in message] == ["OUTCOME_PASSED"]
    assert len([message for message in said if "hello" in message]) == 2


def test_the_recording_tells_nothing_of_the_host_that_made_it() -> None:
    text = RECORDING.read_text("utf-8")
    hello = next(line.what["hello"] for line in LINES if "hello" in line.what)
    assert (hello["host"], hello["instance_id"]) == ("host-1", "home.life")
    assert "/" not in text.replace("/dev/null", "")


@pytest.mark.parametrize("version", [None, 2], ids=["today", "one_ahead"])
async def test_an_older_agent_is_served(tmp_path: Path, version: int | None) -> None:
    async with coordinator(tmp_path, version) as (stack, client):
        async with Player(stack.address(0), client, LINES) as player:
            await player.play()
            jobs = {test: await client.get(job_id) for test, job_id in player.jobs.items()}
        assert {test: job.outcome for test, job in jobs.items()} == {
            "passes.js": Outcome.PASSED,
            "fails.js": Outcome.TEST_FAILED,
            "is-cancelled.js": Outcome.CANCELLED,
            "outlives-its-stream.js": Outcome.PASSED,
        }
        assert {test: len(job.attempts) for test, job in jobs.items()} == dict.fromkeys(transcript.SCRIPTS, 1)
        assert jobs["passes.js"].attempts[0].install_ms == 50
        assert jobs["fails.js"].error is not None
        assert jobs["fails.js"].error.message == "exit code 3: no"
        for test, log in {"passes.js": b"hello\n", "fails.js": b"no\n", "is-cancelled.js": b"up\n"}.items():
            assert b"".join([chunk.data async for chunk in client.logs(jobs[test].job_id)]) == log
        (device,) = [device async for device in client.devices()]
        assert (device.installs, device.app_version_id) == (1, "v1")
        assert stack.coordinators[0].events("unknown_message") == []
        await keeps_promises(stack, transcript.ORG)


async def test_an_agent_two_versions_behind_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with coordinator(tmp_path, 3) as (stack, client), Player(stack.address(0), client, LINES) as player:
        refused = await player.refused()
    assert refused.reason == pb.REFUSED_REASON_VERSION
    assert refused.message == (
        "the agent speaks protocol version 1, this coordinator 3 and the one before; upgrade the agent"
    )


async def test_an_agent_that_is_ahead_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with (
        coordinator(tmp_path, None) as (stack, client),
        Player(stack.address(0), client, LINES, protocol_version=2) as player,
    ):
        refused = await player.refused()
    assert refused.reason == pb.REFUSED_REASON_VERSION
    assert refused.message.endswith("upgrade the coordinator")
