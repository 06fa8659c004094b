"""A script runs, its reply is lost, and it is sent again: nothing more happens, and the caller can go on.

Most answers are the same again; the others tell that it was done before, which their callers take for the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from redis import Redis

from qgjob_coordinator.model.artifacts import ArtifactKind, Bounds, OfferedFile
from qgjob_coordinator.model.enums import ErrorClass, HoldKind, HoldSlot, Outcome, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.policy.health.record import Kind, Mark, Record
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.artifacts import Expected, KeptFiles
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.health import Kept
from qgjob_coordinator.store.runs import Bond, RunToCancel
from qgjob_coordinator.store.scripts import LUA, Arg
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import Content, NamedBuild
from qgjob_coordinator.store.types.endings import Settled
from qgjob_coordinator.store.types.holds import Forgotten, Held, HoldRule, HoldWord
from qgjob_coordinator.store.types.submissions import BoundTo, Manner
from qgjob_coordinator.store.types.waiting import OverflowWord
from tests.fakes import builds, scenes
from tests.fakes.jobs import NOW, ending, judged, overflowing, release, spec, unresolvable, without_build
from tests.fakes.store_dump import dump

DEVICE = DeviceInfo("emulator-1", "udid", Target.EMULATOR)
LATER = NOW + 60_000
SAME = object()
"""The second answer is the first one."""

Call = Callable[[Store], Awaitable[Any]]


@dataclass(frozen=True)
class Case:
    """A script, the call that runs it, its answer when it is repeated, and what changes nevertheless."""

    script: str
    call: Call
    again: Any = SAME
    may_change: tuple[str, ...] = ()


async def scene(store: Store) -> None:
    """Jobs 1 to 5: waiting with a deadline, running, scheduled, failed for good, and one that waits for its retry.

    Of two more jobs one is in a run that is to be cancelled, and one in a run that is bound to a client.
    """
    await scenes.open_session(store)
    await store.fleet.inventory("agent-1", 1, [DEVICE], [], NOW, complete=True)
    await store._call("HSET", f"{keys.FLEET}dv:emulator-1", "hold", '{"k":"draining","r":null,"u":null}')  # of schema 4
    jobs = [spec(n, queue_timeout_ms=1000 if n == 1 else None, max_retries=1) for n in range(1, 6)]
    await scenes.submit(store, *jobs)
    await scenes.claim(store, jobs[0], *((j.ulid, f"t{n}") for n, j in enumerate(jobs[1:], start=2)))
    await store.leases.start("acme", [(j.ulid, f"t{n}", NOW) for n, j in enumerate(jobs, 1) if n in (2, 4, 5)], NOW)
    endings = [
        unresolvable(jobs[3].ulid, "t4"),
        ending(jobs[4].ulid, "t5", Outcome.TEST_FAILED, share=1.0),
    ]
    await store.leases.finish("acme", endings, NOW)
    for n, run in ((8, "run-1"), (9, "run-2")):
        manner = Manner(bound_to=BoundTo("c1", 60_000) if run == "run-2" else None)
        await store.jobs.submit("acme", [spec(n, run_id=run, supersede="main")], [True], NOW, manner)
    await scenes.submit(store, overflowing(10), overflowing(11))
    await builds.kept(store, builds.build())
    await store.artifacts.expect("acme", [Expected(TWO, 1, "owner")], NOW)
    for text in ("two", "unnamed"):
        await store.builds.expect("acme", builds.digest(text), 3, builds.APK, NOW)


def ids(*numbers: int) -> list[str]:
    return [spec(n).ulid for n in numbers]


ONE, TWO, THREE, FOUR, FIVE, NINE = ids(1, 2, 3, 4, 5, 9)


async def migrating(store: Store, schema: str, script: str, args: list[Arg]) -> Any:
    """What `me` does in the move from schema 4 to 5."""
    await store._call("SET", f"{keys.FLEET}schema", schema)
    await store._call("HSET", f"{keys.FLEET}mg", "who", "me")
    return await store._migrator._runner.run(script, keys.FLEET, args)


async def forget(store: Store) -> Forgotten:
    """What an operator does when a host is gone for good."""
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await scenes.sweep(store, "acme")
    await store.sessions.swept("agent-1", 1, store.epoch, ["acme"])
    return await store.fleet.forget("agent-1", NOW, None, "op-forget")


async def absent(store: Store) -> list[str]:
    await store.fleet.inventory("agent-1", 1, [], ["emulator-1"], NOW, complete=False)
    return await store.fleet.forget_absent(["emulator-1"], LATER, NOW)


WHAT = '[3,"apk","android","device","com.example.app","1.4.2","42"]'


def named() -> NamedBuild:
    """The build of the scene, as it was found there."""
    line = f'[3,"one.apk","apk","com.example.app","1.4.2","42",{NOW}]'
    return NamedBuild(builds.build(), NOW, f"{NOW} NEW {builds.digest('one')} {line}")


BOND = Bond("run-2", "c1", f"60000 {NOW + 1}")
OCCUPIED = Occupancy("emulator-1", TWO, ("acme", "v1"), {"acme": 1}, install_ms=40_000, ran_ms=9000)
FAILED_ONCE = Kept(0, Record((Mark(Kind.INSTALL, ("acme", "eGROUP"), TWO, NOW),), proven=True))
LOG_FILE = OfferedFile("log.txt", ArtifactKind.LOG, builds.digest("log"), 3)
JUST_ENOUGH = Bounds(3, 1)
UNNAMED = Content(builds.digest("unnamed"), 0, NOW, 3, builds.APK, f"0 {NOW} {WHAT}")


async def move_and_stay(store: Store) -> list[OverflowWord]:
    """One job goes to its second target, another one stays, and a third one is past that."""
    return await store.jobs.overflow(
        "acme", [judged(overflowing(10)), judged(overflowing(11), moves=False), judged(overflowing(2))], NOW
    )


WAITED = JobError(ErrorClass.QUEUE_TIMEOUT, "waited too long")


async def end_waiting(store: Store) -> list[Settled | None]:
    """The time of one job is over, another one has no build; one that runs is left alone both times."""
    late = await store.jobs.expire("acme", [(ONE, WAITED), (TWO, WAITED)], LATER)
    without = [without_build(overflowing(10)), without_build(spec(2), 3)]
    return [*late, *await store.jobs.reject("acme", without, NOW)]


CASES = [
    Case("absent", absent),
    Case("admit", lambda s: s.sessions.admit("agent-1", 1, ["acme", "globex"])),
    Case("adopt", lambda s: s.leases.adopt("acme", "agent-1", 2, [(TWO, "t2")], NOW, 0.5), again=([], ["ADOPTED"])),
    Case(
        "artifacts",
        lambda s: s.artifacts.keep("acme", [KeptFiles(TWO, 1, [LOG_FILE])], LATER, JUST_ENOUGH),
    ),
    Case("artifacts_leaving", lambda s: s.artifacts.leave("acme", TWO, NOW, LATER), again=False),
    Case("artifacts_left", lambda s: s.artifacts.left("acme", [TWO])),
    Case("build_expected", lambda s: s.builds.expect("acme", builds.digest("new"), 3, builds.APK, LATER)),
    Case("build_forgotten", lambda s: s.builds.forget(named(), LATER), again=False),
    Case("build_leaving", lambda s: s.builds.leave("acme", UNNAMED, LATER)),
    Case("build_name", lambda s: s.builds.give(builds.build("two", now=LATER), LATER, replace=True)),
    Case("build_used", lambda s: s.builds.used(named(), LATER), again=False),
    Case("cancel", lambda s: s.jobs.cancel("acme", [(ONE, 1), (TWO, 1)], NOW, reason="x", operation_id="op")),
    Case("cancelled", lambda s: s.runs.cancelled("acme", [RunToCancel("run-1", f"{NINE} superseded by run run-2")])),
    Case("claim", lambda s: scenes.claim(s, spec(1), (ONE, "new"))),
    Case("due", lambda s: s.snapshots.due("acme")),
    Case("ending", lambda s: s.runs.take_ending("acme", "one", 5.0)),
    Case("expire", end_waiting, again=[None] * 4),
    Case("finish", lambda s: s.leases.finish("acme", [ending(TWO, "t2", Outcome.TEST_FAILED)], NOW), again="REPLAYED"),
    Case("fleet", lambda s: s.fleet.read()),
    Case("forget", forget),
    Case("health", lambda s: s.health.write("agent-1", 1, {"emulator-1": FAILED_ONCE})),
    Case("holders", lambda s: s.leases.holders("acme", "0")),
    Case("hello", lambda s: s.sessions.hello("life-2")),
    Case("hold", lambda s: s.fleet.set_labels("emulator-1", {"a": "b"}), may_change=("qg:f:{fleet}:store",)),
    Case("holds", lambda s: s.fleet.confirm_holds("agent-1", 1, 3)),
    Case("inventory", lambda s: s.fleet.inventory("agent-1", 1, [], ["emulator-1"], NOW, complete=False)),
    Case("keep", lambda s: s.runs.keep("acme", "run-2", "c1", release=False), may_change=("qg:o:{acme}:bo",)),
    Case("learned", lambda s: s.estimates.read()),
    Case("leave", lambda s: s.registry.leave(["acme", "globex"], LATER)),
    Case("log", lambda s: s.logs.append("acme", [(TWO, "t2", 0, b"line")]), again=["REPLAYED"]),
    Case(
        "migrate",
        lambda s: migrating(s, "4", "migrate", [4, 5, "me", "", 0, ""]),
        again=["MINE", "me", 2],
        may_change=("qg:f:{fleet}:mg",),
    ),
    Case(
        "migrate_holds",
        lambda s: migrating(s, "4>5", "migrate_holds", ["4>5", "me", "agent-1"]),
        again=0,
        may_change=("qg:f:{fleet}:mg",),
    ),
    Case("observe", lambda s: s.sessions.observe("agent-1", 1, 1, "closed"), again=False),
    Case("occupy", lambda s: s.fleet.occupy("agent-1", 1, [OCCUPIED], LATER)),
    Case("open", lambda s: s.sessions.open("agent-1", "agent-1-life", 2, {}, "c-2", ["emulator-1"], LATER)),
    Case("overtaken", lambda s: s.sessions.overtaken("agent-2", 7), again=False),
    Case("part", lambda s: s.runs.part("acme", BOND, "gone"), again=False),
    Case("positions", lambda s: s.reads.positions("acme", ids(1, 2))),
    Case("progress", lambda s: s.leases.progress("acme", [(TWO, "t2", 40)], NOW)),
    Case("promote", lambda s: s.jobs.promote("acme", LATER), again=[]),
    Case("read", lambda s: s.reads.get("acme", ids(1, 2, 9))),
    Case("overflow", move_and_stay),
    Case(
        "release",
        lambda s: s.leases.release("acme", [release(TWO, "t2"), release(THREE, "t3")], NOW),
        again=(["REPLAYED", "STALE"], [None, None]),
    ),
    Case("registry", lambda s: s.registry.all()),
    Case("renew", lambda s: s.sessions.renew("agent-1", 1, LATER), may_change=("qg:f:{fleet}:ag:agent-1",)),
    Case("resolve", lambda s: s.reads.resolve("acme", ids(1, 2, 9))),
    Case("retire", lambda s: s.jobs.retire("acme", Status.FAILED, LATER, 0, 100), again=(0, 0)),
    Case("retry", lambda s: s.jobs.retry("acme", [(FOUR, 1, None)], NOW, operation_id="op")),
    Case("sessions", lambda s: s.sessions.watch()),
    Case("snapshot", lambda s: s.snapshots.org("acme", 8)),
    Case("spare", lambda s: s.sessions.spare("agent-1", 1, 0, ["globex"])),
    Case("start", lambda s: s.leases.start("acme", [(THREE, "t3", NOW)], NOW), again=["REPLAYED"]),
    Case("submit", lambda s: scenes.submit(s, spec(6, test_path=spec(1).test_path, run_id="run-3", supersede="main"))),
    Case("sweep", lambda s: s.leases.sweep("acme", "agent-1", 1, NOW, 0.5), again=[]),
    Case("swept", lambda s: s.sessions.swept("agent-1", 1, 0, ["acme"])),
    Case("tidy", lambda s: s.snapshots.tidy("acme"), again=0),
    Case("unusable", lambda s: s.reads.unusable("acme", ids(1, 2, 9))),
    Case("upload", lambda s: s.uploads.want("a" * 64, "d" * 64, "t" * 16, 60_000)),
]


def test_every_script_is_here() -> None:
    assert sorted(c.script for c in CASES) == sorted(path.stem for path in LUA.glob("*.lua"))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.script)
async def test_a_repeated_script_changes_nothing_more(store: Store, raw: Redis, case: Case) -> None:
    await scene(store)
    first = await case.call(store)
    before = dump(raw)
    second = await case.call(store)
    after = dump(raw)
    changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert changed <= set(case.may_change)
    if case.again == "REPLAYED":
        assert [e.word for e in second] == ["REPLAYED"]
    else:
        assert second == (first if case.again is SAME else case.again)


async def test_a_repeated_submit_answers_with_the_same_jobs(store: Store, raw: Redis) -> None:
    jobs = [spec(n, run_id="run-1") for n in (1, 2)]
    first = await scenes.submit(store, *jobs)
    before = dump(raw)
    assert [s.ulid for s in await scenes.submit(store, *jobs)] == [s.ulid for s in first]
    assert dump(raw) == before


async def hold_device(store: Store, hold: Hold | None, operation: str, rule: HoldRule = HoldRule.NONE) -> Held:
    slot = HoldSlot.RESERVED if hold is None else hold.slot
    return await store.fleet.set_holds("dv", "emulator-1", {slot: hold}, NOW, operation, rule)


async def test_a_repeated_reservation_is_not_refused_because_of_itself_nor_ends_anothers(store: Store) -> None:
    await scene(store)
    one, two = (Hold(HoldKind.RESERVED, name, NOW + 1000) for name in ("one", "two"))
    first = [await hold_device(store, one, "r1", HoldRule.RESERVE) for _ in range(2)]
    assert first == [Held(HoldWord.OK, 1, "agent-1")] * 2
    ended = await hold_device(store, None, "r2", HoldRule.RELEASE)
    assert (await hold_device(store, two, "r3", HoldRule.RESERVE)).word is HoldWord.OK
    assert await hold_device(store, None, "r2", HoldRule.RELEASE) == ended
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    assert row.holds == (two,)


async def test_a_repeated_extension_takes_nothing_back_and_extends_no_other_reservation(store: Store) -> None:
    await scene(store)
    one, two = (Hold(HoldKind.RESERVED, name, NOW + 1000) for name in ("one", "two"))
    longer, shorter = (Hold(HoldKind.RESERVED, None, NOW + ms) for ms in (5000, 500))
    await hold_device(store, one, "e1", HoldRule.RESERVE)
    done = await hold_device(store, longer, "e2", HoldRule.EXTEND)
    await hold_device(store, shorter, "e3", HoldRule.EXTEND)
    assert await hold_device(store, longer, "e2", HoldRule.EXTEND) == done
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    assert row.holds == (Hold(HoldKind.RESERVED, "one", NOW + 500),)
    await hold_device(store, None, "e4", HoldRule.RELEASE)
    await hold_device(store, two, "e5", HoldRule.RESERVE)
    assert await hold_device(store, longer, "e2", HoldRule.EXTEND) == done
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    assert row.holds == (two,)


async def test_a_repeated_hold_is_done_once_and_another_one_and_the_hold_stays_one(store: Store) -> None:
    await scene(store)
    hold = Hold(HoldKind.DRAINING, "lab move", None)
    answers = [await hold_device(store, hold, operation) for operation in ("one", "one", "two")]
    assert answers == [Held(HoldWord.OK, number, "agent-1") for number in (1, 1, 2)]
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    assert row.holds == (hold,)
