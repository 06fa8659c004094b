"""What the facts of a diagnosis are judged to be: each check, from fine to bad."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, HoldKind, Target
from qgjob_coordinator.model.findings import Diagnosis, Finding, Level, worst
from qgjob_coordinator.model.fleet import Agent, Device
from qgjob_coordinator.policy.diagnosis import agents, coordinator, devices, keeping_data, queue, rights, store, words
from qgjob_coordinator.policy.diagnosis.facts import (
    CoordinatorFacts,
    FleetFacts,
    QueueFacts,
    Refusal,
    Replica,
    SlowCall,
    StoreFacts,
    Unserved,
)

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000
GIB = 1 << 30
FINE = StoreFacts(
    server="redis", version=(8, 2, 2), compatible=(8, 2, 2), uptime_seconds=86_400, ping_ms=(0.2,) * 20,
    clock_ahead_ms=0.4, clock_error_ms=0.2, eviction="noeviction", evicted_keys=0, used_bytes=GIB // 4, max_bytes=GIB,
    machine_bytes=8 * GIB, clients=10, max_clients=10_000, aof=True, fsync="everysec", aof_written=True,
    aof_rewritten=True, aof_delayed=0, snapshot_saved=True, primary=True, replicas=(), slow=(), coordinators=2,
)  # fmt: skip
SELF = CoordinatorFacts(
    version="1.2.3", uptime_seconds=60.0, lag_seconds=0.01, stopping=False, host="127.0.0.1", exposed=False,
    store="redis://store", durability="everysec", heartbeat_seconds=5.0, session_timeout_seconds=15.0,
    lease_seconds=60.0,
)  # fmt: skip
AGENT = Agent("a1", AgentState.ONLINE, "1.2.3", "host-1", 1, NOW - HOUR_MS, NOW)
DEVICE = Device(
    "d1", "a1", "u", Target.DEVICE, None, None, None, DeviceState.IDLE, DeviceHealth.GOOD, {}, last_seen_at=NOW
)  # fmt: skip
FLEET = FleetFacts(NOW, [AGENT], [DEVICE])
NOTHING_WAITS = QueueFacts(0, 0, 0.0)


def judged(check: str, found: Iterable[Finding]) -> list[tuple[Level, str | None]]:
    """(level, subject) of what one check found; a warning or a problem says what to do."""
    mine = [f for f in found if f.check == check]
    assert mine, f"{check} says nothing"
    for f in mine:
        assert f.level in (Level.OK, Level.NOTE) or f.advice, f
        assert f.found
    return [(f.level, f.subject) for f in mine]


def of_store(check: str, durability: str = "everysec", **changes: Any) -> Level:
    facts = replace(FINE, **changes)
    ((level, _),) = judged(check, [*store.judge(facts), *keeping_data.judge(facts, durability)])
    return level


def test_a_sound_system_has_nothing_to_say() -> None:
    found = [
        *store.usable(None, {}, "redis://store", 4), *keeping_data.judge(FINE, "everysec"), *store.judge(FINE),
        *rights.judge({"h:1": []}, {}), *coordinator.judge(SELF), *agents.judge(FLEET, "1.2.3"), *devices.judge(FLEET),
        *queue.judge(NOTHING_WAITS, FLEET),
    ]  # fmt: skip
    assert {f.level for f in found} == {Level.OK}
    assert all(f.advice is None for f in found)


@pytest.mark.parametrize(
    ("check", "level", "changes"),
    [
        ("store.latency", Level.OK, {"ping_ms": (0.3,) * 19 + (49.0,)}),
        ("store.latency", Level.NOTE, {"ping_ms": (6.0,) * 20}),
        ("store.latency", Level.WARNING, {"ping_ms": (0.3,) * 19 + (51.0,)}),
        ("store.version", Level.PROBLEM, {"version": (6, 0, 16), "compatible": (6, 0, 16)}),
        ("store.version", Level.NOTE, {"version": (7, 0, 15), "compatible": (7, 0, 15)}),
        ("store.version", Level.OK, {"server": "valkey", "version": (8, 1, 4), "compatible": (7, 2, 4)}),
        ("store.age", Level.NOTE, {"uptime_seconds": 599}),
        ("store.clients", Level.WARNING, {"clients": 8_001}),
        ("store.slow", Level.NOTE, {"slow": None}),
        ("store.slow", Level.OK, {"slow": (SlowCall("the script plan", 900.0, 3_601.0),)}),
        ("store.slow", Level.NOTE, {"slow": (SlowCall("the script plan", 20.0, 60.0),)}),
        ("store.slow", Level.WARNING, {"slow": (SlowCall("KEYS", 251.0, 60.0),)}),
        ("store.clock", Level.OK, {"clock_ahead_ms": -999.0}),
        ("store.clock", Level.OK, {"clock_ahead_ms": 2_900.0, "clock_error_ms": 3_000.0}),
        ("store.clock", Level.NOTE, {"clock_ahead_ms": -1_001.0}),
        ("store.clock", Level.WARNING, {"clock_ahead_ms": 5_001.0}),
        ("store.coordinators", Level.WARNING, {"coordinators": 0}),
        ("store.coordinators", Level.NOTE, {"coordinators": None}),
        ("store.eviction", Level.PROBLEM, {"eviction": "volatile-ttl"}),
        ("store.eviction", Level.WARNING, {"evicted_keys": 3}),
        ("store.memory", Level.OK, {"used_bytes": GIB * 79 // 100}),
        ("store.memory", Level.WARNING, {"used_bytes": GIB * 81 // 100}),
        ("store.memory", Level.PROBLEM, {"used_bytes": GIB * 96 // 100}),
        ("store.memory", Level.WARNING, {"max_bytes": 0, "used_bytes": 7 * GIB}),
        ("store.memory", Level.OK, {"max_bytes": 0, "machine_bytes": 0}),
        ("store.durability", Level.WARNING, {"aof": False}),
        ("store.durability", Level.WARNING, {"fsync": "no"}),
        ("store.durability", Level.NOTE, {"fsync": None}),
        ("store.durability", Level.OK, {"fsync": "always"}),
        ("store.disk", Level.PROBLEM, {"aof_written": False}),
        ("store.disk", Level.WARNING, {"aof_rewritten": False}),
        ("store.disk", Level.WARNING, {"snapshot_saved": False}),
        ("store.disk", Level.NOTE, {"aof_delayed": 1}),
        ("store.disk", Level.OK, {"aof": False, "aof_written": False, "aof_rewritten": False}),
        ("store.replication", Level.PROBLEM, {"primary": False}),
        ("store.replication", Level.OK, {"replicas": (Replica(True, 1), Replica(True, 10))}),
        ("store.replication", Level.WARNING, {"replicas": (Replica(True, 1), Replica(True, 11))}),
        ("store.replication", Level.WARNING, {"replicas": (Replica(False, 0),)}),
    ],
)  # fmt: skip
def test_the_store(check: str, level: Level, changes: dict[str, Any]) -> None:
    assert of_store(check, **changes) is level


COPIED = (Replica(True, 1),)


@pytest.mark.parametrize(
    ("changes", "levels", "words"),
    [
        ({"replicas": COPIED, "wanted_replicas": 1}, [Level.OK], "1 replica that keep up"),
        ({"replicas": (), "wanted_replicas": 1}, [Level.WARNING], "its death loses"),
        ({"replicas": COPIED, "wanted_replicas": 0}, [Level.WARNING], "min-replicas-to-write is 0"),
        ({"replicas": (), "wanted_replicas": 0}, [Level.WARNING], "its death loses"),
        ({"replicas": (Replica(False, 0),), "wanted_replicas": 0}, [Level.WARNING], "away or late"),
        ({"replicas": (Replica(False, 0),), "wanted_replicas": 1}, [Level.WARNING], "away or late"),
        ({"replicas": COPIED, "wanted_replicas": None}, [Level.NOTE], "does not tell"),
        ({"primary": False, "wanted_replicas": 0}, [Level.PROBLEM], "takes no writes"),
    ],
)
def test_a_store_that_is_to_outlive_a_server_is_held_to_it(
    changes: dict[str, Any], levels: list[Level], words: str
) -> None:
    found = keeping_data.judge(replace(FINE, fails_over=True, **changes), "everysec")
    assert [level for level, _ in judged("store.replication", found)] == levels
    assert words in " ".join(f.found for f in found if f.check == "store.replication")


def test_one_server_owes_nobody_replicas() -> None:
    assert of_store("store.replication", replicas=(), wanted_replicas=0) is Level.OK


def test_the_store_is_held_to_the_durability_that_was_asked_for() -> None:
    assert of_store("store.durability", durability="always") is Level.WARNING


@pytest.mark.parametrize(
    ("server", "before", "mended"),
    [
        ("redis", (6, 2, 19), (6, 2, 20)), ("redis", (7, 2, 10), (7, 2, 11)), ("redis", (7, 4, 5), (7, 4, 6)),
        ("redis", (8, 0, 3), (8, 0, 4)), ("redis", (8, 2, 1), (8, 2, 2)), ("valkey", (7, 2, 10), (7, 2, 11)),
        ("valkey", (8, 0, 5), (8, 0, 6)), ("valkey", (8, 1, 3), (8, 1, 4)),
    ],
)  # fmt: skip
def test_releases_with_and_without_the_flaw_in_scripts(
    server: str, before: tuple[int, ...], mended: tuple[int, ...]
) -> None:
    assert not store.lua_mended(server, before)
    assert store.lua_mended(server, mended)


def test_lines_that_were_never_mended_and_those_that_came_later() -> None:
    assert not store.lua_mended("redis", (7, 0, 15))
    assert not store.lua_mended("redis", (6, 0, 20))
    assert store.lua_mended("redis", (8, 4, 0))
    assert store.lua_mended("valkey", (9, 0, 0))
    assert store.lua_mended("some-other", (1, 0, 0))


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("the store is away (connection refused); repeat the call later", "start the store"),
        ("the store is away (name not known); repeat the call later", "mend the host"),
        ("the store is away (no connection in time); repeat the call later", "rediss://"),
        ("the store is away (no TLS connection); repeat the call later", "redis://"),
        ("the store is away (its certificate is not trusted); repeat the call later", "ssl_ca_certs"),
        ("the store is away (no answer in time); repeat the call later", "hangs"),
        ("the store needs a password, and REDIS_URL has none; repeat the call later", "redis://:PASSWORD@"),
        ("the store is away (BusyLoadingError); repeat the call later", "wait"),
        ("the store is away (ReadOnlyError); repeat the call later", "primary"),
        ("the store refuses writes now (MISCONF Redis is configured ...); repeat the call later", "disk"),
        ("the store refuses writes now (its memory is full, up to its maxmemory); ...", "RETENTION_DAYS"),
        ("the store is away (it takes no more connections, up to its maxclients); ...", "CLIENT LIST"),
        ("the store refuses writes now (NOREPLICAS Not enough good replicas to write.); ...", "replica that keeps up"),
        ("the store refuses writes now (a slot moves between nodes of the Cluster for ...); ...", "--cluster fix"),
        ("the store refuses writes now (The cluster is down); repeat the call later", "--cluster check"),
        ("the store refuses writes now (Hash slot not served); repeat the call later", "--cluster check"),
        ("the store is away (slot 7 of the Cluster has no master); repeat the call later", "--cluster check"),
        ("the store is away (a slot of the Cluster has no master); repeat the call later", "--cluster check"),
        ("the store is away (no node of the Cluster answers); repeat the call later", "start the nodes"),
        ("the store is away (no Sentinel answers that knows lab: No such master with that name); ...", "group's name"),
        ("the store is away (h:1 is named by the Sentinels and is no master yet); ...", "CKQUORUM"),
        ("the store is away (h:1 is named by the Sentinels and does not serve: BusyLoadingError); ...", "wait"),
        ("the store refuses the credentials of REDIS_URL (invalid username-password pair ...); ...", "the password"),
        ("the user of REDIS_URL lacks rights in the store (+hset ~qg:*); repeat the call later", "ACL SETUSER"),
        ("the store has schema 4 and is brought to this version's; repeat the call later", "wait"),
        ("did not answer within 2 s", "machine"),
        ("REDIS_URL: the store's maxmemory-policy is allkeys-lru, which ...", "noeviction"),
        ("REDIS_URL: the store has schema 3, this coordinator needs 4; ...", "version of qgjob"),
        ("REDIS_URL: the store is version 6.0.16; qgjob needs 6.2 or newer", "update"),
    ],
)
def test_each_fault_of_the_store_has_its_advice(fault: str, advice: str) -> None:
    (found,) = store.usable(fault, {}, "redis://store", 4)
    assert found.level is Level.PROBLEM
    assert found.advice is not None
    assert advice in found.advice


def test_of_servers_that_are_away_each_is_told_and_not_the_whole() -> None:
    away = {"b:2": "the store is away (no answer in time); repeat", "a:1": "the store is away (connection refused); x"}
    found = store.usable("a:1: the store is away (connection refused); repeat", away, "redis+cluster://a", 4)
    assert [(f.subject, f.level, f.found) for f in found] == [
        ("a:1", Level.PROBLEM, "redis+cluster://a: the store is away (connection refused)"),
        ("b:2", Level.PROBLEM, "redis+cluster://a: the store is away (no answer in time)"),
    ]
    assert [f.advice and f.advice[:15] for f in found] == ["start the store", "look at the sto"]


def test_rights_that_lack_are_told_with_their_server_where_there_are_several() -> None:
    (one,) = rights.judge({"h:1": ["+hset", "~qg:*"]}, {})
    assert (one.level, one.subject, "+hset ~qg:*" in one.found) == (Level.PROBLEM, None, True)
    (other,) = rights.judge({"h:1": [], "h:2": ["+hset"]}, {})
    assert (other.level, other.subject) == (Level.PROBLEM, "h:2")


def test_hints_that_are_refused_are_no_more_than_a_warning() -> None:
    (found,) = rights.judge({"h:1": []}, {"hearing": "&qg:*", "sending": "+publish"})
    assert found.level is Level.WARNING
    assert "hearing: &qg:*, sending: +publish" in found.found
    assert found.advice == rights.HINTS_TO_DO


@pytest.mark.parametrize(
    ("check", "level", "changes"),
    [
        ("coordinator.life", Level.PROBLEM, {"stopping": True}),
        ("coordinator.loop", Level.NOTE, {"lag_seconds": 0.11}),
        ("coordinator.loop", Level.WARNING, {"lag_seconds": 1.1}),
        ("coordinator.exposed", Level.WARNING, {"host": "0.0.0.0", "exposed": True}),  # noqa: S104 - a text
        ("coordinator.times", Level.NOTE, {"session_timeout_seconds": 14.9}),
    ],
)
def test_a_coordinator(check: str, level: Level, changes: dict[str, Any]) -> None:
    assert judged(check, coordinator.judge(replace(SELF, **changes))) == [(level, None)]


OFFLINE = replace(AGENT, state=AgentState.OFFLINE, last_seen_at=NOW - HOUR_MS)
GONE = replace(AGENT, agent_id="a0", state=AgentState.OFFLINE, last_seen_at=NOW - 25 * HOUR_MS)
SECOND = replace(AGENT, agent_id="a2")


@pytest.mark.parametrize(
    ("check", "fleet", "expected"),
    [
        ("agents.online", FleetFacts(NOW, [], []), [(Level.WARNING, None)]),
        ("agents.online", FleetFacts(NOW, [OFFLINE], []), [(Level.PROBLEM, None), (Level.WARNING, "a1")]),
        (
            "agents.online",
            FleetFacts(NOW, [GONE, OFFLINE, SECOND], []),
            [(Level.OK, None), (Level.NOTE, "a0"), (Level.WARNING, "a1")],
        ),
        ("agents.online", FleetFacts(NOW, [replace(AGENT, state=AgentState.DRAINING)], []), [(Level.OK, None)]),
        ("agents.refused", replace(FLEET, refusals=[Refusal("b1", "too old", NOW)]), [(Level.WARNING, "b1")]),
        ("agents.sessions", replace(FLEET, opened={"a1": 3}), [(Level.OK, None)]),
        ("agents.sessions", replace(FLEET, opened={"a1": 4, "a2": 1}), [(Level.WARNING, "a1")]),
        ("agents.starts", replace(FLEET, unstarted={"a1": 3}), [(Level.WARNING, "a1")]),
        ("agents.version", FleetFacts(NOW, [replace(AGENT, version="1.1.9")], []), [(Level.WARNING, None)]),
        ("agents.version", FleetFacts(NOW, [replace(AGENT, version="1.2.2")], []), [(Level.NOTE, None)]),
        ("agents.version", FleetFacts(NOW, [replace(AGENT, version="1.3.0")], []), [(Level.WARNING, None)]),
        ("agents.version", FleetFacts(NOW, [replace(AGENT, version="trunk")], []), [(Level.NOTE, None)]),
        (
            "agents.version",
            FleetFacts(NOW, [replace(AGENT, version="1.0"), replace(SECOND, version="0.9")], []),
            [(Level.WARNING, None), (Level.WARNING, None)],
        ),
        ("agents.version", FleetFacts(NOW, [replace(OFFLINE, version="0.1")], []), [(Level.OK, None)]),
        ("agents.clock", replace(FLEET, clock_ahead_ms={"a1": 1_999.0}), [(Level.OK, None)]),
        ("agents.clock", replace(FLEET, clock_ahead_ms={"a1": -2_001.0}), [(Level.NOTE, "a1")]),
        ("agents.clock", replace(FLEET, clock_ahead_ms={"a1": 10_001.0}), [(Level.WARNING, "a1")]),
    ],
)  # fmt: skip
def test_agents(check: str, fleet: FleetFacts, expected: list[tuple[Level, str | None]]) -> None:
    assert judged(check, agents.judge(fleet, "1.2.3")) == expected


def test_where_no_clock_is_known_none_is_said_to_agree() -> None:
    (clock,) = [f for f in agents.judge(FLEET, "1.2.3") if f.check == "agents.clock"]
    assert (clock.level, clock.found) == (Level.OK, "no agent that is connected to this coordinator tells its clock")


LOST = replace(DEVICE, state=DeviceState.OFFLINE, last_seen_at=NOW - HOUR_MS)
BAD = replace(DEVICE, health=DeviceHealth.BAD, held=HoldKind.BAD, reason="screen is black")
KEPT = replace(DEVICE, state=DeviceState.RESERVED, held=HoldKind.RESERVED, reason="ann looks", until=NOW + HOUR_MS)


@pytest.mark.parametrize(
    ("check", "device", "expected"),
    [
        ("devices.online", LOST, [(Level.OK, None), (Level.WARNING, "d1")]),
        ("devices.online", replace(LOST, agent_id="away"), [(Level.OK, None)]),
        ("devices.health", BAD, [(Level.WARNING, "d1")]),
        ("devices.health", replace(KEPT, health=DeviceHealth.BAD), [(Level.WARNING, "d1")]),
        ("devices.held", BAD, [(Level.OK, None)]),
        ("devices.held", KEPT, [(Level.NOTE, "d1")]),
        ("devices.held", replace(KEPT, held=HoldKind.DRAINING, until=None), [(Level.NOTE, "d1")]),
    ],
)
def test_devices(check: str, device: Device, expected: list[tuple[Level, str | None]]) -> None:
    assert judged(check, devices.judge(replace(FLEET, devices=[device]))) == expected


def judged_runners(*shown: Device) -> list[Finding]:
    """What is said of the runners of devices, of several agents."""
    agents = [replace(AGENT, agent_id=agent_id) for agent_id in {each.agent_id for each in shown}]
    return [f for f in devices.judge(FleetFacts(NOW, agents, shown)) if f.check == "devices.runners"]


def test_where_the_devices_of_a_target_run_tests_in_two_ways_that_is_told() -> None:
    first = replace(DEVICE, labels={"runner": "appwright"})
    more = [replace(first, device_id=f"d{number}", labels={"runner": "command"}, agent_id="a2") for number in (2, 3)]
    (found,) = judged_runners(first, *more)
    assert (found.level, found.subject) == (Level.NOTE, "device")
    assert found.found == "1 device has the runner appwright, 2 devices have the runner command: a job may get either"
    assert "--require=runner=appwright" in (found.advice or "")
    elsewhere = [replace(each, target=Target.EMULATOR) for each in more]
    away = replace(more[0], state=DeviceState.OFFLINE)
    for others in (elsewhere, [away]):
        assert [f.level for f in judged_runners(first, *others)] == [Level.OK]


def test_devices_that_say_no_runner_beside_others_may_pass_tests_without_running_them() -> None:
    real = replace(DEVICE, labels={"runner": "command"})
    unsaid = [replace(DEVICE, device_id=f"d{number}", agent_id="a2") for number in (2, 3)]
    (found,) = judged_runners(real, *unsaid)
    assert (found.level, found.subject) == (Level.WARNING, "device")
    assert found.found == (
        "1 device has the runner command, 2 devices say no runner (simulated, or of an older agent): "
        "a job may get either, and tests may pass on those that say none without being run"
    )
    assert "--require=runner=command" in (found.advice or "")
    assert "1 device says no runner" in judged_runners(real, unsaid[0])[0].found
    assert [f.level for f in judged_runners(*unsaid)] == [Level.OK]  # a fleet that is all simulated is so on purpose
    apart = [replace(each, target=Target.EMULATOR) for each in unsaid]
    assert [f.level for f in judged_runners(real, *apart)] == [Level.OK]


def held(agents: list[Agent], shown: list[Device]) -> list[tuple[str | None, str, str | None]]:
    found = devices.judge(FleetFacts(NOW, agents, shown))
    return [(f.subject, f.found, f.advice) for f in found if f.check == "devices.held"]


def test_an_agent_that_drains_is_told_once_and_not_with_each_of_its_devices() -> None:
    drained = replace(DEVICE, state=DeviceState.DRAINING, held=HoldKind.DRAINING, reason="update")
    shown = [replace(drained, device_id=f"d{n}") for n in range(4)]
    agent = replace(AGENT, state=AgentState.DRAINING)
    whole = "the agent drains with 4 devices until somebody ends it: update"
    assert held([agent], shown) == [("a1", whole, "`qgjob agents resume a1` ends it")]
    own = [("d0", "drains until somebody ends it: update", "`qgjob devices resume d0` ends it")]
    assert held([AGENT], shown[:1]) == own
    other = replace(shown[0], reason="cable")
    told = held([agent], [*shown[1:], other, KEPT])
    assert [subject for subject, _, _ in told] == ["d1", "a1", "a1"]
    assert all("device's own" in str(end) for _, _, end in told[1:])


def test_a_hold_says_who_until_when_and_what_ends_it() -> None:
    (found,) = [f for f in devices.judge(replace(FLEET, devices=[KEPT])) if f.check == "devices.held"]
    assert "ann looks" in found.found
    assert "UTC" in found.found
    assert found.advice is not None
    assert "qgjob devices release d1" in found.advice


@pytest.mark.parametrize(
    ("check", "waiting", "fleet", "expected"),
    [
        ("queue.age", QueueFacts(1, 0, 3_599.0), FLEET, (Level.OK, None)),
        ("queue.age", QueueFacts(1, 0, 3_601.0), FLEET, (Level.NOTE, None)),
        ("queue.age", QueueFacts(2, 1, 5.0), replace(FLEET, devices=[BAD]), (Level.WARNING, None)),
        ("queue.age", QueueFacts(1, 1, 5.0), replace(FLEET, devices=[BAD]), (Level.OK, None)),
        (
            "queue.unserved",
            QueueFacts(3, 0, 5.0, [Unserved("acme", "v1", Target.DEVICE, "platform=ios", 3)]),
            FLEET,
            (Level.WARNING, "acme"),
        ),
    ],
)
def test_the_queue(check: str, waiting: QueueFacts, fleet: FleetFacts, expected: tuple[Level, str | None]) -> None:
    assert judged(check, queue.judge(waiting, fleet)) == [expected]


def test_a_large_fleet_is_told_in_few_findings() -> None:
    lost = [replace(LOST, device_id=f"d{n:03}") for n in range(500)]
    found = [f for f in devices.judge(replace(FLEET, devices=lost)) if f.level is Level.WARNING]
    assert len(found) == 11
    assert "490 more" in found[-1].found
    assert found[-1].advice


def test_several_servers_say_which_is_not_fine_and_what_is_fine_once() -> None:
    full = replace(FINE, used_bytes=GIB)
    found = words.of_servers({"a:1": store.judge(FINE) + keeping_data.judge(full, "everysec"),
                              "b:1": store.judge(FINE) + keeping_data.judge(FINE, "everysec")})  # fmt: skip
    assert judged("store.memory", found) == [(Level.PROBLEM, "a:1")]
    assert judged("store.latency", found) == [(Level.OK, None)]


def test_the_worst_finding_is_the_level_of_a_diagnosis() -> None:
    levels = [Level.OK, Level.PROBLEM, Level.NOTE]
    findings = tuple(Finding("a.b", level, "x") for level in levels)
    assert Diagnosis("c:1", "1", 1, NOW, findings).level is Level.PROBLEM
    assert worst([]) is Level.OK
