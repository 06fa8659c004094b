"""Devices judged by one session's coordinator: what it writes, says to the agent, and takes over from another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import DeviceHealth, HoldSlot, Outcome, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.health import judging
from qgjob_coordinator.policy.health.record import MARKS_MOST, Kind, Mark, Record
from qgjob_coordinator.policy.health.rules import LONGEST_INSTALL_MS, Backoff
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.service.agents.health import watch as health
from qgjob_coordinator.service.agents.health.seen import FleetHealth
from qgjob_coordinator.service.agents.health.watch import HealthWatch
from qgjob_coordinator.service.agents.messages import FinishedReport, Installed, Probe
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.health import Kept, KeptWord
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.holds import HoldRule
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.waiting import until

BASE_MS = 60_000
DEVICES = [DeviceInfo(f"d{n}", f"u{n}", Target.EMULATOR) for n in (1, 2, 3)]


class Watched:
    """A session of agent-1 and its watch, over a store of its own as in another coordinator."""

    def __init__(self, store: Store, epoch: int = 1, base_ms: int = BASE_MS, answer_ms: int = 60_000) -> None:
        self.store, self.epoch = store, epoch
        self.telemetry = Telemetry()
        self.taken_back = 0
        self.session = Session("agent-1", epoch, 100, store, Times(1000, answer_ms, 60_000, 1000, 60_000, 0))
        for info in DEVICES:
            self.session.show(info)
        self.watch = HealthWatch(
            self.session,
            store,
            FleetHealth(FleetReader(store)),
            Hub(),
            self.telemetry,
            Backoff(base_ms),
            self._take_back,
            faults=OrgFaults(self.telemetry),
        )

    def _take_back(self) -> None:
        self.taken_back += 1

    async def open(self) -> Watched:
        """As a session begins."""
        opened = await self.store.sessions.open(
            "agent-1", "life", self.epoch, {}, "c", [d.device_id for d in DEVICES], NOW
        )
        assert opened.word == "OPENED"
        assert await self.store.fleet.inventory("agent-1", self.epoch, DEVICES, [], NOW, complete=True)
        await self.load()
        return self

    def start(self) -> Watched:
        """As when the agent is welcome."""
        self.watch.start()
        return self

    async def load(self) -> None:
        """As when it hears of an operator's word."""
        (row,) = await self.store.fleet.read(["agent-1"])
        self.watch.know(row.devices)

    def lease(self, device_id: str, ulid: str, version: str = "v1", target: Target = Target.EMULATOR) -> Lease:
        """An attempt that the device holds."""
        lease = Lease("acme", ulid, f"t-{ulid}", group_id(version, target), device_id, 1)
        self.session.take(lease, wall_ms())
        return lease

    def installs(
        self,
        device_id: str,
        version: str,
        ulid: str,
        *,
        ok: bool = False,
        unresolvable: bool = False,
        install_ms: int = 5,
    ) -> None:
        """An installation on the device, and the end of its attempt."""
        lease = self.lease(device_id, ulid, version)
        outcome = Outcome.PASSED if ok else Outcome.DEVICE_ERROR
        self.watch.installed(Installed(device_id, "acme", version, ok, outcome, install_ms, lease.token))
        self.ends(lease, outcome, unresolvable=unresolvable)

    async def has(self, device_id: str, version: str, since: int) -> None:
        """The store knows what lies there, and since when."""
        row = Occupancy(device_id, None, ("acme", version), installed_at=since)
        assert await self.store.fleet.occupy("agent-1", self.epoch, [row], wall_ms())

    def ends(
        self,
        lease: Lease,
        outcome: Outcome = Outcome.PASSED,
        *,
        tried_again: bool = True,
        unresolvable: bool = False,
        unfetched: bool = False,
        host_unfit: bool = False,
    ) -> None:
        """The attempt ends."""
        self.session.drop(lease.token, wall_ms())
        report = FinishedReport(1, "acme", lease.ulid, lease.token, outcome, 0, 1, 1, None, None, None, unresolvable)
        report.unfetched, report.host_unfit = unfetched, host_unfit
        self.watch.ended(lease, report, tried_again=tried_again)

    def fail_installs(self, device_id: str = "d1", first: int = 0) -> None:
        """Three that fail, of builds that nobody else has."""
        for n in range(first, first + 3):
            self.installs(device_id, f"v{n}", f"job{n}")

    def not_started(self, device_id: str, ulid: str, version: str = "v1") -> None:
        """An attempt that could not be started, whichever the device."""
        self.ends(self.lease(device_id, ulid, version), Outcome.DEVICE_ERROR, host_unfit=True)

    async def not_startable(self, device_id: str) -> list[str]:
        """The jobs that the store has as such."""
        return [m.ulid for m in (await self.kept(device_id)).marks if m.kind is Kind.HOST]

    async def another_host(self) -> None:
        """A second agent, with a device of the same target."""
        other = DeviceInfo("e1", "u9", Target.EMULATOR)
        opened = await self.store.sessions.open("agent-2", "life", 1, {}, "c", ["e1"], NOW)
        assert opened.word == "OPENED"
        assert await self.store.fleet.inventory("agent-2", 1, [other], [], NOW, complete=True)

    @property
    def books(self) -> set[str]:
        """Devices of which something is remembered."""
        return set(self.watch._books._pages)

    @property
    def versions(self) -> set[str]:
        """App versions of which a failure is remembered."""
        return set(self.watch._words._versions.values())

    @property
    def probes(self) -> list[str]:
        """Devices that the agent was asked to look at."""
        return [m.device_id for m in self.session.outbox if isinstance(m, Probe)]

    def takes_work(self, device_id: str = "d1") -> bool:
        """Whether the planner may use it."""
        return self.session.slots[device_id].takes_work(wall_ms())

    async def kept(self, device_id: str = "d1") -> Record:
        """What stands in the store."""
        (row,) = await self.store.fleet.read(["agent-1"])
        return next(d.kept.record for d in row.devices if d.info.device_id == device_id)

    async def out(self, in_a_row: int, device_id: str = "d1") -> Record:
        """The record when the store has the device in its so-manieth quarantine."""

        async def look() -> Record | None:
            record = await self.kept(device_id)
            return record if record.quarantine is not None and record.in_a_row == in_a_row else None

        record: Record = await until(look, f"{device_id} is not out for time {in_a_row}")
        return record


Make = Callable[..., Awaitable[Watched]]


@pytest.fixture
async def make(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes sessions, each with its own store's client."""
    monkeypatch.setattr(health, "GATHER_SECONDS", 0.001)
    monkeypatch.setattr(health, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(judging, "TOLD_MS", 0)
    made: list[Watched] = []

    async def new(*, started: bool = True, infra_max: int = 5, **changes: Any) -> Watched:
        rules = RetryRules(infra_max=infra_max)
        made.append(Watched(Store(redis_url, rules=rules, observe=calls.append_name), **changes))
        opened = await made[-1].open()
        return opened.start() if started else opened

    class Calls(list[str]):
        def append_name(self, name: str, _seconds: float) -> None:
            self.append(name)

    calls = Calls()
    new.calls = calls  # type: ignore[attr-defined]
    yield new
    for each in made:
        await each.watch.close()
        await each.store.close()


async def test_a_device_that_fails_installations_is_out_once_that_is_stored(make: Make) -> None:
    w = await make()
    with capture_logs() as lines:
        w.fail_installs()
        record = await w.out(1)
        await until(lambda: w.taken_back, "what it has not begun is not taken back", seconds=5)
    assert record.quarantine is not None
    assert record.quarantine.until == record.quarantine.since + BASE_MS
    assert record.quarantine.reason == "automatic quarantine: 3 installations of 3 builds failed on it"
    assert (w.takes_work("d1"), w.takes_work("d2")) == (False, True)
    (line,) = [x for x in lines if x["event"] == "device_quarantined"]
    assert (line["log_level"], line["device_id"], line["in_a_row"]) == ("warning", "d1", 1)
    assert w.telemetry.quarantines == {"begun": 1}
    assert w.probes == []


async def test_an_attempt_that_ended_by_its_installation_is_no_second_failure(make: Make) -> None:
    w = await make()
    w.installs("d1", "v1", "job1")

    async def marks() -> list[Kind]:
        return [m.kind for m in (await w.kept()).marks]

    assert await until(marks, "the failure is not stored") == [Kind.INSTALL]


async def test_a_probe_that_finds_it_well_readmits_it_on_probation(make: Make) -> None:
    w = await make(base_ms=20)
    w.fail_installs()
    await w.out(1)
    await until(lambda: w.probes == ["d1"], "it is not probed")
    assert not w.takes_work(), "its time is over, but nobody has found it well"
    w.watch.probed("d1", DeviceHealth.GOOD, None)
    await until(w.takes_work, "it is not readmitted")
    record = await w.kept()
    assert (record.marks, record.in_a_row, record.quarantine, record.proven) == ((), 1, None, True)
    w.installs("d1", "v8", "job8")
    w.installs("d1", "v9", "job9")
    again = await w.out(2)
    assert again.quarantine is not None
    assert again.quarantine.until - again.quarantine.since == 40
    assert w.telemetry.quarantines == {"begun": 2, "ended": 1}


async def test_a_probe_that_finds_it_bad_doubles_and_so_does_one_without_an_answer(make: Make) -> None:
    w = await make(base_ms=20, answer_ms=30)
    w.fail_installs()
    await until(lambda: w.probes, "it is not probed")
    w.watch.probed("d1", DeviceHealth.BAD, "no adb")
    second = await w.out(2)
    assert second.quarantine is not None
    assert second.quarantine.reason.endswith("the 2nd time in a row, since a probe found: no adb")
    assert second.quarantine.until - second.quarantine.since == 40
    third = await w.out(3)
    assert third.quarantine is not None
    assert third.quarantine.reason.endswith("since a probe found: no answer within 0.03 s")
    assert w.telemetry.probes["no_answer"] >= 1
    assert w.telemetry.quarantines["extended"] >= 2
    assert w.taken_back == 1


async def test_an_answer_to_no_question_changes_nothing(make: Make) -> None:
    w = await make()
    w.fail_installs()
    before = await w.out(1)
    for found in (DeviceHealth.GOOD, DeviceHealth.BAD):
        w.watch.probed("d1", found, None)
        w.watch.probed("unknown", found, None)
    w.fail_installs("d2", first=10)
    await w.out(1, "d2")
    assert await w.kept() == before


async def test_a_device_that_has_something_to_do_is_probed_after_it(make: Make) -> None:
    w = await make(base_ms=20)
    runs = w.lease("d1", "runs")
    w.fail_installs()
    record = await w.out(1)
    assert record.quarantine is not None
    await until(lambda: wall_ms() > record.quarantine.until + 100, "time stands still")  # type: ignore[union-attr]
    assert w.probes == []
    w.ends(runs)
    await until(lambda: w.probes == ["d1"], "it is not probed")


async def test_another_coordinator_goes_on_where_the_first_was(make: Make) -> None:
    first = await make(base_ms=20)
    first.fail_installs()
    await until(lambda: first.probes, "it is not probed")
    second = await make(epoch=2, base_ms=20, started=False)
    assert not second.takes_work()
    assert second.watch.idle, "its agent is not welcome yet, and would not hear a probe"
    second.start()
    await until(lambda: second.probes == ["d1"], "it is not probed by the new session")
    first.watch.probed("d1", DeviceHealth.BAD, "late")
    second.watch.probed("d1", DeviceHealth.BAD, "no adb")
    record = await second.out(2)
    assert record.quarantine is not None
    assert "no adb" in record.quarantine.reason
    await first.watch.close()
    assert not first.takes_work()
    assert (await second.kept()).in_a_row >= 2


async def test_an_operators_resume_ends_it_at_once_and_clears_the_record(make: Make) -> None:
    w = await make()
    w.fail_installs()
    await w.out(1)
    with capture_logs() as lines:
        words = {HoldSlot.DRAINING: None, HoldSlot.HEALTH: None}
        await w.store.fleet.set_holds("dv", "d1", words, wall_ms(), "op", HoldRule.RESUME)
        await w.load()
    assert w.takes_work()
    assert [x["event"] for x in lines] == ["device_readmitted"]
    w.installs("d1", "v9", "job9")
    record = await until_marks(w, 1)
    assert (record.in_a_row, record.quarantine) == (0, None)


async def until_marks(w: Watched, count: int) -> Record:
    """The record when the store has so many failures."""

    async def look() -> Record | None:
        record = await w.kept()
        return record if len(record.marks) == count else None

    found: Record = await until(look, f"there are not {count} failures")
    return found


async def test_what_was_judged_before_an_operators_word_is_dropped(make: Make) -> None:
    w = await make()
    w.installs("d1", "v1", "job1")
    await until_marks(w, 1)
    await w.store.fleet.set_holds("dv", "d1", {HoldSlot.HEALTH: None}, wall_ms(), "op")
    w.installs("d1", "v2", "job2")  # nobody has told this session yet
    await until(lambda: w.watch.idle, "it has more to do")
    assert (await w.kept()).clean
    w.installs("d1", "v3", "job3")
    assert [m.ulid for m in (await until_marks(w, 1)).marks] == ["job3"]


async def test_a_build_that_others_fail_too_is_told_and_takes_nobody_out(make: Make) -> None:
    w = await make()
    with capture_logs() as lines:
        for n in range(12):
            w.installs(f"d{n % 3 + 1}", "v1", f"job{n}")
        await until(lambda: any(x["event"] == "build_fails_everywhere" for x in lines), "the build is not told")
    (told,) = [x for x in lines if x["event"] == "build_fails_everywhere"]
    assert (told["org_id"], told["app_version_id"], told["devices"]) == ("acme", "v1", 3)
    assert [(await w.kept(f"d{n}")).quarantine for n in (1, 2, 3)] == [None] * 3


async def test_a_build_that_others_have_from_before_is_no_proof_and_one_that_installs_it_now_is(make: Make) -> None:
    w = await make()
    await w.has("d3", "v1", wall_ms() - 60_000)
    with capture_logs() as lines:
        for n in range(6):
            w.installs(f"d{n % 2 + 1}", "v1", f"job{n}")
        await until(lambda: any(x["event"] == "build_fails_everywhere" for x in lines), "the build is not told")
    assert [(await w.kept(f"d{n}")).quarantine for n in (1, 2, 3)] == [None] * 3
    await w.has("d3", "v1", wall_ms() + 1)
    for device_id in ("d1", "d2"):
        record = await w.out(1, device_id)
        assert record.quarantine is not None
        assert record.quarantine.reason == "automatic quarantine: 3 installations of 1 build failed on it"


async def test_an_unresolvable_build_is_held_against_no_device(make: Make) -> None:
    w = await make()
    for n in range(6):
        w.installs("d1", f"v{n}", f"job{n}", unresolvable=True)
    w.installs("d1", "v9", "job9")
    record = await until_marks(w, 1)
    assert [m.ulid for m in record.marks] == ["job9"]
    assert w.versions == {"v9"}


async def test_a_build_that_can_not_be_had_at_the_moment_is_held_against_no_device(make: Make) -> None:
    w = await make()
    for n in range(6):
        w.ends(w.lease("d1", f"job{n}", f"v{n}"), Outcome.PROVIDER_ERROR, unfetched=True)
    w.ends(w.lease("d1", "job9", "v9"), Outcome.PROVIDER_ERROR)
    record = await until_marks(w, 1)
    assert [m.ulid for m in record.marks] == ["job9"]


async def test_an_installation_counts_from_when_it_was_begun(make: Make) -> None:
    """Another device that installs the build while it goes on here shows that this can be done."""
    w = await make()
    before = wall_ms()
    w.installs("d1", "v1", "job1", install_ms=40_000)
    w.installs("d1", "v2", "job2", install_ms=10**12)
    after = wall_ms()
    begun = [m.at for m in (await until_marks(w, 2)).marks]
    for at, ms in zip(begun, (40_000, LONGEST_INSTALL_MS), strict=True):
        assert before <= at + ms <= after


async def test_tests_count_when_their_jobs_passed_on_another_device(make: Make) -> None:
    w = await make()
    jobs = [spec(n) for n in range(5)]
    await w.store.sessions.admit("agent-1", 1, ["acme"])
    await scenes.submit(w.store, *jobs)
    for n, job in enumerate(jobs):
        await scenes.claim(w.store, job, (job.ulid, f"a{n}"), device_id="d1")
        lease = w.lease("d1", job.ulid)
        await w.store.leases.finish("acme", [ending(job.ulid, f"a{n}", Outcome.TEST_FAILED)], NOW)
        w.ends(lease, Outcome.TEST_FAILED)
    await until_marks(w, 5)
    assert not any(m.sure for m in (await w.kept()).marks)
    assert w.session.slots["d1"].suspect
    for n, job in enumerate(jobs):
        assert (await scenes.claim(w.store, job, (job.ulid, f"b{n}"), device_id="d2")).grants
        await w.store.leases.finish("acme", [ending(job.ulid, f"b{n}")], NOW)
    record = await w.out(1)
    assert record.quarantine is not None
    assert record.quarantine.reason == "automatic quarantine: 5 tests failed on it that passed on another device"


async def test_a_test_that_fails_for_good_says_nothing_of_its_device(make: Make) -> None:
    w = await make()
    jobs = [spec(n, max_retries=0) for n in range(5)]
    await w.store.sessions.admit("agent-1", 1, ["acme"])
    await scenes.submit(w.store, *jobs)
    for n, job in enumerate(jobs):
        await scenes.claim(w.store, job, (job.ulid, f"a{n}"), device_id="d1")
        await w.store.leases.finish("acme", [ending(job.ulid, f"a{n}", Outcome.TEST_FAILED)], NOW)
        w.ends(w.lease("d1", job.ulid), Outcome.TEST_FAILED)
    await until_marks(w, 0)
    assert w.takes_work()


async def test_a_host_on_which_nothing_can_be_started_is_out_with_all_its_devices(make: Make) -> None:
    """Also before one of its jobs has run elsewhere, and one that has failed nothing yet: it would be the next."""
    w = await make()
    await w.another_host()
    for n in range(3):
        w.not_started(f"d{n % 2 + 1}", f"job{n}")
    for device_id in ("d1", "d2", "d3"):
        record = await w.out(1, device_id)
        assert record.quarantine is not None
        assert record.quarantine.reason == (
            "automatic quarantine: agent agent-1 could not start 3 jobs, whichever the device, and none ran there since"
        )
    await until(lambda: not any(w.takes_work(f"d{n}") for n in (1, 2, 3)), "its devices take work")


async def test_a_host_comes_back_by_its_probes_and_is_out_again_with_the_next_job(make: Make) -> None:
    w = await make(base_ms=1)
    await w.another_host()
    for n in range(3):
        w.not_started("d1", f"job{n}")
    for device_id in ("d1", "d2", "d3"):
        await until(lambda d=device_id: d in w.probes, "it is not probed")  # type: ignore[misc]
        w.watch.probed(device_id, DeviceHealth.GOOD, None)
        await until(lambda d=device_id: w.takes_work(d), "it does not come back")  # type: ignore[misc]
    w.not_started("d2", "job9")
    record = await w.out(2, "d3")
    assert record.quarantine is not None
    assert "could not start 1 job," in record.quarantine.reason
    assert record.quarantine.reason.endswith("; the 2nd time in a row")


async def test_a_host_on_which_something_ran_meanwhile_stays_in(make: Make) -> None:
    """A test that passes there, or fails, shows that tests can be started, also in a session that begins after it."""
    w = await make()
    await w.another_host()
    for n, outcome in enumerate((Outcome.PASSED, Outcome.TEST_FAILED)):
        w.not_started("d1", f"job{n}0")
        w.not_started("d2", f"job{n}1")
        w.ends(w.lease("d3", f"job{n}2"), outcome, tried_again=False)
    w.not_started("d1", "job9")
    w.not_started("d2", "job10")

    async def written() -> bool:
        return [await w.not_startable(f"d{n}") for n in (1, 2, 3)] == [["job9"], ["job10"], []]

    await until(written, "it is not the last ones alone that are remembered")
    assert all(w.takes_work(f"d{n}") for n in (1, 2, 3)), "what is written was judged before"
    again = await make(epoch=2)
    again.ends(again.lease("d3", "job11"))

    async def forgotten() -> bool:
        return not any([await again.not_startable(f"d{n}") for n in (1, 2)])

    await until(forgotten, "what could not be started is held against the host although something ran since")


@pytest.mark.parametrize("ran", [False, True], ids=["alone", "while others run tests"])
async def test_devices_of_another_target_are_no_part_of_what_a_host_can_not_start(make: Make, ran: bool) -> None:
    """Sessions of a plan need no Appium: they go on when it is gone, and what runs in them does not hide that it is."""
    w = await make()
    await w.another_host()
    cloud = DeviceInfo("b1", "u8", Target.BROWSERSTACK)
    w.session.show(cloud)
    assert await w.store.fleet.inventory("agent-1", 1, [*DEVICES, cloud], [], NOW, complete=True)
    await w.load()
    for n in range(3):
        w.not_started("d1", f"job{n}")
        if ran:
            one, other = [w.lease("b1", f"cloud{n}{x}", target=Target.BROWSERSTACK) for x in "ab"]
            w.ends(one, Outcome.DEVICE_ERROR, host_unfit=True)
            w.ends(other)
    for device_id in ("d1", "d2", "d3"):
        await w.out(1, device_id)
    assert w.takes_work("b1")


async def test_jobs_that_ran_elsewhere_are_held_against_a_host_whose_devices_failed_one_each(make: Make) -> None:
    """Of each device by itself one is too little to ask for it, and another broken host hides it in all else."""
    w = await make()
    await w.another_host()
    jobs = [spec(n) for n in (1, 2, 3)]
    gid = group_id(jobs[0].app_version_id, Target.EMULATOR)
    mark = Mark(Kind.HOST, ("acme", gid), "job0", wall_ms())
    assert await w.store.health.write("agent-2", 1, {"e1": Kept(0, Record((mark,)))}) == {"e1": KeptWord.OK}
    await scenes.submit(w.store, *jobs)
    for n, job in enumerate(jobs, 1):
        assert (await scenes.claim(w.store, job, (job.ulid, f"a{n}"), device_id=f"d{n}")).grants
        await w.store.leases.finish("acme", [ending(job.ulid, f"a{n}", Outcome.DEVICE_ERROR)], NOW)
        w.not_started(f"d{n}", job.ulid, job.app_version_id)
    for n, job in enumerate(jobs, 1):
        assert (await scenes.claim(w.store, job, (job.ulid, f"b{n}"), device_id="e9")).grants
        await w.store.leases.finish("acme", [ending(job.ulid, f"b{n}")], NOW)
    for device_id in ("d1", "d2", "d3"):
        record = await w.out(1, device_id)
        assert record.quarantine is not None
        assert "could not start 3 jobs" in record.quarantine.reason


async def test_a_build_that_can_not_be_started_elsewhere_either_takes_no_host_out(make: Make) -> None:
    w = await make()
    await w.another_host()
    mark = Mark(Kind.HOST, ("acme", group_id("v1", Target.EMULATOR)), "job0", wall_ms())
    assert await w.store.health.write("agent-2", 1, {"e1": Kept(0, Record((mark,)))}) == {"e1": KeptWord.OK}
    for n in range(6):
        w.not_started(f"d{n % 3 + 1}", f"job{n}")
    await until_marks(w, 2)  # those jobs are asked for, and ran nowhere
    assert all(w.takes_work(f"d{n}") for n in (1, 2, 3)), "what is written was judged before"
    for n in range(3):
        w.not_started("d1", f"other{n}", "v2")
    assert (await w.out(1, "d3")).quarantine is not None, "another build can be started there"


async def test_a_job_that_breaks_wherever_it_is_tried_says_nothing_of_devices(make: Make) -> None:
    """And one that runs on another device says what it did before: what is said of each is asked of the store."""
    w = await make(infra_max=1)
    jobs = [spec(n) for n in range(6)]
    await w.store.sessions.admit("agent-1", 1, ["acme"])
    await scenes.submit(w.store, *jobs)

    async def breaks(n: int, device_id: str) -> None:
        token = f"{device_id}-{n}"
        assert (await scenes.claim(w.store, jobs[n], (jobs[n].ulid, token), device_id=device_id)).grants
        lease = w.lease(device_id, jobs[n].ulid)
        await w.store.leases.finish("acme", [ending(jobs[n].ulid, token, Outcome.DEVICE_ERROR)], NOW)
        w.ends(lease, Outcome.DEVICE_ERROR)

    for n in range(3):
        await breaks(n, "d1")
    assert not any(m.sure for m in (await until_marks(w, 3)).marks)
    assert w.takes_work()
    for n in range(3):
        await breaks(n, "d2")
    await until_marks(w, 0)
    assert (await w.kept("d2")).quarantine is None
    for n in range(3, 6):
        await breaks(n, "d1")
    for n in range(3, 6):
        assert (await scenes.claim(w.store, jobs[n], (jobs[n].ulid, f"b{n}"), device_id="d2")).grants
        await w.store.leases.finish("acme", [ending(jobs[n].ulid, f"b{n}", Outcome.TEST_FAILED)], NOW)
    record = await w.out(1)
    assert record.quarantine is not None
    assert record.quarantine.reason == "automatic quarantine: 3 attempts ended by an error of the device"


async def test_a_device_that_fails_all_it_gets_is_out_when_others_have_done_its_first_jobs(make: Make) -> None:
    """It fails a job in a moment, and has failed many by then: others take minutes for one."""
    w = await make()
    jobs = [spec(n) for n in range(40)]
    await w.store.sessions.admit("agent-1", 1, ["acme"])
    await scenes.submit(w.store, *jobs)
    for n, job in enumerate(jobs):
        assert (await scenes.claim(w.store, job, (job.ulid, f"a{n}"), device_id="d1")).grants
        lease = w.lease("d1", job.ulid)
        await w.store.leases.finish("acme", [ending(job.ulid, f"a{n}", Outcome.DEVICE_ERROR)], NOW)
        w.ends(lease, Outcome.DEVICE_ERROR)
    for n, job in enumerate(jobs[:3]):
        assert (await scenes.claim(w.store, job, (job.ulid, f"b{n}"), device_id="d2")).grants
        await w.store.leases.finish("acme", [ending(job.ulid, f"b{n}")], NOW)
    assert (await w.out(1)).quarantine is not None


async def test_what_others_did_before_a_device_broke_under_it_speaks_against_that_however_much_is_asked(
    make: Make,
) -> None:
    """Many jobs that it failed were tried by nobody else yet: the next ones are asked for before they are left out."""
    w = await make()
    untried, done_before = [spec(n) for n in range(60)], [spec(n) for n in range(60, 63)]
    await w.store.sessions.admit("agent-1", 1, ["acme"])
    await scenes.submit(w.store, *untried, *done_before)
    for job in done_before:
        assert (await scenes.claim(w.store, job, (job.ulid, f"{job.ulid}-a"), device_id="d2")).grants
        await w.store.leases.finish("acme", [ending(job.ulid, f"{job.ulid}-a", Outcome.TEST_FAILED)], NOW)
    for job in (*untried, *done_before):
        assert (await scenes.claim(w.store, job, (job.ulid, f"{job.ulid}-b"), device_id="d1")).grants
        lease = w.lease("d1", job.ulid)
        await w.store.leases.finish("acme", [ending(job.ulid, f"{job.ulid}-b", Outcome.DEVICE_ERROR)], NOW)
        w.ends(lease, Outcome.DEVICE_ERROR)
    record = await w.out(1)
    assert len(record.marks) <= MARKS_MOST
    page = w.watch._books.page("d1")
    assert page is not None
    assert len(page.record.marks) <= MARKS_MOST, "each second all of them would be asked again"


async def test_a_proven_device_that_passes_costs_the_store_nothing(make: Make) -> None:
    w = await make()
    w.ends(w.lease("d1", "first"))

    async def proven() -> bool:
        return (await w.kept()).proven

    await until(proven, "it is not proven")
    await until(lambda: w.watch.idle, "it has more to do")
    calls = make.calls  # type: ignore[attr-defined]
    calls.clear()
    for n in range(500):
        w.installs("d1", "v1", f"job{n}", ok=True)
    assert w.watch.idle
    assert calls == []


async def test_what_the_store_did_not_take_is_written_later(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    w = await make()
    write, refused = w.store.health.write, []

    async def away(*args: Any) -> Any:
        if len(refused) < 3:
            refused.append(args)
            if len(refused) == 2:
                await write(*args)  # it was done, and its reply was lost
            raise StoreUnavailableError("the store is away")
        return await write(*args)

    monkeypatch.setattr(w.store.health, "write", away)
    with capture_logs() as lines:
        w.fail_installs()
        await w.out(1)
        await until(lambda: w.taken_back, "nobody has noticed")
    told = [x["event"] for x in lines if x["event"] in ("health_blind", "sees_again")]
    assert (len(refused), told) == (3, ["health_blind", "sees_again"])
    assert w.telemetry.quarantines == {"begun": 1}


async def test_a_fault_of_ours_is_told_and_the_watch_goes_on(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    w = await make()
    monkeypatch.setattr(w.watch, "_judge", _bug)
    with capture_logs() as lines:
        w.fail_installs()
        await until(lambda: any(x["event"] == "health_failed" for x in lines), "nobody is told")
    monkeypatch.undo()
    await w.out(1)


async def _bug() -> None:
    raise KeyError("a bug")


async def test_what_was_noted_is_written_when_the_session_ends(make: Make) -> None:
    w = await make()
    w.installs("d1", "v1", "job1")
    await w.watch.close()
    assert len((await w.kept()).marks) == 1
    w.installs("d1", "v2", "job2")
    await asyncio.sleep(0)
    assert w.watch.idle


async def test_who_ended_a_quarantine_is_told_as_it_was(make: Make) -> None:
    """By a probe of the next session, or by hand; an older session that is still there hears of both."""
    first = await make(base_ms=20)
    first.fail_installs()
    await until(lambda: first.probes, "it is not probed")
    second = await make(epoch=2, base_ms=20)
    await until(lambda: second.probes, "it is not probed by the new session")
    second.watch.probed("d1", DeviceHealth.GOOD, None)
    await until(second.takes_work, "it is not readmitted")
    with capture_logs() as lines:
        await first.load()
        second.fail_installs("d2", first=10)
        await second.out(1, "d2")
        await second.store.fleet.set_holds("dv", "d2", {HoldSlot.HEALTH: None}, wall_ms(), "op")
        await until(lambda: not second.takes_work("d2"), "it is not known here yet")
        await second.load()
    told = [(x["device_id"], x["reason"]) for x in lines if x["event"] == "device_readmitted"]
    assert told == [("d1", "a probe of another session found it well"), ("d2", "by hand")]
    assert first.telemetry.quarantines["ended"] == 0
    assert second.telemetry.quarantines["ended"] == 2


async def test_an_operators_word_that_is_met_in_writing_is_told_too(make: Make) -> None:
    w = await make()
    w.fail_installs()
    await w.out(1)
    await until(lambda: not w.takes_work(), "it is not known here yet")
    await w.store.fleet.set_holds("dv", "d1", {HoldSlot.HEALTH: None}, wall_ms(), "op")
    with capture_logs() as lines:
        w.installs("d1", "v9", "job9")  # nobody has told this session yet
        await until(w.takes_work, "it is not readmitted")
    assert [x["reason"] for x in lines if x["event"] == "device_readmitted"] == ["by hand"]


async def test_devices_that_are_gone_and_builds_that_are_forgotten_leave_the_books(make: Make) -> None:
    w = await make()
    w.installs("d1", "v1", "job1")
    ends_late = w.lease("d2", "late")
    await until_marks(w, 1)
    await until(lambda: w.books == {"d1", "d2", "d3"}, "all are known")
    assert w.versions == {"v1"}
    for device_id in ("d1", "d2", "d3"):
        w.session.slots.pop(device_id)
    await w.load()
    await until(lambda: w.books == {"d2"}, "those that are gone stay in the books")
    assert w.versions == set()
    w.ends(ends_late, Outcome.DEVICE_ERROR)

    async def marked() -> bool:
        return [m.ulid for m in (await w.kept("d2")).marks] == ["late"]

    await until(marked, "what its last attempt said is lost")
    await until(lambda: w.watch.idle, "it has more to do")
    assert w.books == set()
