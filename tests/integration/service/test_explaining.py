"""Explanations: what a forecast adds to them, and what a caller does not get to see."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import HoldKind, PendingCode, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.model.jobs import ANY_DEVICE, Job, JobSpec, Requirements
from qgjob_coordinator.policy.reasons.considered import Judge
from qgjob_coordinator.policy.reasons.overflow import overflow_words
from qgjob_coordinator.policy.reasons.pending import StartEstimate
from qgjob_coordinator.policy.reasons.verdict import Verdict
from qgjob_coordinator.rpc import shapes
from qgjob_coordinator.service.calls.submission import Defaults, Submission
from qgjob_coordinator.service.calls.submitting import Submitter
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import CACHE_SECONDS, FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.pending import MOST_JUDGED, SKETCH_SECONDS, Pending
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry, alone
from tests.fakes import builds, scenes
from tests.fakes.damage import damaged
from tests.fakes.jobs import NOW, overflowing, spec

OTHERS_JOB = "rival~01J00000000000000000000009"
GROUP = group_id("v1", Target.EMULATOR)


class Expecting:
    """A forecast that expects the same of every job."""

    def __init__(self, now: int) -> None:
        self.start = StartEstimate(now + 60_000, now + 40_000, now + 120_000)
        self.end = now + 600_000
        self.asked_fresh: list[bool] = []
        self.verdict: Verdict | None = None

    async def starts(
        self, org_id: str, jobs: Sequence[Job], places: Sequence[int | None], *, fresh: bool = False
    ) -> Sequence[StartEstimate | None]:
        self.asked_fresh.append(fresh)
        return [self.start for _ in jobs]

    async def group_ends(self, org_id: str) -> Mapping[str, int]:
        return {GROUP: self.end}

    async def judge(self, job: Job) -> Judge:
        return lambda _device_id: self.verdict


@pytest.fixture
def forecast() -> Expecting:
    return Expecting(wall_ms())


@pytest.fixture
def pending(store: Store, forecast: Expecting) -> Pending:
    return Pending(store, FleetReader(store), None, forecast, faults=OrgFaults())


async def busy_fleet(store: Store, free_at: int | None = None) -> None:
    """One emulator, busy with another org's job until `free_at`, if that is known."""
    device = DeviceInfo("e1", "u1", Target.EMULATOR, platform="android")
    await scenes.open_session(store)
    await store.fleet.inventory(scenes.AGENT, 1, [device], [], NOW, complete=True)
    row = Occupancy("e1", OTHERS_JOB, free_at=free_at)
    assert await store.fleet.occupy(scenes.AGENT, 1, [row], NOW)


async def idle_fleet(store: Store, *device_ids: str) -> None:
    """Emulators that idle."""
    devices = [DeviceInfo(i, f"u-{i}", Target.EMULATOR, platform="android") for i in device_ids]
    await scenes.open_session(store)
    await store.fleet.inventory(scenes.AGENT, 1, devices, [], NOW, complete=True)


async def waiting(store: Store, job: JobSpec | None = None) -> Job:
    job = job or spec()
    await scenes.submit(store, job)
    return await scenes.get(store, job)


async def test_a_forecast_gives_the_start_its_band_and_when_devices_are_free(
    store: Store, pending: Pending, forecast: Expecting
) -> None:
    free_at = wall_ms() + 30_000
    await busy_fleet(store, free_at)
    job = await waiting(store)
    found = await pending.explanation(LOCAL_ADMIN, job)
    assert found.estimate == forecast.start
    assert job.pending_reason is not None
    assert job.pending_reason.estimated_start_at == forecast.start.at
    assert [c.free_at for c in found.devices] == [free_at]
    assert "1 is busy (free in about 30 s)" in found.summary
    message = shapes.explanation_out(found)
    assert message.earliest_start_at == shapes.time_out(forecast.start.earliest_at)
    assert message.latest_start_at == shapes.time_out(forecast.start.latest_at)
    assert message.job.pending_reason.estimated_start_at == shapes.time_out(forecast.start.at)
    await pending.explain([job])
    assert job.pending_reason.estimated_start_at == forecast.start.at
    assert forecast.asked_fresh == [True, False]  # who asks about one job gets the latest, a list what is at hand


async def test_a_list_an_explanation_and_a_submission_tell_of_the_device_that_is_free_soonest(
    store: Store, forecast: Expecting
) -> None:
    """A busy one, and one that is reserved: whichever ends first, by what the store knows, so at any coordinator."""
    await busy_fleet(store)
    device = DeviceInfo("e2", "u2", Target.EMULATOR, platform="android")
    await store.fleet.inventory(scenes.AGENT, 1, [device], [], NOW, complete=False)
    until = wall_ms() + 600_000
    reserved = Hold(HoldKind.RESERVED, "demo", until)
    await store.fleet.set_holds("dv", "e2", {reserved.slot: reserved}, NOW, "op-1")
    job = await waiting(store)
    for free, code in ((until - 1000, PendingCode.ALL_BUSY), (until + 1000, PendingCode.RESERVED)):
        assert await store.fleet.occupy(scenes.AGENT, 1, [Occupancy("e1", OTHERS_JOB, free_at=free)], wall_ms())
        pending = Pending(store, FleetReader(store), None, forecast, faults=OrgFaults())  # which have read nothing yet
        await pending.explain([job])
        assert job.pending_reason is not None
        assert job.pending_reason.code is code
        await pending.explanation(LOCAL_ADMIN, job)
        assert job.pending_reason.code is code
        assert (await pending.reasons([spec()])).of(job, None).code is code


async def test_of_a_second_target_a_list_and_an_explanation_say_what_is_missing(store: Store, pending: Pending) -> None:
    """The one device of it is drained. Another job waits for the same, and goes nowhere."""
    device = DeviceInfo("cloud-1", "u", Target.BROWSERSTACK)
    await scenes.open_session(store)
    await store.fleet.inventory(scenes.AGENT, 1, [device], [], NOW, complete=True)
    held = Hold(HoldKind.DRAINING, None, None)
    await store.fleet.set_holds("dv", "cloud-1", {held.slot: held}, NOW, "op-1")
    await scenes.submit(store, overflowing(1), spec(2), now=wall_ms() - 120_000)
    job, patient = [await scenes.get(store, s) for s in (overflowing(1), spec(2))]
    late = "has waited for longer than 60 s, and goes to browserstack when it is expected to start sooner there"
    await pending.explain([patient, job])
    for _ in range(2):
        assert job.overflow is not None
        assert overflow_words(job.overflow) == f"{late}; no device that could serve it there takes work now"
        assert job.pending_reason is not None
        assert job.pending_reason.message.endswith("; cloud-1, of its second target browserstack, meets these")
        job = await scenes.get(store, overflowing(1))
        await pending.explanation(LOCAL_ADMIN, job)
    assert patient.pending_reason is not None
    assert "submit with --target=browserstack" in patient.pending_reason.message


async def test_a_job_that_was_taken_while_it_was_read_is_not_kept_by_a_quota_that_it_fills_itself(
    store: Store,
) -> None:
    """As the answer to a retry, whose job a device takes at once."""
    await busy_fleet(store)
    first, second = spec(1), spec(2)
    await scenes.submit(store, first, second)
    jobs = [await scenes.get(store, s) for s in (first, second)]
    assert (await scenes.claim(store, first)).grants
    pending = Pending(store, FleetReader(store), 1, faults=OrgFaults())
    await pending.explain(jobs)
    assert [j.pending_reason and j.pending_reason.code for j in jobs] == [PendingCode.ALL_BUSY, PendingCode.QUOTA]
    for job in jobs:
        await pending.explanation(LOCAL_ADMIN, job)
    assert [j.pending_reason and j.pending_reason.code for j in jobs] == [PendingCode.ALL_BUSY, PendingCode.QUOTA]


async def test_what_nothing_could_serve_is_expected_never(store: Store, pending: Pending) -> None:
    await busy_fleet(store)
    job = await waiting(store, spec(requirements=Requirements(platform="ios")))
    found = await pending.explanation(LOCAL_ADMIN, job)
    assert job.pending_reason is not None
    assert (job.pending_reason.code, job.pending_reason.estimated_start_at) == (PendingCode.NO_RESOURCE, None)
    assert found.estimate is None


async def test_what_another_org_runs_is_not_told(store: Store, pending: Pending) -> None:
    await busy_fleet(store)
    job = await waiting(store)
    member = Principal("dev", Role.MEMBER, "acme")
    told = {who.name: (await pending.explanation(who, job)).devices[0].message for who in (LOCAL_ADMIN, member)}
    assert told == {"local": f"is busy with {OTHERS_JOB}", "dev": "is busy with another job"}


async def test_a_job_whose_agent_is_not_heard_is_told_by_when_that_is_given_up(store: Store, pending: Pending) -> None:
    device = DeviceInfo(scenes.DEVICE, "u1", Target.EMULATOR)
    await scenes.open_session(store)
    await store.fleet.inventory(scenes.AGENT, 1, [device], [], wall_ms(), complete=True)
    job = await scenes.running(store)
    assert await store.fleet.occupy(scenes.AGENT, 1, [Occupancy(scenes.DEVICE, f"acme~{job.ulid}")], wall_ms())
    lives = await pending.explanation(LOCAL_ADMIN, await scenes.get(store, job))
    assert (lives.summary, lives.devices[0].message) == (f"it runs on {scenes.DEVICE}", "runs this job")
    (row,) = (await store.sessions.watch())[1]
    assert await store.sessions.observe(scenes.AGENT, row.epoch, row.counter, "timed_out")
    silent = await pending.explanation(LOCAL_ADMIN, await scenes.get(store, job))
    assert silent.summary.startswith(f"its agent {scenes.AGENT} was last heard ")
    assert silent.devices[0].message == "is offline, and has this job"
    assert shapes.explanation_out(silent).summary == silent.summary


async def test_a_free_device_that_the_plan_gives_nothing_is_not_about_to_take_the_job(
    store: Store, pending: Pending, forecast: Expecting
) -> None:
    """In explanations and in lists alike; and while the plan is not known nothing is promised."""
    await idle_fleet(store, "e1")
    job = await waiting(store)
    forecast.verdict = Verdict("not worth it", "that would not pay")
    found = await pending.explanation(LOCAL_ADMIN, job)
    assert [(c.message, c.code) for c in found.devices] == [("is free, but that would not pay", None)]
    assert found.summary == "1 of 1 device could serve it: 1 is free (not worth it)"
    assert job.pending_reason is not None
    told = (PendingCode.ALL_BUSY, "a device is free, but that would not pay")
    assert (job.pending_reason.code, job.pending_reason.message) == told
    await pending.explain([job])
    assert (job.pending_reason.code, job.pending_reason.message) == told
    forecast.verdict = None
    await pending.explain([job])
    assert "decided in a moment" in job.pending_reason.message
    assert "decided in a moment" in (await pending.reasons([spec()])).of(job, None).message


async def test_of_many_free_devices_a_list_asks_of_some_and_counts_all(
    store: Store, pending: Pending, forecast: Expecting
) -> None:
    await idle_fleet(store, *[f"e{n}" for n in range(MOST_JUDGED + 5)])
    forecast.verdict = Verdict("not worth it", "that would not pay")
    job = await waiting(store)
    await pending.explain([job])
    assert job.pending_reason is not None
    assert job.pending_reason.message == f"{MOST_JUDGED + 5} devices are free, but that would not pay"


async def test_a_group_says_when_it_is_expected_to_end(store: Store, forecast: Expecting) -> None:
    await waiting(store)
    (group,) = await Overview(store, FleetReader(store), alone(Telemetry()), forecast, faults=OrgFaults()).groups(
        LOCAL_ADMIN, "acme"
    )
    assert group.estimated_end_at == forecast.end
    (unknown,) = await Overview(store, FleetReader(store), alone(Telemetry()), faults=OrgFaults()).groups(
        LOCAL_ADMIN, "acme"
    )
    assert unknown.estimated_end_at is None


async def test_a_submission_is_not_told_no_resource_by_an_old_reading(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fleet was read before its first device came; by now that reading is older than readers accept."""
    reader = FleetReader(store)
    pending = Pending(store, reader, None, faults=OrgFaults())
    assert not (await pending.reasons([spec()])).could_serve(Target.EMULATOR, ANY_DEVICE)
    await busy_fleet(store)
    older = reader._readings._ended - (CACHE_SECONDS + SKETCH_SECONDS) / 2
    monkeypatch.setattr(reader._readings, "_ended", older)
    reasons = await pending.reasons([spec()])
    assert reasons.could_serve(Target.EMULATOR, ANY_DEVICE)
    assert reasons.of(await waiting(store), None).code is PendingCode.ALL_BUSY


EMULATOR = DeviceInfo("d1", "u1", Target.EMULATOR, platform="android")


async def shown(store: Store, device: DeviceInfo) -> Pending:
    """Answers of a coordinator whose fleet has one device, to an org that has a build of v1 for simulators."""
    await scenes.open_session(store)
    assert await store.fleet.inventory("agent-1", 1, [device], [], wall_ms(), complete=True)
    await builds.kept(store, builds.build(facts=builds.SIMULATOR))
    return Pending(store, FleetReader(store), None, faults=OrgFaults())


async def test_a_submission_is_told_which_build_its_device_needs(store: Store) -> None:
    pending = await shown(store, replace(EMULATOR, pushed_builds_only=True))
    specs = [spec(1), spec(2), spec(3, app_version_id="v2")]
    await scenes.submit(store, *specs)
    reasons = await pending.reasons(specs)
    told = [reasons.of(await scenes.get(store, job), None) for job in specs]
    assert [reason.code for reason in told] == [PendingCode.NO_RESOURCE] * 2 + [PendingCode.ALL_BUSY]
    assert "there is no build for android (.apk or .aab): push one" in told[0].message


@pytest.mark.parametrize("away", [False, True])
async def test_builds_that_can_not_be_read_keep_no_submitter_from_the_answer(
    store: Store, raw: Redis, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    """Its jobs are accepted by then: what they are told is only words."""
    pending = await shown(store, replace(EMULATOR, pushed_builds_only=True))
    jobs = Submitter(store, Hub(), Telemetry(), pending, Defaults(), log_transitions=False)

    async def gone(*_: object) -> None:
        raise StoreUnavailableError("it is away")

    if away:
        monkeypatch.setattr(store.builds, "pushed", gone)
    with damaged(raw, "bd"), capture_logs() as lines:
        accepted = await jobs.submit_many(
            LOCAL_ADMIN,
            [Submission(org_id="acme", app_version_id="v1", test_path="tests/a.spec.ts", target=Target.EMULATOR)],
        )
    assert [job.created for job in accepted] == [True]
    assert accepted[0].job.pending_reason is not None
    (told,) = [line for line in lines if line["event"] in ("org_damaged", "reasons_without_builds")]
    assert told["org_id"] == "acme"
    assert told["error"] == "it is away" if away else "WRONGTYPE" in told["error"]


@pytest.mark.parametrize(("only_pushed", "asked"), [(True, [{"v1", "v2"}]), (False, [])])
async def test_builds_are_looked_up_once_for_all_jobs_of_a_submission_and_where_a_device_needs_them(
    store: Store, monkeypatch: pytest.MonkeyPatch, only_pushed: bool, asked: list[set[str]]
) -> None:
    pending = await shown(store, replace(EMULATOR, pushed_builds_only=only_pushed))
    lookups: list[set[str]] = []
    pushed = store.builds.pushed

    async def counted(org_id: str, versions: Collection[str]) -> dict[str, frozenset[str]]:
        assert org_id == "acme"
        lookups.append(set(versions))
        return await pushed(org_id, versions)

    monkeypatch.setattr(store.builds, "pushed", counted)
    await pending.reasons([spec(n, app_version_id=f"v{1 + n % 2}") for n in range(20)])
    assert lookups == asked


async def test_a_submission_is_not_told_of_a_missing_build_by_an_old_reading(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = FleetReader(store)
    await shown(store, replace(EMULATOR, pushed_builds_only=True))
    pending = Pending(store, reader, None, faults=OrgFaults())
    assert (await pending.reasons([spec()])).of(await waiting(store), None).code is PendingCode.NO_RESOURCE
    simulator = replace(EMULATOR, device_id="d2", platform="ios", pushed_builds_only=True)
    assert await store.fleet.inventory("agent-1", 1, [simulator], [], wall_ms(), complete=False)
    older = reader._readings._ended - (CACHE_SECONDS + SKETCH_SECONDS) / 2
    monkeypatch.setattr(reader._readings, "_ended", older)
    assert (await pending.reasons([spec()])).of(await scenes.get(store, spec()), None).code is PendingCode.ALL_BUSY
