"""Agents and devices that are gone are forgotten, and nothing that is late takes the place of what comes back."""

from __future__ import annotations

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.model.enums import HoldKind, HoldSlot, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.health import Kept
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.holds import ForgetWord, Forgotten, HoldWord
from qgjob_coordinator.store.types.sessions import Opened, OpenWord
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_audit import audit

DAY = 86_400_000
KEEP = 7 * DAY
LATER = NOW + KEEP + 60_000
BEFORE = LATER - KEEP
OK, UNKNOWN, OPEN, LEASES, HEARD, HELD = (Forgotten(word) for word in ForgetWord)
WITH_DEVICES = Forgotten(ForgetWord.OK, ("d1", "d2"))


def device(device_id: str) -> DeviceInfo:
    return DeviceInfo(device_id, f"udid-{device_id}", Target.EMULATOR)


async def show(store: Store, *device_ids: str, epoch: int = 1, now: int = NOW) -> None:
    assert await store.fleet.inventory("agent-1", epoch, [device(d) for d in device_ids], [], now, complete=True)


async def gone(store: Store, epoch: int = 1, *, swept: bool = True) -> None:
    """An agent of two devices whose session is over."""
    await scenes.open_session(store, epoch=epoch)
    await show(store, "d1", "d2", epoch=epoch)
    assert await store.sessions.observe("agent-1", epoch, -1, "closed")
    if swept:
        await scenes.sweep(store, "acme", epoch=epoch)
        assert await store.sessions.swept("agent-1", epoch, store.epoch, ["acme"])


async def forget(store: Store, now: int = LATER) -> Forgotten:
    """As retention does."""
    answer = await store.fleet.forget("agent-1", now, now - KEEP)
    return Forgotten(answer.word, tuple(sorted(answer.devices)))


async def hold(store: Store, kind: str, id_: str, word: Hold) -> None:
    assert (await store.fleet.set_holds(kind, id_, {word.slot: word}, NOW, "")).word is HoldWord.OK


def left(raw: Redis) -> set[str]:
    """What the fleet has of agents and devices."""
    return {k.removeprefix(keys.FLEET) for k in raw.keys(f"{keys.FLEET}*")} & {
        "agents", "ag:agent-1", "ao:agent-1", "da:agent-1", "dv:d1", "dv:d2", "sw", "fe:agent-1"
    }  # fmt: skip


# ---- agents ----


async def test_an_agent_that_was_not_heard_for_long_is_forgotten_with_all_that_was_said_of_it(
    store: Store, raw: Redis
) -> None:
    await gone(store)
    over = Hold(HoldKind.RESERVED, "for a demo", NOW + 1000)
    await hold(store, "dv", "d1", over)
    await hold(store, "ag", "agent-1", Hold(HoldKind.DRAINING, None, NOW + 1000))
    assert await store.fleet.set_labels("d2", {"room": "2"})
    assert await forget(store) == WITH_DEVICES
    assert left(raw) == {"fe:agent-1"}
    assert 0 < raw.pttl(f"{keys.FLEET}fe:agent-1") <= keys.FORGOTTEN_TTL_MS
    assert await store.fleet.read() == []
    assert (await store.sessions.watch()) == ([], [])
    assert audit(raw) == []
    assert await forget(store) == UNKNOWN


@pytest.mark.parametrize("state", ["open", "timed_out", "detached"])
async def test_an_agent_whose_session_is_not_closed_stays(store: Store, raw: Redis, state: str) -> None:
    await scenes.open_session(store)
    assert state == "open" or await store.sessions.observe("agent-1", 1, -1, state)
    await store.sessions.spare("agent-1", 1, store.epoch, ["acme"])
    before = left(raw)
    assert await forget(store) == OPEN
    assert left(raw) == before


async def test_an_agent_whose_sweep_is_to_come_stays(store: Store) -> None:
    await scenes.open_session(store, orgs=())
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    assert await forget(store) == LEASES


async def test_an_agent_that_may_have_leases_stays(store: Store, raw: Redis) -> None:
    await gone(store)
    raw.sadd(f"{keys.FLEET}ao:agent-1", "globex")
    assert await forget(store) == LEASES


async def test_an_agent_that_was_heard_lately_stays(store: Store) -> None:
    await gone(store)
    assert await forget(store, NOW + KEEP) == HEARD


@pytest.mark.parametrize("until", [None, LATER + 1])
@pytest.mark.parametrize(("kind", "id_"), [("ag", "agent-1"), ("dv", "d2")])
async def test_what_a_person_keeps_from_work_is_still_kept_when_it_is_back(
    store: Store, kind: str, id_: str, until: int | None
) -> None:
    await gone(store)
    await hold(store, kind, id_, Hold(HoldKind.DRAINING, "its disk is to be replaced", until))
    assert await forget(store) == HELD


async def test_a_word_on_a_devices_health_keeps_it_too(store: Store) -> None:
    await gone(store)
    await hold(store, "dv", "d1", Hold(HoldKind.BAD, "its screen is broken"))
    assert await forget(store) == HELD


async def test_a_person_may_have_an_agent_forgotten_at_once_and_its_holds_with_it(store: Store, raw: Redis) -> None:
    await gone(store)
    for slot_of in (Hold(HoldKind.DRAINING, None), Hold(HoldKind.BAD, "x")):
        await hold(store, "dv", "d1", slot_of)
    assert {slot.value for slot in HoldSlot} >= {"draining", "health"}
    done = await store.fleet.forget("agent-1", NOW, None, "op-1")
    assert done.word is ForgetWord.OK
    assert set(done.devices) == {"d1", "d2"}
    assert left(raw) == {"fe:agent-1"}
    assert await store.fleet.forget("agent-1", NOW, None, "op-1") == done
    assert await store.fleet.forget("agent-1", NOW, None, "op-2") == UNKNOWN


# ---- what comes late, and what comes back ----


async def test_a_session_that_was_forgotten_writes_nothing(store: Store, raw: Redis) -> None:
    await gone(store, 3)
    await scenes.submit(store, spec(1))
    assert await forget(store) == WITH_DEVICES
    before = left(raw)
    assert not await store.sessions.admit("agent-1", 3, ["acme"])
    assert await store.sessions.renew("agent-1", 3, LATER) is None
    assert not await store.sessions.observe("agent-1", 3, -1, "detached")
    assert not await store.sessions.spare("agent-1", 3, store.epoch, ["acme"])
    assert not await store.sessions.swept("agent-1", 3, store.epoch, ["acme"])
    assert not await store.fleet.inventory("agent-1", 3, [device("d1")], [], LATER, complete=True)
    assert not await store.fleet.occupy("agent-1", 3, [Occupancy("d1", spec(1).ulid)], LATER)
    assert await store.health.write("agent-1", 3, {"d1": Kept()}) is None
    await store.fleet.confirm_holds("agent-1", 3, 1)
    claimed = await scenes.claim(store, spec(1), epoch=3)
    assert (claimed.word, claimed.floor) == ("STALE", 4), "the org's floor stays"
    assert left(raw) == before
    assert audit(raw) == []


async def test_an_open_that_comes_late_does_not_bring_back_what_was_forgotten(store: Store, raw: Redis) -> None:
    """Its reply was lost, and its coordinator stood still until the session was given up and forgotten."""
    await gone(store, 3)
    assert await forget(store) == WITH_DEVICES
    again = await store.sessions.open("agent-1", "agent-1-life", 3, {}, "c-1", [], NOW + 3)
    assert again == Opened(OpenWord.STALE, 3, "")
    assert left(raw) == {"fe:agent-1"}


async def test_an_agent_that_comes_back_is_asked_for_all_orgs_and_works(store: Store, raw: Redis) -> None:
    """It raises the epoch on its own disk, and the fleet does not know any more where it had leases."""
    await gone(store, 3)
    assert await forget(store) == WITH_DEVICES
    raw.sadd(f"{keys.FLEET}orgs", "acme", "globex")
    await scenes.open_session(store, epoch=4, orgs=())
    assert await store.agent_orgs("agent-1") == {"acme", "globex"}
    await show(store, "d1", epoch=4, now=LATER)
    assert await store.sessions.admit("agent-1", 4, ["acme"])
    job = await scenes.running(store, epoch=4)
    assert (await scenes.get(store, job)).status is Status.RUNNING
    assert not raw.exists(f"{keys.FLEET}fe:agent-1")
    assert audit(raw) == []


async def test_a_host_that_lost_its_disk_goes_on_above_the_epoch_that_was_forgotten(store: Store) -> None:
    """Else its fourth session would be the third of before to all that is late."""
    await gone(store, 3)
    assert await forget(store) == WITH_DEVICES
    refused = await store.sessions.open("agent-1", "h2.1", 1, {}, "c-1", [], LATER)
    assert refused == Opened(OpenWord.STALE, 3, "")
    assert (await store.sessions.open("agent-1", "h2.1", 4, {}, "c-1", [], LATER)).word is OpenWord.OPENED


async def test_a_lease_that_an_org_has_again_is_found_and_no_session_opens_below_what_was_forgotten(
    store: Store,
) -> None:
    """The org's server went back to before the sweep, and the fleet's did not."""
    await gone(store, 5)
    assert await forget(store) == WITH_DEVICES
    assert await store.sessions.overtaken("agent-1", 4)
    assert await store.sessions.open("agent-1", "agent-1-life", 5, {}, "c-1", [], LATER) == Opened(
        OpenWord.STALE, 5, ""
    )
    assert [row.state for row in (await store.sessions.watch())[1]] == ["timed_out"]


async def test_a_new_life_of_the_store_asks_nothing_of_what_was_forgotten(store: Store) -> None:
    await store.sessions.hello("life-1")
    _, store.epoch, _ = await store.sessions.hello("life-1")
    await gone(store)
    assert await forget(store) == WITH_DEVICES
    await store.sessions.hello("life-2")
    assert await store.sessions.watch() == ([], [])
    assert await store.agent_orgs("agent-1") == set()


# ---- devices ----


async def test_a_device_that_is_not_shown_for_long_is_forgotten(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    await show(store, "d1", "d2")
    await show(store, "d1")
    assert await store.fleet.forget_absent(["d2"], NOW, NOW - KEEP) == []
    assert await store.fleet.forget_absent(["d2"], NOW + KEEP, NOW) == []
    assert await store.fleet.forget_absent(["d2"], NOW + KEEP + 1, NOW + 1) == ["d2"]
    assert await store.fleet.forget_absent(["d2"], NOW + KEEP + 1, NOW + 1) == []
    assert left(raw) == {"agents", "ag:agent-1", "ao:agent-1", "da:agent-1", "dv:d1"}
    assert audit(raw) == []


async def test_a_device_that_is_shown_again_is_gone_anew_when_it_goes(store: Store) -> None:
    await scenes.open_session(store)
    await show(store, "d1", "d2")
    await show(store, "d1")
    await store.fleet.forget_absent(["d2"], NOW, NOW - KEEP)
    await show(store, "d1", "d2")
    for now in (LATER, LATER + KEEP + 1):
        assert await store.fleet.forget_absent(["d1", "d2"], now, now - KEEP) == []
    await show(store, "d1")
    found = [await store.fleet.forget_absent(["d2"], now, now - KEEP) for now in (LATER, LATER + KEEP + 1)]
    assert found == [[], ["d2"]]


async def test_a_device_that_a_hold_keeps_stays(store: Store) -> None:
    await scenes.open_session(store)
    await show(store, "d1", "d2")
    await hold(store, "dv", "d2", Hold(HoldKind.BAD, "its screen is broken", LATER + 1000))
    await show(store, "d1")
    await store.fleet.forget_absent(["d2"], NOW, NOW - KEEP)
    assert await store.fleet.forget_absent(["d2"], LATER, BEFORE) == []
    assert await store.fleet.forget_absent(["d2"], LATER + 1000, BEFORE + 1000) == ["d2"]


async def test_a_device_that_goes_to_another_agent_is_not_taken_for_gone_before_that_shows_it(store: Store) -> None:
    """Between the opening of its session and its inventory."""
    await scenes.open_session(store)
    await show(store, "d1", "d2")
    await show(store, "d1")
    await store.fleet.forget_absent(["d2"], NOW, NOW - KEEP)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    await store.sessions.open("agent-2", "h2.1", 1, {}, "c-1", ["d2"], LATER)
    assert await store.fleet.forget_absent(["d2"], LATER, BEFORE) == []
    assert await store.fleet.inventory("agent-2", 1, [], [], LATER, complete=True)
    assert await store.fleet.forget_absent(["d2"], LATER, BEFORE) == [], "it is gone from there since a moment"
    assert [d.info.device_id for row in await store.fleet.read(["agent-2"]) for d in row.devices] == ["d2"]


# ---- the loop ----


async def test_retention_forgets_what_is_gone_and_says_so(store: Store, raw: Redis) -> None:
    await gone(store)
    await scenes.open_session(store, "agent-2")
    shown = [device("e1"), device("e2")]
    assert await store.fleet.inventory("agent-2", 1, shown, [], NOW, complete=True)
    assert await store.fleet.inventory("agent-2", 1, shown[:1], [], NOW, complete=True)
    retention = Retention(store, KEEP, faults=OrgFaults())
    with capture_logs() as lines:
        await retention.look(NOW + KEEP)  # the agent was heard at NOW + 1
    assert lines == []
    with capture_logs() as lines:
        await retention.look(LATER)
    assert lines == [{"event": "agent_forgotten", "log_level": "info", "agent_id": "agent-1", "devices": 2}]
    with capture_logs() as lines:
        await retention.look(NOW + 2 * KEEP + 1)
    assert lines == [{"event": "device_forgotten", "log_level": "info", "device_id": "e2"}]
    rows = await store.fleet.read()
    assert [(row.agent_id, [d.info.device_id for d in row.devices]) for row in rows] == [("agent-2", ["e1"])]
    assert audit(raw) == []


async def test_retention_takes_the_devices_that_a_host_has_lost_though_a_hold_keeps_the_host(store: Store) -> None:
    await scenes.open_session(store)
    await show(store, "d1", "d2")
    await show(store, "d1")
    await hold(store, "ag", "agent-1", Hold(HoldKind.DRAINING, None))
    retention = Retention(store, KEEP, faults=OrgFaults())
    await retention.look(NOW)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    await scenes.sweep(store, "acme")
    assert await store.sessions.swept("agent-1", 1, store.epoch, ["acme"])
    await retention.look(LATER)
    (row,) = await store.fleet.read()
    assert [d.info.device_id for d in row.devices] == ["d1"]
