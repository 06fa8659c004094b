"""What a waiting job is told: of several causes, that of the device that will be free soonest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, HoldKind, PendingCode, Priority, Status, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, Overflow, PendingReason, Requirements
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.policy.reasons.held import Holder, held
from qgjob_coordinator.policy.reasons.pending import StartEstimate, pending_reason
from qgjob_coordinator.policy.reasons.summary import summary
from tests.fakes.jobs import NOW


def job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "org_id": "acme",
        "ulid": "01J",
        "app_version_id": "v1",
        "test_path": "a.spec.ts",
        "priority": Priority.MEDIUM,
        "target": Target.EMULATOR,
        "status": Status.QUEUED,
        "created_at": NOW,
        "updated_at": NOW,
        "max_retries": 3,
    }
    return Job(**values | changes)


def device(device_id: str = "d1", **changes: Any) -> Device:
    values: dict[str, Any] = {
        "device_id": device_id,
        "agent_id": "agent-1",
        "udid": "u",
        "target": Target.EMULATOR,
        "platform": "android",
        "os_version": None,
        "model": None,
        "state": DeviceState.IDLE,
        "health": DeviceHealth.GOOD,
        "labels": {},
    }
    made = Device(**values | changes)
    made.held = _held(made)
    return made


def _held(d: Device) -> HoldKind | None:
    """What keeps a device that has one hold at most."""
    if d.health in (DeviceHealth.BAD, DeviceHealth.MAINTENANCE):
        return HoldKind(d.health)
    return HoldKind(d.state) if d.state in (DeviceState.DRAINING, DeviceState.RESERVED) else None


def reason(
    waiting: Job,
    *devices: Device,
    position: int | None = 4,
    over_quota: bool = False,
    estimate: StartEstimate | None = None,
) -> PendingReason:
    return pending_reason(
        waiting,
        consider(waiting, devices),
        now=NOW,
        position=position,
        over_quota=over_quota,
        estimate=estimate,
    )


FREE = device("free")
BUSY = device("busy", state=DeviceState.BUSY, current_job_id="acme~other")
DRAINING = device("draining", state=DeviceState.DRAINING)
RESERVED = device("reserved", state=DeviceState.RESERVED, reason="demo at noon")
BAD = device("bad", health=DeviceHealth.BAD, reason="5 installs failed")
MAINTAINED = device("maintained", health=DeviceHealth.MAINTENANCE)
OFFLINE = device("offline", state=DeviceState.OFFLINE)
OTHER_TARGET = device("phone", target=Target.DEVICE)

ALONE = [
    (FREE, PendingCode.ALL_BUSY, "is free"),
    (BUSY, PendingCode.ALL_BUSY, "is busy with acme~other"),
    (DRAINING, PendingCode.DRAINING, "is draining"),
    (RESERVED, PendingCode.RESERVED, "is reserved: demo at noon"),
    (BAD, PendingCode.QUARANTINED, "is in bad health: 5 installs failed"),
    (MAINTAINED, PendingCode.QUARANTINED, "is in maintenance: no reason given"),
    (OFFLINE, PendingCode.NO_DEVICE_ONLINE, "is offline"),
    (OTHER_TARGET, PendingCode.NO_RESOURCE, "target is device, not emulator"),
]


@pytest.mark.parametrize(("only", "code", "words"), ALONE, ids=lambda x: getattr(x, "device_id", None))
def test_one_device_is_the_reason(only: Device, code: PendingCode, words: str) -> None:
    (considered,) = consider(job(), [only])
    assert considered.message == words
    told = reason(job(), only)
    # On a line that no device could ever come to there is no place.
    assert (told.code, told.position, told.retry_at) == (code, None if code is PendingCode.NO_RESOURCE else 4, None)
    assert told.message


@pytest.mark.parametrize(("sooner", "later"), list(pairwise([BUSY, DRAINING, RESERVED, BAD, OFFLINE, OTHER_TARGET])))
def test_of_two_the_one_that_will_be_free_sooner_is_told(sooner: Device, later: Device) -> None:
    assert reason(job(), later, sooner).code is reason(job(), sooner).code is not reason(job(), later).code


MINUTE = 60_000


SHORTLY, LONG = NOW + MINUTE // 6, NOW + 10 * MINUTE
RESERVED_LONG = device("r", state=DeviceState.RESERVED, until=LONG)
RESERVED_SHORTLY = device("r", state=DeviceState.RESERVED, until=SHORTLY)
BAD_SHORTLY = device("q", health=DeviceHealth.BAD, until=SHORTLY)
BUSY_LONG = device("long", state=DeviceState.BUSY, free_at=NOW + 60 * MINUTE)


@pytest.mark.parametrize(
    ("sooner", "later"),
    [
        pytest.param(RESERVED_LONG, DRAINING, id="some end before none"),
        pytest.param(BAD_SHORTLY, RESERVED_LONG, id="bad before reserved"),
        pytest.param(RESERVED_SHORTLY, BUSY_LONG, id="reserved before busy"),
        pytest.param(BUSY, RESERVED_LONG, id="a busy one of which nothing is known before a long hold"),
        pytest.param(BAD_SHORTLY, BUSY, id="and after a short one"),
    ],
)
def test_of_two_whose_ends_are_known_the_time_decides_and_not_the_kind(sooner: Device, later: Device) -> None:
    def told(*devices: Device) -> PendingCode:
        return pending_reason(job(), consider(job(), devices), now=NOW, position=4, over_quota=False).code

    assert told(sooner, later) is told(later, sooner) is told(sooner) is not told(later)


@pytest.mark.parametrize(
    ("devices", "code", "words"),
    [
        ([BAD, DRAINING], PendingCode.DRAINING, "1 is draining, 1 is in bad health"),
        ([BAD_SHORTLY, DRAINING], PendingCode.QUARANTINED, "1 is in bad health, 1 is draining"),
        ([OFFLINE, BUSY, device("b2", state=DeviceState.BUSY)], PendingCode.ALL_BUSY, "2 are busy, 1 is offline"),
    ],
)
def test_what_keeps_one_device_is_not_said_of_all(devices: list[Device], code: PendingCode, words: str) -> None:
    told = reason(job(), *devices, OTHER_TARGET)
    assert (told.code, told.message) == (code, f"no device that can serve it takes it now: {words}")


def test_what_keeps_all_devices_is_said_of_all() -> None:
    assert reason(job(), BAD, MAINTAINED).message == "the devices that can serve it are not in good health"


def test_a_free_device_comes_before_one_whose_end_has_passed() -> None:
    assert reason(job(), device("q", health=DeviceHealth.BAD, until=NOW - 1), FREE).code is PendingCode.ALL_BUSY


def test_an_offline_device_in_bad_health_is_offline() -> None:
    assert (
        reason(job(), device(state=DeviceState.OFFLINE, health=DeviceHealth.BAD)).code is PendingCode.NO_DEVICE_ONLINE
    )


def test_a_retry_that_waits_for_its_time_says_when_and_has_no_place() -> None:
    told = reason(job(not_before=NOW + 5), FREE)
    assert (told.code, told.retry_at, told.position) == (PendingCode.RETRY_WAIT, NOW + 5, None)
    assert reason(job(not_before=NOW), BUSY).code is PendingCode.ALL_BUSY


def test_a_quota_is_told_while_devices_are_there_and_no_resource_comes_before_it() -> None:
    assert reason(job(), FREE, over_quota=True).code is PendingCode.QUOTA
    assert reason(job(), OTHER_TARGET, over_quota=True).code is PendingCode.NO_RESOURCE


def test_requirements_that_nothing_meets_are_no_resource_and_each_device_says_why() -> None:
    ios = job(requirements=Requirements(platform="ios"))
    assert reason(ios, FREE, BUSY).code is PendingCode.NO_RESOURCE
    assert [(c.device_id, c.message) for c in consider(ios, [FREE, BUSY])] == [
        ("busy", "platform is android, not ios"),
        ("free", "platform is android, not ios"),
    ]


def test_devices_for_which_the_app_version_has_no_build_say_what_to_push() -> None:
    simulator = device("sim", platform="ios", build_slot="ios simulator")
    emulator = device("emu", build_slot="android device")
    pushed = frozenset({"android device"})
    asked = consider(job(), [simulator, emulator, device("any")], pushed=pushed)
    assert [(c.device_id, c.unmet) for c in asked] == [("any", ()), ("emu", ()), ("sim", ("build",))]
    assert asked[-1].message == "there is no build for ios simulator (.app in a .zip): push one"
    assert summary(job(), asked, NOW) == "2 of 3 devices could serve it: 2 are free; 1 is without a build"
    alone = consider(job(), [simulator], pushed=pushed)
    told = pending_reason(job(), alone, now=NOW, position=4, over_quota=False)
    assert told.code is PendingCode.NO_RESOURCE
    assert told.message == (
        "app version v1 has builds, but none for the devices that could serve it: "
        "there is no build for ios simulator (.app in a .zip): push one, or the job fails in a moment"
    )
    moves = job(overflow=Overflow(Target.BROWSERSTACK, 60_000))
    told = pending_reason(moves, alone, now=NOW, position=4, over_quota=False)
    # It may go where one can run it.
    assert told.message.endswith(": there is no build for ios simulator (.app in a .zip): push one")
    pinned = job(requirements=Requirements(device_id="sim"))
    assert summary(pinned, consider(pinned, [simulator], pushed=pushed), NOW).endswith(
        "; sim is there, but there is no build for ios simulator (.app in a .zip): push one"
    )
    assert consider(job(), [simulator])[0].feasible  # nothing was pushed: it may come in another way


def test_an_empty_fleet_has_no_resource() -> None:
    assert reason(job()).code is PendingCode.NO_RESOURCE


def test_a_device_says_all_that_keeps_it_from_the_job() -> None:
    asked = job(requirements=Requirements(platform="ios", labels=(("rack", "2"),)))
    (refused,) = consider(asked, [OTHER_TARGET])
    assert not refused.feasible
    assert refused.unmet == ("target", "platform", "labels.rack")
    assert refused.message == (
        "target is device, not emulator; platform is android, not ios; label rack is not set, not 2"
    )


def test_a_device_says_when_what_keeps_it_ends() -> None:
    held = device("d1", state=DeviceState.RESERVED, until=NOW + 5, free_at=NOW + 9)
    assert [c.free_at for c in consider(job(), [held, replace(BUSY, free_at=NOW + 7), FREE])] == [
        NOW + 7, NOW + 5, None,
    ]  # fmt: skip


def test_a_device_that_a_retry_avoids_says_so() -> None:
    avoided, other = consider(job(avoid_devices=("busy",)), [BUSY, FREE])
    assert "is avoided while another can serve the job" in avoided.message
    assert "avoided" not in other.message


@pytest.mark.parametrize(("only", "code", "words"), ALONE, ids=lambda x: getattr(x, "device_id", None))
def test_a_start_is_expected_only_of_what_passes_by_itself(only: Device, code: PendingCode, words: str) -> None:
    del words
    told = reason(job(), only, estimate=StartEstimate(NOW + 5, NOW + 4, NOW + 9))
    assert told.estimated_start_at == (NOW + 5 if code is PendingCode.ALL_BUSY else None)


def test_a_job_for_later_that_nothing_could_serve_says_that_too() -> None:
    later = job(not_before=NOW + 5)
    assert "nothing known to the fleet could serve it" in reason(later, OTHER_TARGET).message
    assert "nothing known" not in reason(later, OFFLINE).message


def test_a_device_that_is_asked_for_by_its_id_and_is_of_another_target_is_named_with_what_to_do() -> None:
    told = reason(job(requirements=Requirements(device_id="phone")), FREE, OTHER_TARGET)
    assert told.code is PendingCode.NO_RESOURCE
    assert told.message == "phone is of target device, not emulator; submit the job with --target=device"


def test_a_job_that_only_its_target_keeps_from_a_device_is_told_of_that_one_and_what_to_do() -> None:
    labelled = replace(OTHER_TARGET, labels={"rack": "a1"})
    told = reason(job(requirements=Requirements(labels=(("rack", "a1"),))), FREE, labelled)
    assert told.code is PendingCode.NO_RESOURCE
    assert told.message.endswith("; phone, of target device, meets these: submit with --target=device for it")
    assert "--target" not in reason(job(requirements=Requirements(labels=(("rack", "b2"),))), FREE, labelled).message


def test_a_job_that_goes_to_that_target_by_itself_is_not_told_to_be_submitted_with_it() -> None:
    goes, other = Overflow(OTHER_TARGET.target, 3000), Overflow(Target.BROWSERSTACK, 3000)
    told = reason(job(overflow=goes), OTHER_TARGET)
    assert told.code is PendingCode.NO_RESOURCE
    assert told.message.endswith("; phone, of its second target device, meets these")
    assert "submit with --target=device" in reason(job(overflow=other), OTHER_TARGET).message


def test_where_each_device_is_told_it_is_not_said_where_to_see_them() -> None:
    waiting, devices = job(requirements=Requirements(labels=(("rack", "a1"),))), [FREE]
    common: dict[str, Any] = {"now": NOW, "position": None, "over_quota": False}
    alone = pending_reason(waiting, consider(waiting, devices), **common).message
    beside = pending_reason(waiting, consider(waiting, devices), explained=True, **common).message
    assert alone == f"{beside}; see `qgjob explain` for each device"


# A job that has a device.

GIVE_UP_MS = 62_000
HEARD = Holder("agent-1", heard=True, seen_at=NOW - 1_000, device_online=True, current_job_id="acme~01J")
SILENT = Holder("agent-1", heard=False, seen_at=NOW - 30_000, device_online=False, current_job_id=None)


@pytest.mark.parametrize(
    ("status", "holder", "words"),
    [
        (Status.RUNNING, HEARD, "it runs on d1"),
        (Status.SCHEDULED, HEARD, "it is in hand at d1, which is about to start it"),
        (Status.SCHEDULED, replace(HEARD, current_job_id="acme~2"), "it is in hand at d1, which runs acme~2 before"),
        (Status.RUNNING, replace(HEARD, device_online=False),
         "d1 is offline; its agent agent-1 is online, and tells what becomes of the job"),
        (Status.SCHEDULED, SILENT, "the job is queued again"),
        (Status.RUNNING, SILENT, "the attempt is lost, and tried again as its retries allow"),
        (Status.RUNNING, replace(SILENT, seen_at=NOW - 63_000), "it is given up any moment"),
        (Status.SCHEDULED, replace(SILENT, seen_at=None), "agent-1 is not heard"),
    ],
)  # fmt: skip
def test_a_job_that_has_a_device_is_told_what_it_does_there(status: Status, holder: Holder, words: str) -> None:
    assert words in held(job(status=status, device_id="d1"), holder, NOW, GIVE_UP_MS)


def test_where_the_agent_is_not_heard_it_is_told_since_when_and_by_when_it_is_given_up() -> None:
    words = held(job(status=Status.SCHEDULED, device_id="d1"), SILENT, NOW, GIVE_UP_MS)
    assert words.startswith("its agent agent-1 was last heard 30 s ago; unless it is heard before, it is given up at ")
    assert ", in about 32 s, and then " in words


@pytest.mark.parametrize(
    ("status", "changes", "words"),
    [
        (Status.RUNNING, {"state": DeviceState.BUSY, "current_job_id": "acme~01J"}, "runs this job"),
        (Status.SCHEDULED, {"state": DeviceState.BUSY, "current_job_id": "acme~01J"}, "is about to start this job"),
        (Status.SCHEDULED, {"state": DeviceState.BUSY, "current_job_id": "acme~2"},
         "is busy with acme~2, and has this job"),
        (Status.SCHEDULED, {"state": DeviceState.OFFLINE}, "is offline, and has this job"),
    ],
)  # fmt: skip
def test_the_device_that_has_the_job_says_so(status: Status, changes: dict[str, Any], words: str) -> None:
    mine, other = consider(
        job(status=status, device_id="d1"),
        [device(**changes), device("d2", state=DeviceState.BUSY, current_job_id="x")],
    )
    assert (mine.message, other.message) == (words, "is busy with x")
