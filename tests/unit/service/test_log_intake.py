"""Logs go together while the store is busy, and give way when there are too many."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.agents import log_lane
from qgjob_coordinator.service.agents.log_intake import LogIntake
from qgjob_coordinator.service.agents.log_lane import Piece
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults

DEADLINE_SECONDS = 5.0


class Logs:
    """A store that takes pieces while it is `open`, and fails with what stands in `errors` first."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.called = asyncio.Event()
        self.errors: list[Exception] = []
        self.calls: list[tuple[str, list[tuple[str, str, int, bytes]]]] = []

    async def append(self, org_id: str, pieces: Sequence[tuple[str, str, int, bytes]]) -> list[str]:
        self.called.set()
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.calls.append((org_id, list(pieces)))
        return ["APPLIED"] * len(pieces)


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lane, "STORE_PAUSE_SECONDS", 0.001)


def _intake(logs: Logs, **limits: Any) -> LogIntake:
    store: Any = logs
    return LogIntake("a1", store, Hub(), faults=OrgFaults(), **limits)


def _piece(n: int, org_id: str = "acme", token: str = "t1", data: bytes = b"x") -> Piece:  # noqa: S107 - a lease's
    return Piece(org_id, "01J", token, n, data)


def _written(logs: Logs) -> list[int]:
    return [offset for _, pieces in logs.calls for _, _, offset, _ in pieces]


async def test_what_comes_while_the_store_is_busy_is_one_call_an_org() -> None:
    logs = Logs()
    logs.open.clear()
    intake = _intake(logs)
    intake.put(_piece(0))
    await logs.called.wait()
    for n in range(1, 41):
        intake.put(_piece(n, org_id="acme" if n % 2 else "beta"))
    logs.open.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await intake.settle("acme", ["t1"])
        await intake.settle("beta", ["t1"])
    assert sorted((org, len(pieces)) for org, pieces in logs.calls) == [("acme", 1), ("acme", 20), ("beta", 20)]
    assert not intake.busy("acme")


async def test_a_round_is_bounded() -> None:
    logs = Logs()
    intake = _intake(logs)
    for n in range(450):
        intake.put(_piece(n))
    await intake.close()
    assert [len(pieces) for _, pieces in logs.calls] == [200, 200, 50]
    assert _written(logs) == list(range(450))


async def test_pieces_wait_for_a_store_that_is_away_and_keep_their_order() -> None:
    logs = Logs()
    logs.errors = [StoreUnavailableError("away"), StoreUnavailableError("away")]
    intake = _intake(logs)
    for n in range(3):
        intake.put(_piece(n))
    async with asyncio.timeout(DEADLINE_SECONDS):
        await intake.settle("acme", ["t1"])
    assert _written(logs) == [0, 1, 2]


async def test_too_many_push_out_the_oldest_which_is_said_once() -> None:
    logs = Logs()
    logs.open.clear()
    intake = _intake(logs, most_bytes=100)
    with capture_logs() as said:
        for n in range(50):
            intake.put(_piece(n, data=b"x" * 10))
        logs.open.set()
        await intake.close()
    assert _written(logs) == list(range(40, 50))
    assert [(line["event"], line["log_level"]) for line in said] == [("logs_dropped", "warning")]


async def test_settling_waits_only_for_the_attempts_that_are_named() -> None:
    logs = Logs()
    logs.open.clear()
    intake = _intake(logs)
    intake.put(_piece(0, token="t1"))  # noqa: S106 - a lease's
    await intake.settle("acme", ["t2"])
    waiting = asyncio.create_task(intake.settle("acme", ["t1"]))
    await logs.called.wait()
    assert not waiting.done()
    logs.open.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await waiting
    assert _written(logs) == [0]


async def test_settling_waits_also_after_the_store_was_idle() -> None:
    logs = Logs()
    intake = _intake(logs)
    for n in range(3):
        intake.put(_piece(n))
        async with asyncio.timeout(DEADLINE_SECONDS):
            await intake.settle("acme", ["t1"])
        assert _written(logs) == list(range(n + 1))
        await asyncio.sleep(0)
        assert not intake.busy("acme")


async def test_a_session_that_is_over_does_not_wait_for_the_store() -> None:
    logs = Logs()
    logs.open.clear()
    logs.errors = [StoreUnavailableError("away")] * 100
    intake = _intake(logs)
    intake.put(_piece(0))
    settling = asyncio.create_task(intake.settle("acme", ["t1"]))
    await logs.called.wait()
    closing = asyncio.create_task(intake.close())
    await asyncio.sleep(0)
    logs.open.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.gather(closing, settling)
    assert not logs.calls


async def test_a_fault_at_an_org_is_said_and_costs_its_pieces_only() -> None:
    logs = Logs()
    logs.errors = [KeyError("a bug")]
    intake = _intake(logs)
    with capture_logs() as said:
        intake.put(_piece(0))
        await intake.settle("acme", ["t1"])
        intake.put(_piece(1))
        await intake.close()
    assert _written(logs) == [1]
    assert [(line["event"], line["org_id"]) for line in said] == [("org_damaged", "acme"), ("org_mended", "acme")]
