"""What is said of a device that idles while a job waits is what the plan does, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given

from qgjob_coordinator.model.enums import DeviceState, PendingCode, Priority, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Job, Requirements
from qgjob_coordinator.policy.feasible import meets
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.reasons.considered import Considered, consider
from qgjob_coordinator.policy.reasons.pending import free_words, pending_reason
from qgjob_coordinator.policy.reasons.summary import summary
from qgjob_coordinator.policy.reasons.verdict import TAKES, Verdict, Verdicts
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Limits, Snapshot
from tests.unit.policy import test_explain
from tests.unit.policy.snapshots import NOW, device, group, queue, snapshot, snapshots

KEY = ("acme", "e-v1")
ONE_DEVICE = Limits(group_max_devices=1)


def job(ulid: str = "a1", **changes: Any) -> Job:
    return test_explain.job(**{"ulid": ulid} | changes)


def server(seconds: float = 40.0, device_id: str = "busy", version: str = "v1") -> DeviceView:
    """A device that serves a group and is done with what it holds in so many seconds."""
    return device(
        device_id,
        installed=("acme", version),
        held=1,
        holds_for=("acme", f"e-{version}"),
        free_at=NOW + round(seconds * 1000),
    )


def served(*orders: int, **changes: Any) -> GroupView:
    """A group that `busy` serves; each of its jobs takes half a minute."""
    return group("v1", queue("a", orders), **{"serving": {"busy": 1}} | changes)


def look(groups: Sequence[GroupView], *idle: DeviceView, **changes: Any) -> Snapshot:
    return snapshot(list(idle), list(groups), **{"busy": (server(),)} | changes)


def why(seen: Snapshot, device_id: str = "idle", waiting: Job | None = None) -> str:
    found = Verdicts(seen).of(waiting or job(), KEY, device_id)
    assert found is not None
    return found.why


def fleet(seen: Snapshot) -> list[Device]:
    """The devices of a snapshot as the fleet shows them."""
    states = {d.device_id: DeviceState.BUSY if d.held else DeviceState.IDLE for d in (*seen.devices, *seen.busy)}
    return [test_explain.device(i, state=s, platform=None) for i, s in states.items()]


def considered(seen: Snapshot, waiting: Job | None = None) -> list[Considered]:
    waiting, verdicts = waiting or job(), Verdicts(seen)
    return consider(waiting, fleet(seen), judge=lambda i: verdicts.of(waiting, KEY, i))


def told(seen: Snapshot, waiting: Job | None = None) -> str:
    waiting = waiting or job()
    reason = pending_reason(waiting, considered(seen, waiting), now=NOW, position=1, over_quota=False)
    assert reason.code is PendingCode.ALL_BUSY
    return reason.message


HELD_BACK = look([served(1, 2)], device("idle"))
"""Two jobs of half a minute behind one device that runs for 40 seconds more: a second installation does not pay."""
NOT_WORTH = (
    "an installation (about 45 s) would not pay: 1 device serves the group, with about 1.7 min of work, "
    "and one more pays from about 3.6 min"
)


def test_a_device_whose_installation_would_not_pay_says_so_with_the_numbers() -> None:
    assert plan(HELD_BACK).assignments == ()
    assert why(HELD_BACK) == NOT_WORTH
    (idle,) = [c for c in considered(HELD_BACK) if c.device_id == "idle"]
    assert (idle.message, idle.code, idle.feasible) == (f"is free, but {NOT_WORTH}", None, True)
    assert told(HELD_BACK) == f"a device is free, but {NOT_WORTH}"
    assert summary(job(), considered(HELD_BACK), NOW) == (
        "2 of 2 devices could serve it: 1 is free (not worth an installation), 1 is busy"
    )


def test_of_several_that_serve_the_work_before_each_is_told() -> None:
    seen = look([served(1, 2, serving={"busy": 1, "too": 1})], device("idle"), busy=(server(), server(60.0, "too")))
    assert "2 devices serve the group, with about 1.3 min of work each, and one more pays from about" in why(seen)
    assert why(seen).endswith(" each")


def test_a_device_that_the_plan_gives_the_job_to_takes_it() -> None:
    seen = look([group("v1", queue("a", [1, 2]))], device("idle"), busy=())
    assert Verdicts(seen).of(job("a1"), KEY, "idle") == TAKES
    assert told(seen) == "a device is free and will take it in a moment"
    assert told(seen, job("a2")) == "a device is free and takes jobs of its group that come first"


def test_of_two_idle_devices_the_one_that_is_not_needed_says_which_one_is() -> None:
    seen = look([group("v1", queue("a", [1]))], device("d1"), device("d2"), busy=())
    assert why(seen, "d2") == "d1 takes the job"
    assert told(seen) == "a device is free and will take it in a moment"


def test_the_cap_on_a_group_is_told_with_its_setting() -> None:
    seen = look([served(*range(1, 100))], device("idle"), limits=ONE_DEVICE)
    assert plan(seen).assignments == ()
    assert why(seen) == "the group may use 1 device (GROUP_MAX_DEVICES)"
    two = look([served(*range(1, 100), serving={"busy": 1, "far": 1})], device("idle"), limits=Limits(8, 2))
    assert why(two) == "the group may use 2 devices (GROUP_MAX_DEVICES)"


def test_an_org_without_room_is_told_with_its_setting() -> None:
    seen = look([group("v1", queue("a", [1]))], device("idle"), room={"acme": 0})
    assert plan(seen).assignments == ()
    assert why(seen) == "org acme holds as many attempts as it may (MAX_RUNNING_PER_ORG)"


def test_a_device_to_which_the_last_place_is_not_given_says_who_gets_it() -> None:
    waits = group("v2", queue("b", [-9000]), target=Target.DEVICE)
    phone = device("phone", target=Target.DEVICE, held=1, holds_for=("globex", "d-v9"), free_at=NOW + 9000)
    seen = look([served(900), waits], device("idle"), busy=(phone, server()), room={"acme": 1})
    assert why(seen) == (
        "the last place under MAX_RUNNING_PER_ORG is left to job acme~b-9000, which waits longer, for another device"
    )


def test_a_device_that_is_called_away_says_so_though_it_has_the_build() -> None:
    warm = device("idle", installed=("acme", "v1"))
    old = group("v2", queue("b", [-20_000], Priority.HIGH))
    seen = look([served(*range(1, 100)), old], warm, busy=(server(10_000.0),))
    (given_out,) = plan(seen).assignments
    assert given_out.gid == "e-v2"
    assert why(seen).startswith("another group calls it away")


def test_a_cold_device_that_another_group_gets_says_so() -> None:
    first = group("v2", queue("b", [0], Priority.HIGH))
    seen = look([group("v1", queue("a", [1])), first], device("idle"), busy=())
    assert why(seen) == "work of another group comes first"


def test_a_device_that_a_retry_avoids_is_not_about_to_take_it() -> None:
    seen = look(
        [group("v1", queue("a", [1], avoid=("idle",)))],
        device("idle"),
        candidates={Target.EMULATOR: (device("idle"), device("busy"))},
    )
    waiting = job(avoid_devices=("idle",))
    assert plan(seen).assignments == ()
    assert why(seen, waiting=waiting) == "it is avoided while another can serve the job: an attempt failed on it"
    assert "in a moment" not in told(seen, waiting)


@pytest.mark.parametrize(
    ("waiting", "key", "device_id"),
    [
        (job(), KEY, "unknown"),
        (job(), ("acme", "e-new"), "idle"),
        (job(requirements=Requirements(labels=(("rack", "2"),))), KEY, "idle"),
    ],
    ids=["device", "group", "queue"],
)
def test_of_what_the_plan_does_not_know_it_says_nothing(waiting: Job, key: tuple[str, str], device_id: str) -> None:
    assert Verdicts(HELD_BACK).of(waiting, key, device_id) is None


def test_what_is_not_known_is_not_promised() -> None:
    assert free_words([None]) == ("a device that can serve it is free; whether it takes it is decided in a moment")
    assert free_words([Verdict("x", "y"), None]) == free_words([None])


def test_many_free_devices_are_counted_and_the_commonest_reason_told() -> None:
    one, other = Verdict("x", "no"), Verdict("y", "never")
    assert free_words([one] * 3) == "3 devices are free, but no"
    assert free_words([one] * 16, 900) == "900 devices are free, but no"
    assert free_words([other, one, one]) == "3 devices are free, but no; see `qgjob explain` for each device"


def test_a_large_fleet_is_counted_by_verdicts() -> None:
    seen = look([served(1)], *[device(f"d{n:03}") for n in range(500)])
    counted = summary(job(), considered(seen), NOW)
    assert counted == "501 of 501 devices could serve it: 500 are free (not worth an installation), 1 is busy"


@given(snapshots())
def test_verdicts_never_contradict_the_plan(seen: Snapshot) -> None:
    """Who gets a job takes it, who gets none does not say so, and every reason is one that the plan had."""
    verdicts = Verdicts(seen)
    takes = {(a.device_id, ulid) for a in plan(seen).assignments for ulid in a.ulids}
    working = {a.device_id for a in plan(seen).assignments}
    for view in (d for d in seen.devices if not d.held):
        for g in (g for g in seen.groups if g.target is view.target):
            for q in (q for q in g.queues if meets(q.requirements, view)):
                for head in q.heads:
                    waiting = job(head.ulid, org_id=g.org_id, requirements=q.requirements, avoid_devices=q.avoid)
                    found = verdicts.of(waiting, (g.org_id, g.gid), view.device_id)
                    taken = (view.device_id, head.ulid) in takes
                    assert (found == TAKES) == taken
                    if found is not None and not found.why:
                        assert view.device_id in working
                    if found is not None and view.installed == (g.org_id, g.app_version_id):
                        assert "installation" not in found.why
