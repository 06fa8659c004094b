"""Reports of a session: a bounded number waits, progress once an attempt, and a fault ends the session."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.model.enums import DeathCause, Outcome, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import TestResult
from qgjob_coordinator.service import org_faults
from qgjob_coordinator.service.agents import reporting
from qgjob_coordinator.service.agents.log_intake import LogIntake
from qgjob_coordinator.service.agents.log_lane import Piece
from qgjob_coordinator.service.agents.messages import (
    DeadReport,
    FinishedReport,
    ProgressReport,
    ReportAck,
    StartedReport,
    Verdict,
)
from qgjob_coordinator.service.agents.report_inbox import ReportInbox
from qgjob_coordinator.service.agents.report_lanes import ReportLanes, Unwritten
from qgjob_coordinator.service.agents.reporting import Reporter
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.types.endings import Ended, ReportWord
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.waiting import until

DEADLINE_SECONDS = 5.0


def _started(n: int, org_id: str = "acme") -> StartedReport:
    return StartedReport(n, org_id, f"j{n}", f"t{n}", 1)


def _progress(n: int, token: str, percent: int) -> ProgressReport:
    return ProgressReport(n, "acme", "j1", token, percent)


class Leases:
    """A store that takes reports while it is `open`, and fails with what stands in `errors` first."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.called = asyncio.Event()
        self.errors: list[Exception] = []
        self.wrote: list[Any] = []
        self.stale = ""

    async def _call(self, what: Any) -> None:
        self.called.set()
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.wrote.append(what)

    async def report(self, _org: str, starts: list[Any], endings: list[Any], _now: int) -> Any:
        await self._call([token for _, token, _ in starts])
        words = [ReportWord.STALE if e.token == self.stale else ReportWord.APPLIED for e in endings]
        return [ReportWord.APPLIED] * len(starts), [Ended(word, Status.COMPLETED, None) for word in words]

    async def release(self, _org: str, releases: list[Any], _now: int) -> Any:
        await self._call([r.token for r in releases])
        return [ReportWord.STALE] * len(releases), [None] * len(releases)

    async def progress(self, _org: str, rows: list[Any], _now: int) -> None:
        await self._call(rows)


class Scene:
    """A reporter with its session, over stores that do what the test says."""

    def __init__(self) -> None:
        self.leases = Leases()
        self.logged: list[Any] = []
        reads = SimpleNamespace(unusable=self._unusable)
        store: Any = SimpleNamespace(leases=self.leases, reads=reads)
        logs: Any = SimpleNamespace(append=self._append)
        self.ran: list[tuple[str, int]] = []
        occupants: Any = SimpleNamespace(
            touch=lambda _device: None, ran=lambda device_id, ms: self.ran.append((device_id, ms))
        )
        self.session = Session("a1", 1, 10, store, Times(1_000, 60_000, 60_000, 1_000, 60_000, 0))
        self.logs = LogIntake("a1", logs, Hub(), faults=OrgFaults())
        self.log_gate = asyncio.Event()
        self.log_errors: list[Exception] = []
        self.reporter = Reporter(
            self.session,
            store,
            Hub(),
            Telemetry(),
            occupants,
            self.logs,
            lambda _o, _at: None,
            log_transitions=False,
            faults=OrgFaults(),
        )

    async def _unusable(self, _org: str, _ulids: list[str]) -> set[str]:
        return set()

    async def _append(self, _org: str, pieces: list[Any]) -> None:
        await self.log_gate.wait()
        if self.log_errors:
            raise self.log_errors.pop(0)
        self.leases.wrote.append([offset for _, _, offset, _ in pieces])

    def acks(self) -> list[tuple[int, Verdict]]:
        return [entry for message in self.session.outbox if isinstance(message, ReportAck) for entry in message.entries]

    async def acked(self, count: int) -> list[tuple[int, Verdict]]:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.acks()) < count:
                self.session.outbox_ready.clear()
                await self.session.outbox_ready.wait()
        return self.acks()


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(reporting, "STORE_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 0.001)
    return Scene()


async def test_progress_that_waits_is_replaced_by_newer_progress(scene: Scene) -> None:
    scene.leases.open.clear()
    scene.reporter.put([_started(1)])
    await scene.leases.called.wait()
    scene.reporter.put([_progress(2, "t1", 10), _progress(3, "t2", 5)])
    scene.reporter.put([_progress(4, "t1", 20), _progress(5, "t1", 30)])
    scene.leases.open.set()
    acks = await scene.acked(5)
    assert scene.leases.wrote == [["t1"], [("j1", "t1", 30), ("j1", "t2", 5)]]
    assert sorted(i for i, verdict in acks if verdict is Verdict.REPLAYED) == [2, 4]


async def test_a_fault_at_the_reports_of_an_org_is_said_and_they_are_written_again(scene: Scene) -> None:
    scene.leases.errors = [KeyError("a record")]
    with capture_logs() as said:
        scene.reporter.put([_started(1)])
        assert await scene.acked(1) == [(1, Verdict.APPLIED)]
    (told,) = (line for line in said if line["log_level"] == "error")
    assert (told["event"], told["org_id"], told["part"]) == ("org_damaged", "acme", "reports")
    assert scene.session.refused is None


async def test_the_reports_of_a_damaged_job_keep_back_no_other_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, mended, damaged = scene.leases.report, asyncio.Event(), 0

    async def one_is_damaged(org: str, starts: list[Any], endings: list[Any], now: int) -> Any:
        nonlocal damaged
        if not mended.is_set() and any(ulid == "j3" for ulid, _, _ in starts):
            damaged += 1
            raise KeyError("s")
        return await report(org, starts, endings, now)

    monkeypatch.setattr(scene.leases, "report", one_is_damaged)
    scene.reporter.put([_started(n) for n in range(1, 9)])
    assert {i for i, _ in await scene.acked(7)} == {1, 2, 4, 5, 6, 7, 8}
    mended.set()
    assert (await scene.acked(8))[-1] == (3, Verdict.APPLIED)


async def test_what_comes_while_a_damaged_job_rests_is_written_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each end would wait for a minute, and its device with it."""
    report, tried = scene.leases.report, asyncio.Event()

    async def one_is_damaged(org: str, starts: list[Any], endings: list[Any], now: int) -> Any:
        if any(ulid == "j3" for ulid, _, _ in starts):
            tried.set()
            raise KeyError("s")
        return await report(org, starts, endings, now)

    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(scene.leases, "report", one_is_damaged)
    scene.reporter.put([_started(3)])
    await tried.wait()
    for n in (4, 5):
        scene.reporter.put([_started(n)])
        assert (await scene.acked(n - 3))[-1] == (n, Verdict.APPLIED)
    await scene.reporter.close()


async def test_a_job_that_rests_is_tried_with_what_comes_of_it_and_keeps_its_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end frees the device, also when it can't be written."""
    scene.session.show(DeviceInfo("d1", "u1", Target.EMULATOR))
    scene.session.take(Lease("acme", "j1", "t1", "g", "d1", 1, started=True), 1)
    tried: list[Any] = []

    async def damaged(_org: str, starts: list[Any], endings: list[Any], _now: int) -> Any:
        tried.append(([ulid for ulid, _, _ in starts], [(e.ulid, e.with_start) for e in endings]))
        raise KeyError("s")

    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(scene.leases, "report", damaged)
    scene.reporter.put([_started(1)])
    await until(lambda: bool(tried), "it is not tried")
    scene.reporter.put([FinishedReport(2, "acme", "j1", "t1", Outcome.PASSED, 1, 2, 1001, None, None, None, False)])
    await until(lambda: scene.session.untold, "the device is not free")
    assert tried == [(["j1"], []), ([], [("j1", True)])]
    await scene.reporter.close()


async def test_after_some_damaged_jobs_the_others_wait_too_and_are_not_tried_one_by_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a key that every report needs would cost two calls for each of a thousand."""
    calls, rests = 0, asyncio.Event()

    async def all_are_damaged(*_: object) -> Any:
        nonlocal calls
        calls += 1
        raise KeyError("ct")

    def pause(_self: object, _part: str, org_id: str, *_: object) -> OrgDamagedError:
        rests.set()
        return OrgDamagedError(org_id, "ct", 60.0)

    monkeypatch.setattr(scene.leases, "report", all_are_damaged)
    monkeypatch.setattr(org_faults.OrgFaults, "_met", pause)
    scene.reporter.put([_started(n) for n in range(1, 1000)])
    await rests.wait()
    assert calls < 50
    await scene.reporter.close()


async def test_of_many_damaged_jobs_that_nobody_names_none_keeps_back_another_for_ever(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only some are found at a time, and the next time those are tried first that were not tried."""
    report = scene.leases.report

    async def every_other_is_damaged(org: str, starts: list[Any], endings: list[Any], now: int) -> Any:
        if any(int(token[1:]) % 2 for _, token, _ in starts):
            raise KeyError("a record")
        return await report(org, starts, endings, now)

    monkeypatch.setattr(scene.leases, "report", every_other_is_damaged)
    scene.reporter.put([_started(n) for n in range(100)])
    assert {report_id for report_id, _ in await scene.acked(50)} == set(range(0, 100, 2))
    await scene.reporter.close()


async def test_a_device_is_free_when_the_end_of_its_attempt_can_not_be_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its org may stay damaged for days. The attempt stays booked, so that its end is judged as it would have been."""
    slot = scene.session.show(DeviceInfo("d1", "u1", Target.EMULATOR))
    scene.session.take(Lease("acme", "j1", "t1", "g", "d1", 1, started=True, has_log=True), 1)
    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 0.1)  # there is time to look
    scene.leases.errors = [KeyError("a record")]
    scene.leases.open.clear()
    scene.reporter.put([FinishedReport(1, "acme", "j1", "t1", Outcome.PASSED, 1, 2, 1001, None, None, None, False)])
    await scene.leases.called.wait()
    assert slot.leases
    scene.leases.open.set()
    await until(lambda: scene.session.untold, "the device is not free")
    assert (slot.leases, scene.session.leases) == ({}, {})
    booked = scene.session.booked("t1")
    assert booked is not None
    assert booked.has_log
    await scene.acked(1)
    assert scene.session.untold == {}


async def test_a_fault_of_ours_is_said_and_ends_the_session(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(scene.logs, "busy", broken)
    with capture_logs() as said:
        scene.reporter.put([_started(1)])
        await scene.session.outbox_ready.wait()
    assert [(line["event"], line["log_level"]) for line in said] == [("reports_failed", "error")]
    assert scene.session.refused is not None
    assert "could not be written" in scene.session.refused.message
    scene.reporter.put([_started(2)])
    await scene.reporter.close()
    assert (scene.leases.wrote, scene.acks()) == ([], [])


async def test_a_store_that_is_away_is_waited_for_until_the_session_is_over(scene: Scene) -> None:
    scene.leases.errors = [StoreUnavailableError("away")] * 2
    scene.reporter.put([_started(1)])
    assert await scene.acked(1) == [(1, Verdict.APPLIED)]
    scene.leases.errors = [StoreUnavailableError("away")] * 1_000_000
    scene.leases.called.clear()
    scene.reporter.put([_started(2)])
    await scene.leases.called.wait()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await scene.reporter.close()


async def test_the_end_of_an_attempt_is_written_after_its_log(scene: Scene) -> None:
    scene.logs.put(Piece("acme", "j1", "t1", 7, b"last words"))
    scene.reporter.put([DeadReport(1, "acme", "j1", "t1", DeathCause.SHUTDOWN, 1, started=True)])
    await asyncio.sleep(0)
    scene.log_gate.set()
    await scene.acked(1)
    assert scene.leases.wrote == [[7], ["t1"]]


async def test_an_attempt_whose_log_was_lost_with_the_session_does_not_end_in_it(scene: Scene) -> None:
    """The agent tells both again in its next session; the end alone would keep the log out."""
    scene.log_errors = [StoreUnavailableError("away")]
    scene.logs.put(Piece("acme", "j1", "t1", 7, b"last words"))
    scene.reporter.put([DeadReport(1, "acme", "j1", "t1", DeathCause.SHUTDOWN, 1, started=True)])
    await asyncio.sleep(0)
    closing = asyncio.gather(scene.reporter.close(), scene.logs.close())
    await asyncio.sleep(0)
    scene.log_gate.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await closing
    assert (scene.leases.wrote, scene.acks()) == ([], [])


async def test_there_is_room_again_when_half_of_what_may_wait_is_written() -> None:
    """Of all orgs together, though each is written by itself."""
    waiting: dict[str, asyncio.Event] = {"acme": asyncio.Event(), "beta": asyncio.Event()}

    async def write(org_id: str, _reports: object) -> Unwritten:
        await waiting[org_id].wait()
        return Unwritten()

    lanes = ReportLanes(write, lambda _ids: None, lambda _error: None, most=100)
    lanes.put([_started(1), _started(2, "beta")])
    await asyncio.sleep(0)  # each has its first round
    lanes.put([_started(n, "acme" if n % 2 else "beta") for n in range(100)])
    await lanes.room()
    lanes.put([_started(100)])
    room = asyncio.create_task(lanes.room())
    await asyncio.sleep(0)
    assert not room.done()
    waiting["beta"].set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await asyncio.sleep(0)
        assert not room.done()
        waiting["acme"].set()
        await room
        await lanes.close()


async def test_the_reports_of_an_org_wait_for_no_other_one(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    report, go, tried = scene.leases.report, asyncio.Event(), 0

    async def one_hangs(org: str, starts: list[Any], endings: list[Any], now: int) -> Any:
        nonlocal tried
        if org == "beta" and not go.is_set():
            tried += 1
            if tried > 1:
                await go.wait()
            raise StoreUnavailableError("its slot moves")
        return await report(org, starts, endings, now)

    monkeypatch.setattr(scene.leases, "report", one_hangs)
    scene.reporter.put([_started(1, "beta"), _started(2)])
    assert await scene.acked(1) == [(2, Verdict.APPLIED)]
    scene.reporter.put([_started(3, "beta"), _started(4)])
    assert await scene.acked(2) == [(2, Verdict.APPLIED), (4, Verdict.APPLIED)]
    go.set()
    assert sorted(await scene.acked(4)) == [(n, Verdict.APPLIED) for n in range(1, 5)]
    assert scene.leases.wrote[-1] == ["t1", "t3"], "what came meanwhile goes with what waited"


async def test_the_end_of_an_attempt_waits_for_no_log_of_another_org(scene: Scene) -> None:
    scene.logs.put(Piece("beta", "j1", "t1", 7, b"words"))
    scene.reporter.put([DeadReport(2, "acme", "j2", "t2", DeathCause.SHUTDOWN, 1, started=True)])
    assert await scene.acked(1) == [(2, Verdict.STALE)]
    scene.log_gate.set()
    await scene.logs.close()


def test_what_is_given_back_is_the_next_and_old_progress_gives_way() -> None:
    inbox = ReportInbox()
    inbox.put([_started(1), _started(2), _progress(3, "t1", 10)])
    taken = inbox.take(10)
    assert (len(taken), len(inbox)) == (3, 0)
    inbox.put([_started(4), _progress(5, "t1", 20)])
    assert inbox.give_back(taken) == [3]
    assert [r.report_id for r in inbox.take(10)] == [1, 2, 4, 5]


async def test_the_fleet_learns_from_what_measured_a_test_and_counted(scene: Scene) -> None:
    def finished(n: int, outcome: Outcome, result: TestResult | None = None) -> FinishedReport:
        scene.session.take(Lease("acme", f"j{n}", f"t{n}", "g", f"d{n}", 1), 1)
        return FinishedReport(n, "acme", f"j{n}", f"t{n}", outcome, 1, 2, 1000 + n, None, result, None, False)

    scene.leases.stale = "t5"
    scene.reporter.put(
        [
            finished(1, Outcome.PASSED),
            finished(2, Outcome.TEST_FAILED),
            finished(3, Outcome.TIMED_OUT),
            finished(4, Outcome.PASSED, TestResult(skipped=2)),
            finished(5, Outcome.PASSED),
        ]
    )
    await scene.acked(5)
    assert scene.ran == [("d2", 1002)]  # the last one of those that came together


async def test_a_start_tells_anew_when_the_device_will_be_free(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of the coordinator: that of an agent's host may be wrong."""
    slot = scene.session.show(DeviceInfo("d1", "u1", Target.EMULATOR))
    scene.session.take(Lease("acme", "j1", "t1", "g", "d1", 1, seconds=30.0), 1_000_000, install=45.0)
    assert slot.view("a1").free_at == 1_075_000
    monkeypatch.setattr(reporting, "wall_ms", lambda: 1_002_000)
    scene.reporter.put([_started(1)])
    await scene.acked(1)
    assert slot.view("a1").free_at == 1_032_000
