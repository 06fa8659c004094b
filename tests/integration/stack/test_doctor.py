"""`qgjob doctor` over real coordinators, stores and agents: each check is made to fail for real."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from qgjob import AsyncClient, FindingLevel, JobSpec
from qgjob.cli.doctor_findings import Told, judge, worst
from qgjob.cli.doctoring import visit_all
from qgjob.cli.settings import Settings
from qgjob_coordinator.store import keys
from tests.fakes import command_line
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.raw_agent import PROTOCOL_VERSION, RawAgent
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

OK, NOTE, WARNING, PROBLEM = FindingLevel
TIMES = {"HEARTBEAT_SECONDS": 0.2, "SESSION_TIMEOUT_SECONDS": 0.8, "LEASE_SECONDS": 3.0}
VERSION = "0.1.0"


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path / "store", "--appendonly", "yes")
    store.start()
    yield store
    store.stop()


@pytest.fixture
async def own(tmp_path: Path, own_store: StoreProcess) -> AsyncIterator[CoordinatorProcess]:
    """A coordinator that the test may spoil, with short times."""
    process = CoordinatorProcess(tmp_path / "coordinator", own_store.url, **TIMES)
    await asyncio.to_thread(process.start)
    yield process
    process.kill()


async def examine(*addresses: str) -> list[Told]:
    """What the command finds at these addresses."""
    settings = Settings(",".join(addresses), None, None, "json", None)
    return judge(await visit_all(settings), "the test", VERSION)


async def found(check: str, *addresses: str, subject: str | None = None) -> Told:
    """The worst finding of a check, of one subject if given."""
    mine = [f for f in await examine(*addresses) if f.check == check and subject in (None, f.subject)]
    assert mine, f"{check} says nothing"
    return mine[0]


async def becomes(
    level: FindingLevel, check: str, *addresses: str, subject: str | None = None, saying: str = ""
) -> Told:
    """Waits until the worst finding of a check is of that level, and says that."""
    last: list[Told] = []

    async def look() -> Told | None:
        mine = [f for f in await examine(*addresses) if f.check == check and subject in (None, f.subject)]
        last[:] = mine
        return mine[0] if mine and mine[0].level is level and saying in mine[0].found else None

    told: Told = await until(look, lambda: f"{check} is not {level}: {last}")
    if level in (WARNING, PROBLEM):
        assert told.advice
    return told


async def test_a_sound_system_passes_and_every_check_says_something(own: CoordinatorProcess, tmp_path: Path) -> None:
    async with RawAgent(own.target, "raw-1") as agent:
        agent.ahead_ms = 0
        await agent.hello(version=VERSION)
        done = await command_line.qgjob(tmp_path, "doctor", f"--coordinator={own.target}", "-o", "json")
        assert (done.code, done.err) == (0, "")
        told = json.loads(done.out)
        assert told["level"] != "problem"
        assert told["count"] == len(told["findings"])
        assert list(told["findings"][0]) == ["check", "level", "subject", "coordinator", "found", "advice"]
        page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
        listed = {line.split("`")[1] for line in page.splitlines() if line.startswith(("| `store.", "| `coordinator."))}
        listed |= {line.split("`")[1] for line in page.splitlines() if line.startswith(("| `agents.", "| `devices."))}
        listed |= {line.split("`")[1] for line in page.splitlines() if line.startswith(("| `queue.", "| `client."))}
        listed |= {line.split("`")[1] for line in page.splitlines() if line.startswith(("| `blobs.", "| `orgs."))}
        assert {f["check"] for f in told["findings"]} == listed - {"client.answer", "client.stores", "store.reads"}


async def test_a_policy_that_was_made_wrong_is_a_problem_with_its_cure(
    own: CoordinatorProcess, own_store: StoreProcess, tmp_path: Path
) -> None:
    with own_store.client() as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
    done = await command_line.qgjob(tmp_path, "doctor", f"--coordinator={own.target}")
    assert done.code == 1
    first, *rest = done.out.splitlines()
    assert first.startswith("problem store.")
    assert "store.eviction" in done.out
    assert "-> run CONFIG SET maxmemory-policy noeviction" in done.out
    assert rest[-1].endswith(" ok")
    with own_store.client() as redis:
        redis.config_set("maxmemory-policy", "noeviction")
    await becomes(OK, "store.usable", own.target)


async def test_a_store_that_is_stopped_or_hangs(own: CoordinatorProcess, own_store: StoreProcess) -> None:
    own_store.pause()
    hangs = await found("store.usable", own.target)
    own_store.resume()
    assert hangs.level is PROBLEM
    assert "did not answer" in hangs.found
    await becomes(OK, "store.usable", own.target)
    own_store.stop()
    away = await becomes(PROBLEM, "store.usable", own.target)
    assert own_store.url in away.found
    assert away.advice is not None
    checks = {f.check for f in await examine(own.target)}
    assert "coordinator.life" in checks  # what can be known without the store is told
    assert not any(check.startswith(("agents.", "queue.")) for check in checks)
    own_store.start()
    await becomes(OK, "store.usable", own.target)


async def test_a_store_of_another_schema(own: CoordinatorProcess, own_store: StoreProcess) -> None:
    with own_store.client() as redis:
        redis.set(f"{keys.FLEET}schema", "0")
    told = await becomes(PROBLEM, "store.usable", own.target)
    assert "schema 0" in told.found


async def test_a_coordinator_that_stood_still_tells_of_its_loop(own: CoordinatorProcess) -> None:
    assert (await found("coordinator.loop", own.target)).level is not WARNING
    assert own.process is not None
    own.process.send_signal(19)  # SIGSTOP
    stopped = psutil.Process(own.process.pid)
    try:
        await until(lambda: stopped.status() == psutil.STATUS_STOPPED, "it does not stop")
        silent = await found("client.address", own.target)
        assert (silent.level, "says nothing" in silent.found) == (PROBLEM, True)
        await asyncio.sleep(0.5)  # with what the look took it has stood still for more than a second
    finally:
        own.process.send_signal(18)  # SIGCONT
    await becomes(WARNING, "coordinator.loop", own.target)


@pytest.mark.parametrize(
    ("says", "kind"), [(b"\x15\x03\x01\x00\x02\x02\x0a", "TLS"), (b"220 mail\r\n", "does not speak gRPC")]
)
async def test_peers_of_other_kinds_are_named(says: bytes, kind: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(says)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        told = await found("client.address", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (told.level, kind in told.found) == (PROBLEM, True)


async def test_coordinators_of_different_stores(own: CoordinatorProcess, tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "other-store")
    store.start()
    stranger = CoordinatorProcess(tmp_path / "stranger", store.url, **TIMES)
    sibling = CoordinatorProcess(tmp_path / "sibling", own.environ["REDIS_URL"], **TIMES)
    try:
        await asyncio.to_thread(stranger.start)
        await asyncio.to_thread(sibling.start)
        assert (await found("client.stores", own.target, stranger.target)).level is PROBLEM
        assert (await found("client.stores", own.target, sibling.target)).level is OK
        assert (await becomes(OK, "store.coordinators", own.target)).found == "2 coordinators share it"
        alike = [f for f in await examine(own.target, sibling.target) if f.check == "store.eviction"]
        assert len(alike) == 1  # what both say is told once
    finally:
        sibling.kill()
        stranger.kill()
        store.stop()


async def test_settings_that_let_others_in_or_fit_badly(own_store: StoreProcess, tmp_path: Path) -> None:
    loose = CoordinatorProcess(
        tmp_path / "loose", own_store.url, HEARTBEAT_SECONDS=5, SESSION_TIMEOUT_SECONDS=12, DURABILITY="always",
        HOST="0.0.0.0",  # noqa: S104 - that is the point
    )  # fmt: skip
    try:
        await asyncio.to_thread(loose.start)
        assert (await found("coordinator.exposed", loose.target)).level is WARNING
        assert (await found("coordinator.times", loose.target)).level is NOTE
        assert (await found("store.durability", loose.target)).level is WARNING
    finally:
        loose.kill()


# These share a coordinator; agents of one test are away in the next.


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    folder = tmp_path_factory.mktemp("doctor")
    store = StoreProcess(folder / "store")
    store.start()
    process = CoordinatorProcess(folder / "coordinator", store.url, **TIMES)
    try:
        process.start()
        yield process
    finally:
        process.kill()
        store.stop()


async def test_what_else_listens_and_what_does_not(lab: CoordinatorProcess) -> None:
    rest = await found("client.address", f"127.0.0.1:{lab.port}")
    assert (rest.level, "HTTP/1" in rest.found) == (PROBLEM, True)
    assert rest.advice is not None
    assert "the test" in rest.advice  # where the address was set

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert "refused" in (await found("client.address", closed)).found

    assert "does not resolve" in (await found("client.address", "no-such-host.invalid:50051")).found

    both = await examine(lab.target, closed)  # one of two is away: the other one serves
    assert worst(both) is not PROBLEM
    assert (await found("client.address", lab.target, closed)).level is WARNING


async def test_agents_of_other_versions(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "old") as old, RawAgent(lab.target, "new") as new:
        await old.hello(version="0.0.9")
        told = await becomes(WARNING, "agents.version", lab.target)
        assert ("0.0.9" in told.found, "old" in told.found) == (True, True)
        await old.hello(version=VERSION)
        await new.hello(version="9.0.0")
        told = await becomes(WARNING, "agents.version", lab.target, saying="9.0.0")
        assert told.advice is not None
        assert "coordinators" in told.advice


async def test_an_agent_that_is_turned_away_until_it_is_let_in(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "early") as agent:
        await agent.refused(protocol_version=PROTOCOL_VERSION + 1)
        await becomes(WARNING, "agents.refused", lab.target, subject="early", saying="upgrade the coordinator")
        await agent.hello()
        await becomes(OK, "agents.refused", lab.target)


async def test_an_agent_that_comes_and_goes(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "flaps") as agent:
        for _ in range(3):
            await agent.hello()
        assert (await found("agents.sessions", lab.target)).level is OK
        await agent.hello()
        await becomes(WARNING, "agents.sessions", lab.target, subject="flaps")


async def test_clocks_of_agents(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "late") as late, RawAgent(lab.target, "mute") as mute:
        late.ahead_ms = -120_000
        await mute.hello()
        await late.hello()
        told = await becomes(WARNING, "agents.clock", lab.target, subject="late")
        assert "behind" in told.found
        assert all(f.subject != "mute" for f in await examine(lab.target) if f.check == "agents.clock")
        late.ahead_ms = 90_000
        await becomes(WARNING, "agents.clock", lab.target, subject="late", saying="ahead of")


async def test_an_agent_that_is_gone_and_one_that_lost_a_device(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "gone") as gone, RawAgent(lab.target, "there", devices=2) as there:
        await gone.hello()
        await there.hello()
        await gone.leave()
        told = await becomes(WARNING, "agents.online", lab.target, subject="gone")
        assert ("1 device" in told.found, "test" in str(told.advice)) == (True, True)  # its host
        await there.send(inventory={"gone": ["there-2"]})
        assert "is online" in (await becomes(WARNING, "devices.online", lab.target, subject="there-2")).found
    told = await becomes(PROBLEM, "agents.online", lab.target)
    assert "nothing runs" in told.found


async def test_devices_that_people_keep_from_work(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "kept", devices=2) as agent, AsyncClient(lab.target) as client:
        await agent.hello()
        await client.set_device_health("kept-1", "bad", reason="screen is black")
        await client.reserve("kept-2", until=datetime.now(UTC) + timedelta(hours=1), reason="ann looks")
        bad = await becomes(WARNING, "devices.health", lab.target, subject="kept-1")
        assert "screen is black" in bad.found
        held = await becomes(NOTE, "devices.held", lab.target, subject="kept-2")
        assert "ann looks" in held.found
        waits = await client.submit(JobSpec("acme", "v1", "a.js", target="browserstack"))
        assert "no device takes work" in (await becomes(WARNING, "queue.age", lab.target)).found
        await client.release("kept-2")
        await becomes(OK, "devices.held", lab.target)
        await client.cancel(waits.job_id)


async def test_work_that_nothing_could_serve(lab: CoordinatorProcess) -> None:
    async with RawAgent(lab.target, "raw") as agent, AsyncClient(lab.target) as client:
        await agent.hello()
        spec: dict[str, Any] = {"target": "browserstack", "requirements": {"labels": {"rack": "b7"}}}
        await client.submit(JobSpec("acme", "v1", "a.js", **spec))
        told = await becomes(WARNING, "queue.unserved", lab.target, subject="acme")
        assert ("rack=b7" in told.found, "1 job" in told.found) == (True, True)
        await client.set_labels("raw-1", {"rack": "b7"})
        await becomes(OK, "queue.unserved", lab.target)


async def test_work_that_its_second_target_could_serve_is_not_unserved(lab: CoordinatorProcess) -> None:
    """Beside two jobs of the same queue: one has no second target, one has another that nothing serves either."""
    async with RawAgent(lab.target, "second") as agent, AsyncClient(lab.target) as client:
        await agent.hello()
        goes: dict[str, Any] = {"overflow_target": "browserstack", "overflow_after_seconds": 604_800.0}
        nowhere = goes | {"overflow_target": "device"}
        waiting = [JobSpec("acme", "v1", f"{n}.js", target="emulator", **how) for n, how in enumerate((nowhere, {}))]
        jobs = await client.submit_many(waiting)
        others = [JobSpec("acme", "v1", f"b{n}.js", target="emulator", **goes) for n in range(3)]
        served = await client.submit_many(others)
        told = await becomes(WARNING, "queue.unserved", lab.target, subject="acme")
        assert told.found.startswith("2 jobs of v1 on emulator can be served by no device")
        for job in jobs:
            await client.cancel(job.job_id)
        await becomes(OK, "queue.unserved", lab.target)
        for job in served:
            await client.cancel(job.job_id)


async def test_rest_shows_the_same_findings(lab: CoordinatorProcess) -> None:
    shown = json.loads(await asyncio.to_thread(lab.wait_for, "/health/detailed", 200))
    async with AsyncClient(lab.target) as client:
        asked = await client.diagnose()
    assert [f["check"] for f in shown["findings"]] == [f.check for f in asked.findings]
    assert list(shown["findings"][0]) == ["check", "level", "subject", "found", "advice"]
    assert shown["level"] == asked.level.value
    assert asked.coordinator == f"{socket.gethostname()}:{lab.process.pid if lab.process else 0}"
