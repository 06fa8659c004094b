"""Several coordinators on one port: whichever a connection reaches serves everything; their parent keeps them alive."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from qgjob import AsyncClient, DeviceState, Job, JobStatus, Outcome, WatchEventKind, _transport
from tests.fakes.plain_http import NO_TLS
from tests.fakes.program import Program
from tests.fakes.stack import Stack, Times, alive
from tests.fakes.waiting import until
from tests.integration.stack.conftest import keeps_promises
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running, simulated

PROCESSES = 3
HUNG_SECONDS = 4.0
EXIT_FAILED = 1
EXIT_USAGE = 2
HANG = """
import os, signal, sys, time
def hang(number, frame):
    time.sleep(3600)  # in the event loop, where everything else waits for it
if "--child" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, hang)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def family(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One coordinator of several processes, two pairs of agents."""
    folder = tmp_path_factory.mktemp("family")
    (folder / "sitecustomize.py").write_text(HANG)
    path = f"{folder}:{os.environ.get('PYTHONPATH', '')}"
    times = Times(heartbeat=0.5, session=HUNG_SECONDS * 1.5, lease=HUNG_SECONDS * 3)
    stack = Stack(folder, coordinators=1, processes=PROCESSES, times=times, PYTHONPATH=path)
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
async def stack(family: Stack, org: str) -> AsyncIterator[Stack]:
    """The family, all of it serving. Afterwards every job of the test's org has kept the promises."""
    await until(lambda: len(family.pids(0)) == PROCESSES, "not all processes run")
    await family.online(*family.agents)
    yield family
    await keeps_promises(family, org)


@pytest.fixture(autouse=True)
def _own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client gets a connection of its own, as clients in different processes do."""
    options = (*_transport.CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1))
    monkeypatch.setattr(_transport, "CHANNEL_OPTIONS", options)


def process_of(stack: Stack, agent_id: str) -> int:
    """Which process holds the agent's session."""
    last = stack.coordinators[0].events("session_opened", agent_id=agent_id)[-1]
    process: int = last["process"]
    return process


async def served_by(stack: Stack, client: AsyncClient, org: str) -> tuple[Job, int]:
    """A new job of this client, and which process took it."""
    job = await client.submit(simulated(org)[0])
    line = await stack.coordinators[0].says("job_queued", job_id=job.job_id)
    return job, line["process"]


@asynccontextmanager
async def away_from(stack: Stack, org: str, agent_id: str) -> AsyncIterator[AsyncClient]:
    """A client that is served by another process than the one that holds the agent's session."""
    while True:
        async with stack.client(0) as client:
            if (await served_by(stack, client, org))[1] != process_of(stack, agent_id):
                yield client
                return


async def test_connections_are_spread_over_all_and_each_serves(stack: Stack, org: str) -> None:
    seen: set[int] = set()
    jobs = []
    async with asyncio.timeout(20):
        while seen != set(range(1, PROCESSES + 1)):
            async with stack.client(0) as client:
                job, process = await served_by(stack, client, org)
            jobs.append(job)
            seen.add(process)
    async with stack.client(0) as client:
        done = await client.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert {job.outcome for job in done} == {Outcome.PASSED}


async def test_p5_a_cancel_at_one_process_kills_what_an_agent_of_another_runs(
    stack: Stack, org: str, tmp_path: Path
) -> None:
    script = f"setsid sleep 60 & echo $! > {tmp_path}/grandchild; {holding(tmp_path)}"
    async with away_from(stack, org, "cmd-1") as client:
        job = await client.submit(command(org, script, requirements=pinned("cmd-1-1")))
        tree = [*await pids(tmp_path), int((tmp_path / "grandchild").read_text())]
        verdict = await client.cancel(job.job_id)
    assert verdict.outcome is Outcome.CANCELLED
    await until(lambda: not any(alive(pid) for pid in tree), "the tree lives on")
    (line,) = stack.coordinators[0].events("job_cancelled", job_id=job.job_id)
    assert line["process"] != process_of(stack, "cmd-1")


async def test_a_drain_at_one_process_holds_for_an_agent_of_another_when_it_returns(stack: Stack, org: str) -> None:
    async with away_from(stack, org, "sim-1") as client:
        jobs = await client.submit_many(simulated(org, 24, requirements=pinned("sim-1-1")))
        await reach(client, jobs[0].job_id, JobStatus.COMPLETED)
        (device,) = await client.drain(device_id="sim-1-1")
        returned = datetime.now(UTC)
        assert device.state is DeviceState.DRAINING

        async def idle() -> bool:
            found = [job async for job in client.list(org)]
            return not any(job.status in (JobStatus.SCHEDULED, JobStatus.RUNNING) for job in found)

        await until(idle, "the drained device does not come to rest")
        held = [await client.get(job.job_id) for job in jobs]
        assert JobStatus.QUEUED in {job.status for job in held}
        assert max(a.started_at for job in held for a in job.attempts if a.started_at is not None) <= returned
        await client.resume(device_id="sim-1-1")
        done = await client.wait([job.job_id for job in jobs], timeout_seconds=20)
    assert {job.outcome for job in done} == {Outcome.PASSED}


async def test_a_job_is_watched_and_its_log_followed_at_another_process_than_its_agents(
    stack: Stack, org: str, tmp_path: Path
) -> None:
    script = f"echo first; {holding(tmp_path)}; echo second"
    job: Job | None = None
    async with (
        stack.client(0) as any_client,
        away_from(stack, org, "cmd-1") as client,
        aclosing(client.watch(org)) as events,
        asyncio.timeout(20),
    ):
        async for event in events:
            if event.event is WatchEventKind.READY:
                job = await any_client.submit(command(org, script, requirements=pinned("cmd-1-1")))
            elif job and event.job and event.job.job_id == job.job_id and event.job.status is JobStatus.RUNNING:
                break
        assert job is not None
        data = b""
        async with aclosing(client.logs(job.job_id, follow=True)) as chunks:
            async for chunk in chunks:
                data += chunk.data
                if data == b"first\n":
                    (tmp_path / "go").touch()
    assert data == b"first\nsecond\n"


# Metrics.


async def scrape(stack: Stack) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """By whichever process takes a new connection."""
    port = (await stack.coordinators[0].says("parent_started"))["port"]
    async with httpx2.AsyncClient(verify=NO_TLS) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics", timeout=10.0)
    assert answer.status_code == 200, answer.text
    return {
        (s.name, frozenset(s.labels.items())): s.value
        for family in text_string_to_metric_families(answer.text)
        for s in family.samples
    }


def count(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return sum(v for (n, has), v in samples.items() if n == name and set(labels.items()) <= has)


async def test_any_process_is_scraped_for_all_and_no_counter_goes_back_when_one_dies(stack: Stack, org: str) -> None:
    before = await scrape(stack)
    jobs = []
    for _ in range(12):  # over all processes
        async with stack.client(0) as client:
            jobs += await client.submit_many(simulated(org, 5))
    async with stack.client(0) as client:
        await client.wait([job.job_id for job in jobs], timeout_seconds=20)
        stats = [await client.stats(org) for _ in range(2)]
    scrapes = [await scrape(stack) for _ in range(8)]
    for samples in scrapes:
        for name in ("qgjob_jobs_submitted_total", "qgjob_attempts_total", "qgjob_job_run_seconds_count"):
            assert count(samples, name) - count(before, name) == len(jobs)
        assert count(samples, "qgjob_jobs", status="completed") == count(scrapes[0], "qgjob_jobs", status="completed")
        assert count(samples, "qgjob_processes", state="serving") == PROCESSES
    assert stats[1].scheduler.plans >= stats[0].scheduler.plans > 0
    killed = count(scrapes[-1], "qgjob_process_ends_total", how="crashed")
    os.kill(next(iter(stack.pids(0))), signal.SIGKILL)
    await stack.coordinators[0].says("process_ended", how="crashed")
    for _ in range(8):
        after = await scrape(stack)
        behind = [key for key, value in scrapes[-1].items() if key[0].endswith("_total") and after[key] < value]
        assert behind == []
    assert count(after, "qgjob_process_ends_total", how="crashed") == killed + 1


# Processes that hang and die.


async def test_a_hung_process_shows_where_is_killed_and_what_it_had_is_served(
    stack: Stack, org: str, tmp_path: Path
) -> None:
    """Its threads go on taking connections and answering pings: only its parent finds out."""
    coordinator = stack.coordinators[0]
    async with stack.client(0) as client:
        job = await client.submit(command(org, holding(tmp_path), requirements=pinned("cmd-1-1")))
        await running(client, job.job_id)
    pid = next(pid for pid, place in stack.pids(0).items() if place == process_of(stack, "cmd-1"))
    earlier = len(coordinator.said())
    os.kill(pid, signal.SIGUSR2)
    await coordinator.says("process_silent", pid=pid)
    killed = await coordinator.says("process_killed", pid=pid)
    assert killed["why"] == "its event loop was not heard"
    assert killed["seconds"] >= HUNG_SECONDS
    # The process writes them itself: before or after its parent has said that it asked for them.
    stacks = coordinator.said()[earlier:].partition(killed["timestamp"])[0]
    assert "(most recent call first):" in stacks
    assert "sitecustomize.py" in stacks
    assert " in hang" in stacks
    await until(lambda: stack.at("cmd-1") == 0 and process_of(stack, "cmd-1"), "cmd-1 has no session")
    (tmp_path / "go").touch()
    async with stack.client(0) as client:
        (done,) = await client.wait(job.job_id, timeout_seconds=20)
    assert done.outcome is Outcome.PASSED
    assert len(done.attempts) == 1
    assert len(stack.pids(0)) == PROCESSES


async def test_a_restart_under_load_costs_no_attempt(stack: Stack, org: str, tmp_path: Path) -> None:
    coordinator = stack.coordinators[0]
    before = stack.pids(0)
    restarts = len(coordinator.events("restart_done"))
    async with stack.client(0) as client:
        long = await client.submit(command(org, holding(tmp_path), requirements=pinned("cmd-2-1")))
        await running(client, long.job_id)
        coordinator.hang_up()
        done: list[Job] = []
        while len(coordinator.events("restart_done")) == restarts:
            jobs = await client.submit_many(
                [*simulated(org, 3), command(org, "sleep 0.1", requirements=pinned("cmd-1-1"))]
            )
            done += await client.wait([job.job_id for job in jobs], timeout_seconds=60)
        (tmp_path / "go").touch()
        done += await client.wait(long.job_id, timeout_seconds=60)
    assert stack.pids(0).keys().isdisjoint(before)
    assert {job.outcome for job in done} == {Outcome.PASSED}
    assert {len(job.attempts) for job in done} == {1}


async def test_a_restart_with_a_wrong_setting_is_refused_and_ports_stay(stack: Stack) -> None:
    coordinator = stack.coordinators[0]
    before = stack.pids(0)
    file = coordinator.folder / ".env"
    try:
        file.write_text("MAX_RETRIES=lots\n")
        coordinator.hang_up()
        refused = await coordinator.says("restart_refused")
    finally:
        file.unlink()
    assert refused["error"].startswith(f"MAX_RETRIES: 'lots' (from {file}) is not a whole number")
    assert stack.pids(0) == before


# Ports and ends.


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[list[Program]]:
    """Programs that end with the test."""
    started: list[Program] = []
    yield started
    for program in started:
        await program.end()


@pytest.mark.parametrize(
    ("setting", "arguments"),
    [("GRPC_PORT", ()), ("GRPC_PORT", ("--processes", "2")), ("PORT", ("--processes", "2"))],
)
async def test_a_second_one_on_a_port_exits_and_names_it(
    family: Stack, start: list[Program], tmp_path: Path, setting: str, arguments: tuple[str, ...]
) -> None:
    port = (await family.coordinators[0].says("parent_started"))[setting.lower()]
    settings = {"PORT": 0, "GRPC_PORT": 0, "REDIS_URL": family.store.url, "ENVIRONMENT": "production"} | {setting: port}
    second = Program("second", "qgjob_coordinator", tmp_path, settings, arguments)
    start.append(second)
    second.start()
    assert await second.exit_code() == EXIT_FAILED
    (waited,) = second.events("port_taken")
    assert waited["setting"] == setting
    said = second.said().splitlines()[-1]
    assert said.startswith(
        f"error: {setting}: {port} (from the environment) can't be used on 127.0.0.1 (Address already in use): "
    )
    assert said.endswith("; end it, or set another port")


async def test_the_parent_has_no_grpc_in_it_also_when_the_cli_starts_it(
    family: Stack, start: list[Program], tmp_path: Path
) -> None:
    settings = {"PORT": 0, "GRPC_PORT": 0, "REDIS_URL": family.store.url, "ENVIRONMENT": "production"}
    cli = Program("cli", "qgjob", tmp_path, settings, ("coordinator", "--processes", "1"))
    start.append(cli)
    cli.start()
    started = await cli.says("process_started")
    await cli.says("processes_ready")
    parent, child = (Path(f"/proc/{pid}/maps").read_text() for pid in (cli.pid, started["pid"]))
    assert "cygrpc" in child
    assert "cygrpc" not in parent
    cli.terminate()
    assert await cli.exit_code() == 0


async def test_what_keeps_it_from_starting_is_said_once_and_ends_it(
    family: Stack, start: list[Program], tmp_path: Path
) -> None:
    settings = {"PORT": 0, "GRPC_PORT": 0, "REDIS_URL": family.store.url, "ENVIRONMENT": "production"}
    parent = Program("unfit", "qgjob_coordinator", tmp_path, settings, ("--processes", "3"))
    start.append(parent)
    with family.store.client() as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            parent.start()
            assert await parent.exit_code() == EXIT_USAGE
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert parent.said().count("error: ") == 1
    assert "maxmemory-policy is allkeys-lru" in parent.said()
    assert len(parent.events("process_started")) == 1


async def test_children_end_with_a_parent_that_was_killed_and_its_ports_are_free(
    family: Stack, start: list[Program], tmp_path: Path
) -> None:
    settings = {"PORT": 0, "GRPC_PORT": 0, "REDIS_URL": family.store.url, "ENVIRONMENT": "production"}
    parent = Program("orphans", "qgjob_coordinator", tmp_path, settings, ("--processes", "2"))
    start.append(parent)
    parent.start()
    ready = await parent.says("processes_ready")
    children = [line["pid"] for line in parent.events("process_started")]
    os.kill(children[0], signal.SIGUSR1)  # tells its stacks, and goes on
    parent.kill()
    await until(lambda: not any(alive(pid) for pid in children), "the children live on")
    assert len(parent.events("parent_gone", parent_pid=parent.pid)) == 2
    parent.start(PORT=ready["port"], GRPC_PORT=ready["grpc_port"])
    await parent.says("processes_ready")
