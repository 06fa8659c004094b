"""Records of failures in the store: each written once, from what stands there, and ended by an operator's word."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import HoldKind, HoldSlot, Outcome, Status
from qgjob_coordinator.model.fleet import Hold
from qgjob_coordinator.policy.health.record import CLEAN, Kind, Mark, Quarantine, Record
from qgjob_coordinator.store.health import Kept, encode, kept
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.holds import HoldRule, HoldWord
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, spec
from tests.integration.store.test_sessions import connect

MARK = Mark(Kind.INSTALL, ("acme", "eB1"), "job", NOW)
FAILED = Record((MARK,), proven=True)
OUT = Record((MARK,), 2, 0, Quarantine(NOW, NOW + 20_000, "automatic quarantine: …"), proven=True)


@pytest.fixture(autouse=True)
async def _device(store: Store) -> None:
    await connect(store, "agent-1", devices=("d",))


async def write(store: Store, version: int, record: Record, agent: str = "agent-1", epoch: int = 1) -> str | None:
    """One record of the device; the word, None when the session is over."""
    words = await store.health.write(agent, epoch, {"d": Kept(version, record)})
    return None if words is None else words["d"].value


async def there(store: Store) -> Kept:
    """What stands in the store."""
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    return row.kept


marks = st.builds(
    Mark,
    st.sampled_from(Kind),
    st.tuples(st.sampled_from(["acme", "globex"]), st.just("eB1")),
    st.text("ABC", min_size=1, max_size=4),
    st.integers(0, 2**45),
    st.integers(100, 1000).map(lambda n: n / 1000),
    st.booleans(),
)
quarantines = st.builds(Quarantine, st.integers(0, 2**45), st.integers(0, 2**45), st.text(max_size=40))


@given(
    st.builds(
        Record,
        st.lists(marks, max_size=16).map(tuple),
        st.integers(0, 10),
        st.integers(0, 9),
        st.none() | quarantines,
        st.booleans(),
    )
)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    fields = {"record_v": "3", "record": encode(record), "proven": "1" if record.proven else ""}
    if record.clean:
        record = Record(proven=record.proven)
    assert kept(fields) == Kept(3, record)
    assert len(encode(record)) < 3000


async def test_nothing_is_kept_of_a_new_device(store: Store) -> None:
    assert await there(store) == Kept(0, CLEAN)


async def test_a_record_takes_the_place_of_the_one_it_was_made_from(store: Store) -> None:
    assert await write(store, 0, FAILED) == "OK"
    assert await there(store) == Kept(1, FAILED)
    assert await write(store, 0, OUT) == "CHANGED"
    assert await write(store, 1, OUT) == "OK"
    assert await write(store, 1, OUT) == "OK", "its reply was lost"
    assert await there(store) == Kept(2, OUT)
    assert await write(store, 2, Record(proven=True)) == "OK"
    assert await there(store) == Kept(3, Record(proven=True))


async def test_of_two_that_would_double_a_quarantine_one_does(store: Store) -> None:
    await write(store, 0, OUT)
    longer = [Record(OUT.marks, 3, 0, Quarantine(NOW, NOW + 40_000 + n, "again"), proven=True) for n in range(8)]
    words = await asyncio.gather(*(write(store, 1, record) for record in longer))
    assert sorted(word or "" for word in words) == ["CHANGED"] * 7 + ["OK"]
    assert await there(store) == Kept(2, longer[words.index("OK")])


async def test_only_the_session_of_now_writes_and_only_of_its_devices(store: Store) -> None:
    await connect(store, "agent-2", devices=("other",))
    assert await write(store, 0, FAILED, agent="agent-2") == "CHANGED"
    await connect(store, "agent-1", epoch=2, devices=("d",))
    assert await write(store, 0, FAILED, epoch=1) is None
    assert await there(store) == Kept(0, CLEAN)
    assert await write(store, 0, OUT, epoch=2) == "OK"
    await connect(store, "agent-1", epoch=3, devices=("d",))
    assert await there(store) == Kept(1, OUT), "a new session knows what was"


async def tell(store: Store, operation: str, rule: HoldRule = HoldRule.NONE, **holds: Hold | None) -> HoldWord:
    """An operator's words, by slot."""
    words = {HoldSlot(name): hold for name, hold in holds.items()}
    return (await store.fleet.set_holds("dv", "d", words, NOW, operation, rule)).word


async def test_an_operators_resume_clears_the_record_for_good(store: Store) -> None:
    await write(store, 0, OUT)
    for _ in range(2):  # its reply was lost
        assert await tell(store, "op", HoldRule.RESUME, draining=None, health=None) is HoldWord.OK
    assert await there(store) == Kept(2, Record(proven=True))
    assert await write(store, 1, FAILED) == "CHANGED", "what was judged before does not come back"


async def test_an_operators_hold_and_a_quarantine_do_not_end_each_other(store: Store) -> None:
    await write(store, 0, OUT)
    broken = Hold(HoldKind.MAINTENANCE, "battery", NOW + 1000)
    await tell(store, "m", health=broken)
    assert await there(store) == Kept(1, OUT)
    await write(store, 1, FAILED)
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    assert (row.holds, row.kept) == ((broken,), Kept(2, FAILED))


async def test_a_quarantine_can_be_resumed_beside_a_reservation(store: Store) -> None:
    await tell(store, "r", HoldRule.RESERVE, reserved=Hold(HoldKind.RESERVED, "demo", NOW + 1000))
    assert await tell(store, "1", HoldRule.RESUME, draining=None, health=None) is HoldWord.RESERVED
    await write(store, 0, OUT)
    assert await tell(store, "2", HoldRule.RESUME, draining=None, health=None) is HoldWord.OK
    assert (await there(store)).record.quarantine is None


async def test_a_test_that_failed_on_a_suspect_device_is_tried_again_on_another(store: Store) -> None:
    jobs = [spec(n) for n in (1, 2)]
    await store.sessions.admit("agent-1", 1, ["acme"])
    await scenes.submit(store, *jobs)
    await scenes.claim(store, jobs[0], *((j.ulid, f"t{j.ulid}") for j in jobs), device_id="d")
    endings = [
        ending(j.ulid, f"t{j.ulid}", Outcome.TEST_FAILED, elsewhere=elsewhere)
        for j, elsewhere in zip(jobs, (True, False), strict=True)
    ]
    await store.leases.finish("acme", endings, NOW)
    first, second = [await scenes.get(store, j) for j in jobs]
    assert (first.avoid_devices, second.avoid_devices) == (("d",), ())
    assert (first.status, first.retry_count) == (second.status, second.retry_count) == (Status.QUEUED, 1)
