"""Sessions of agents, and the devices that they show."""

from __future__ import annotations

from dataclasses import replace

from qgjob_coordinator.model.enums import HoldKind, HoldSlot, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.policy.health.record import Record, quarantined
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.health import Kept
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import Opened, OpenWord
from tests.fakes.jobs import NOW

CLOSED = "closed"


def device(device_id: str) -> DeviceInfo:
    return DeviceInfo(device_id, f"udid-{device_id}", Target.EMULATOR)


async def connect(
    store: Store, agent_id: str, epoch: int = 1, devices: tuple[str, ...] = (), instance: str = ""
) -> Opened:
    instance = instance or f"{agent_id}-life"
    opened = await store.sessions.open(agent_id, instance, epoch, {"host": "h"}, "c-1", devices, NOW + epoch)
    if opened.word is OpenWord.OPENED:
        shown = [device(d) for d in devices]
        assert await store.fleet.inventory(agent_id, epoch, shown, [], NOW, complete=True)
    return opened


async def close(store: Store, agent_id: str, epoch: int = 1) -> None:
    assert await store.sessions.observe(agent_id, epoch, -1, CLOSED)


async def devices_of(store: Store, agent_id: str) -> list[str]:
    return [d.info.device_id for row in await store.fleet.read([agent_id]) for d in row.devices]


async def test_an_open_whose_reply_was_lost_is_opened_again(store: Store) -> None:
    args = ("agent-1", "life", 1, {}, "c-1", [], NOW)
    assert [(await store.sessions.open(*args)).word for _ in range(2)] == ["OPENED", "OPENED"]
    _, rows = await store.sessions.watch()
    assert [(r.epoch, r.counter) for r in rows] == [(1, 1)]


async def test_the_same_epoch_from_another_call_is_stale(store: Store) -> None:
    await store.sessions.open("agent-1", "life", 3, {}, "c-1", [], NOW)
    other_coordinator = await store.sessions.open("agent-1", "life", 3, {}, "c-2", [], NOW)
    later = await store.sessions.open("agent-1", "life", 3, {}, "c-1", [], NOW + 1)
    assert [other_coordinator, later] == [Opened(OpenWord.STALE, 3, "")] * 2


async def test_a_refused_open_takes_no_devices_away(store: Store) -> None:
    await connect(store, "agent-1", devices=("free",))
    await connect(store, "agent-2", devices=("taken",))
    await close(store, "agent-1")
    refused = await connect(store, "agent-3", devices=("free", "taken"))
    assert refused == Opened(OpenWord.DEVICE, 0, "taken agent-2")
    assert await devices_of(store, "agent-1") == ["free"]


async def test_a_device_moves_to_the_agent_that_shows_it_when_its_old_agent_is_gone(store: Store) -> None:
    await connect(store, "agent-1", devices=("d",))
    await close(store, "agent-1")
    await connect(store, "agent-2", devices=("d",))
    assert (await devices_of(store, "agent-1"), await devices_of(store, "agent-2")) == ([], ["d"])


async def test_what_was_said_of_a_device_moves_with_it_when_its_new_agent_connects(store: Store) -> None:
    assert (await connect(store, "agent-1", devices=("d1",))).word == "OPENED"
    out = quarantined(Record(), 1, NOW, NOW + 10, "why")
    assert await store.health.write("agent-1", 1, {"d1": Kept(0, out)}) == {"d1": "OK"}
    await store.fleet.set_holds("dv", "d1", {HoldSlot.RESERVED: Hold(HoldKind.RESERVED, "demo")}, NOW, "op")
    await close(store, "agent-1")
    assert (await connect(store, "agent-2", devices=("d1",))).word == "OPENED"
    (row,) = next(a.devices for a in await store.fleet.read() if a.agent_id == "agent-2")
    assert (row.kept.record, [h.reason for h in row.holds], row.present) == (out, ["demo"], True)
    assert await devices_of(store, "agent-1") == []


async def test_a_closed_session_says_nothing_of_devices_any_more(store: Store) -> None:
    await connect(store, "agent-1", devices=("d",))
    await close(store, "agent-1")
    await connect(store, "agent-2", devices=("d",))
    assert not await store.fleet.inventory("agent-1", 1, [device("d")], [], NOW, complete=False)
    assert not await store.fleet.occupy("agent-1", 1, [Occupancy("d", "acme~x")], NOW)
    assert await devices_of(store, "agent-2") == ["d"]
    assert await devices_of(store, "agent-1") == []


async def test_a_report_of_a_device_that_is_not_the_agents_changes_nothing(store: Store) -> None:
    await connect(store, "agent-1", devices=("mine",))
    await connect(store, "agent-2", devices=("yours",))
    rows = [
        Occupancy("unknown", "acme~x"),
        Occupancy("yours", "acme~x", ("acme", "v1"), {"acme": 1}),
        Occupancy("mine", "acme~x"),
    ]
    assert await store.fleet.occupy("agent-1", 1, rows, NOW)
    (yours,) = (await store.fleet.read(["agent-2"]))[0].devices
    (mine,) = (await store.fleet.read(["agent-1"]))[0].devices
    assert (yours.job_id, yours.info.app_version_id, yours.installs, mine.job_id) == (None, None, 0, "acme~x")


async def test_since_when_a_build_lies_on_a_device_holds_while_that_build_lies_there(store: Store) -> None:
    """An agent shows something else, or an older coordinator writes an installation without its time."""
    await connect(store, "agent-1", devices=("d",))

    async def since() -> int:
        return (await store.fleet.read(["agent-1"]))[0].devices[0].installed_at

    assert await since() == 0
    await store.fleet.occupy("agent-1", 1, [Occupancy("d", "acme~x", ("acme", "v1"), installed_at=NOW - 7)], NOW)
    await store.fleet.occupy("agent-1", 1, [Occupancy("d", None)], NOW + 1)
    assert await since() == NOW - 7
    same, other = (replace(device("d"), org_id="acme", app_version_id=version) for version in ("v1", "v2"))
    await store.fleet.inventory("agent-1", 1, [same], [], NOW, complete=False)
    assert await since() == NOW - 7
    await store.fleet.inventory("agent-1", 1, [other], [], NOW, complete=False)
    assert await since() == 0


async def test_a_plugged_in_device_that_a_living_agent_has_stays_there(store: Store) -> None:
    await connect(store, "agent-1", devices=("d",))
    await connect(store, "agent-2")
    assert await store.fleet.inventory("agent-2", 1, [device("d"), device("e")], [], NOW, complete=False)
    assert await devices_of(store, "agent-1") == ["d"]
    assert await devices_of(store, "agent-2") == ["e"]


async def test_two_hosts_with_one_agent_id_the_living_one_is_kept(store: Store) -> None:
    await connect(store, "agent-1", epoch=4)
    assert await connect(store, "agent-1", epoch=9, instance="twin") == Opened(OpenWord.IN_USE, 4, "agent-1-life")
    assert await store.sessions.observe("agent-1", 4, -1, "timed_out")
    assert (await connect(store, "agent-1", epoch=9, instance="twin")).word is OpenWord.OPENED


async def test_a_refusal_names_the_stored_epoch_so_that_a_lost_epoch_file_is_jumped_over(store: Store) -> None:
    await connect(store, "agent-1", epoch=41)
    assert await connect(store, "agent-1", epoch=1) == Opened(OpenWord.STALE, 41, "")


async def test_a_heartbeat_after_the_time_out_opens_the_session_again_but_not_after_the_close(store: Store) -> None:
    await connect(store, "agent-1")
    assert await store.sessions.observe("agent-1", 1, 1, "timed_out")
    assert not await store.sessions.admit("agent-1", 1, ["acme"])
    assert await store.sessions.renew("agent-1", 1, NOW) is not None
    assert await store.sessions.admit("agent-1", 1, ["acme"])
    await close(store, "agent-1")
    assert await store.sessions.renew("agent-1", 1, NOW) is None


async def test_an_observer_whose_counter_moved_expires_nothing(store: Store) -> None:
    await connect(store, "agent-1")
    assert await store.sessions.renew("agent-1", 1, NOW) is not None
    assert not await store.sessions.observe("agent-1", 1, 1, CLOSED)
    assert await store.sessions.renew("agent-1", 1, NOW) is not None


async def test_a_closed_session_stays_in_the_list_until_it_is_swept(store: Store) -> None:
    await connect(store, "agent-1")
    assert await store.sessions.admit("agent-1", 1, ["acme", "globex"])
    await close(store, "agent-1")
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]
    assert await store.sessions.swept("agent-1", 1, store.epoch, ["acme", "globex"])
    assert (await store.sessions.watch())[0] == []
    assert await store.agent_orgs("agent-1") == set()


async def test_an_agent_s_set_is_left_with_the_orgs_where_it_holds_something(store: Store) -> None:
    """After a new life of the store every org is in it."""
    await connect(store, "agent-1")
    assert await store.sessions.admit("agent-1", 1, ["acme", "globex"])
    assert not await store.sessions.spare("agent-1", 1, store.epoch + 1, ["acme"]), "the set is of another life"
    assert not await store.sessions.spare("agent-1", 2, store.epoch, ["acme"]), "the session is not the current one"
    assert await store.agent_orgs("agent-1") == {"acme", "globex"}
    assert await store.sessions.spare("agent-1", 1, store.epoch, ["acme"])
    assert await store.agent_orgs("agent-1") == {"globex"}


async def test_an_org_that_is_admitted_again_stays_when_the_same_sparing_arrives_once_more(store: Store) -> None:
    """A copy that the network kept back comes behind the session's first claim there: no reaper would know of it."""
    await connect(store, "agent-1", epoch=1)
    assert await store.sessions.admit("agent-1", 1, ["acme"])
    await connect(store, "agent-1", epoch=2)
    assert await store.sessions.spare("agent-1", 2, store.epoch, ["acme"])
    assert await store.sessions.admit("agent-1", 2, ["acme"])
    assert await store.sessions.spare("agent-1", 2, store.epoch, ["acme"]), "what was done is answered as before"
    assert await store.agent_orgs("agent-1") == {"acme"}
    await connect(store, "agent-1", epoch=3)
    assert await store.sessions.spare("agent-1", 3, store.epoch, ["acme"])
    assert await store.agent_orgs("agent-1") == set(), "each session may once"


async def test_a_newer_session_keeps_the_orgs_that_a_late_reaper_swept(store: Store) -> None:
    await connect(store, "agent-1")
    assert await store.sessions.admit("agent-1", 1, ["acme"])
    await close(store, "agent-1")
    await connect(store, "agent-1", epoch=2)
    assert not await store.sessions.swept("agent-1", 1, store.epoch, ["acme"])
    assert await store.agent_orgs("agent-1") == {"acme"}
