"""All times that the command says to people are by the clock of the machine that it runs on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from qgjob_proto.v1 import types_pb2
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import Command
from tests.unit.cli.test_commands import submit_one

AHEAD = timedelta(hours=9, minutes=30)
OFFSET = "+09:30"


@pytest.fixture(autouse=True)
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Half past nine ahead of UTC, so that hours and minutes tell which of the two it is."""
    monkeypatch.setenv("TZ", "XXX-9:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def minutes_apart(shown: str) -> float:
    """Between an `HH:MM:SS` and now in that zone, whatever day it is there."""
    now = (datetime.now(UTC) + AHEAD).replace(tzinfo=None)
    told = datetime.combine(now.date(), datetime.strptime(shown, "%H:%M:%S").time())  # noqa: DTZ007 - has no zone
    apart = abs((now - told).total_seconds()) / 60
    return min(apart, 24 * 60 - apart)


def test_every_transition_is_told_in_local_time(fake: FakeCoordinator, qgjob: Command) -> None:
    job_id = submit_one(qgjob)
    fake.in_loop(lambda: fake.move(job_id, "completed", "passed"))
    for shown in (qgjob("watch", job_id).out, qgjob("wait", job_id).err):
        assert minutes_apart(shown.split()[0]) < 5


@pytest.mark.parametrize("command", ["status", "list", "devices show", "devices ls"])
def test_every_table_has_local_times_with_their_offset(fake: FakeCoordinator, qgjob: Command, command: str) -> None:
    until = "2100-01-01T00:00:00Z"
    fake.in_loop(lambda: fake.add_device("d1", "a1"))
    qgjob("devices", "reserve", "d1", "--reason=me", f"--until={until}")
    job_id = submit_one(qgjob)
    reason = types_pb2.PendingReason(code=types_pb2.PENDING_CODE_ALL_BUSY, message="all are busy")
    reason.estimated_start_at.FromJsonString(until)
    fake.in_loop(lambda: fake.jobs[job_id].pending_reason.CopyFrom(reason))
    of = {"status": [job_id], "list": ["--org-id=acme"], "devices show": ["d1"]}
    result = qgjob(*command.split(), *of.get(command, []))
    assert result.code == 0
    assert OFFSET in result.out
    assert not re.search(r"\d\d:\d\d(:\d\d(\.\d+)?)?Z", result.out)
    if command in ("status", "devices show", "devices ls"):
        assert f"2100-01-01 09:30:00{OFFSET}" in result.out
