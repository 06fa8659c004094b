"""The ports of the devices of one host: no two devices share one, whichever agents have them, and whoever dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.core.values import DeathCause, DeviceFacts, Outcome, Target
from qgjob_agent.runners.appwright.ports import MOST_SLOTS, NoPortsError, PortSlots, free_of, ports_of
from qgjob_agent.runners.appwright.run import PLAN_FILE
from qgjob_agent.runners.appwright.runner import AppwrightRunner
from tests.fakes.appium.server import Server
from tests.fakes.waiting import until
from tests.unit.agent.test_appwright_runner import DEVICE, Bench, idle
from tests.unit.agent.test_appwright_versions import suite

LOG: Any = structlog.get_logger()
AGENT = """
import sys, structlog
from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.runners.appwright.ports import PortSlots
slots = PortSlots(structlog.get_logger(), [int(each) for each in sys.argv[1].split(",")])
for device_id in sys.argv[2:]:
    print(slots.of(DeviceFacts(device_id, device_id, Target.DEVICE, platform="android")).number, flush=True)
sys.stdin.read()
"""


def android(device_id: str) -> DeviceFacts:
    return DeviceFacts(device_id, device_id, Target.DEVICE, platform="android")


def sessions_ports(number: int) -> list[int]:
    ranges = [each for kinds in ports_of(number).values() for each in kinds.values()]
    return [port for first, last in ranges for port in range(first, last + 1)]


Reserve = Callable[[int], list[int]]


@pytest.fixture
def some_slots() -> Iterator[Reserve]:
    """Slots that no other test of this machine uses; its agents take the first ones."""
    folder = Path(tempfile.gettempdir()) / "qgjob-tests-of-slots"
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:

        def is_ours(number: int) -> bool:
            file = stack.enter_context((folder / str(number)).open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        free = (number for number in range(20, MOST_SLOTS) if is_ours(number))
        yield lambda count: list(islice(free, count))


class Agents:
    """Agents as processes of their own, each with devices that have slots."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def start(self, numbers: list[int], *devices: str) -> tuple[subprocess.Popen[str], list[int]]:
        """One that may take these slots, and those that its devices have."""
        words = [sys.executable, "-c", AGENT, ",".join(map(str, numbers)), *devices]
        agent = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._stack.enter_context(agent)
        self._stack.callback(agent.kill)
        assert agent.stdout is not None
        return agent, [int(agent.stdout.readline()) for _ in devices]


@pytest.fixture
def agents() -> Iterator[Agents]:
    with ExitStack() as stack:
        yield Agents(stack)


def test_no_two_slots_share_a_port() -> None:
    ports = [port for number in range(MOST_SLOTS) for port in sessions_ports(number)]
    assert len(ports) == len(set(ports))


def test_agents_of_one_host_have_ports_of_their_own_and_what_a_dead_one_had_is_free(
    agents: Agents, some_slots: Reserve
) -> None:
    numbers = some_slots(8)
    first, of_first = agents.start(numbers, "a.1", "a.2")
    _, of_second = agents.start(numbers, "b.1", "b.2")
    _, of_third = agents.start(numbers, "c.1", "c.2", "c.3", "c.4")
    assert sorted(of_first + of_second + of_third) == sorted(numbers), "eight devices have eight slots"
    slots = PortSlots(LOG, numbers)
    with pytest.raises(
        NoPortsError, match=rf"d\.1: of 8 slots .* 8 are held .*\(port {18209 + 10 * numbers[0]} by py"
    ) as caught:
        slots.of(android("d.1"))
    assert not caught.value.host_unfit, "another device of the host may have its ports"
    first.kill()
    first.wait()
    with contextlib.closing(slots):
        assert sorted(slots.of(android(name)).number for name in ("d.1", "d.2")) == sorted(of_first)


def test_a_device_keeps_its_ports_until_it_goes_and_has_none_that_are_in_use(some_slots: Reserve) -> None:
    numbers = some_slots(2)
    slots, other = PortSlots(LOG, numbers), PortSlots(LOG, numbers)
    with contextlib.closing(slots), contextlib.closing(other), ExitStack() as stack:
        assert [slots.of(android("a")).number for _ in range(2)] == [numbers[0]] * 2
        assert other.of(android("b")).number == numbers[1]
        slots.leave("a")
        slots.leave("a")
        assert other.of(android("c")).number == numbers[0]
        other.leave("c")
        ports = sessions_ports(numbers[0])[18:27]  # the last kind of Android's
        for port in (*ports[1:8:2], ports[8]):
            listening(stack, port)
        busy_one = rf"1 have too many ports in use \(port {ports[1]} by python.*\(process {os.getpid()}\)\); end what"
        words = rf"1 are held .* \(port {18209 + 10 * numbers[1]} by python.*{busy_one}"
        with pytest.raises(NoPortsError, match=words):
            slots.of(android("a"))
        assert slots.of(replace(android("i"), platform="ios")).number == numbers[0], "it has other ports"


def listening(stack: ExitStack, port: int) -> None:
    taken = stack.enter_context(socket.create_server(("127.0.0.1", port)))
    assert taken.getsockname()[1] == port


def test_a_port_that_is_in_use_costs_a_device_that_port_and_no_other_one(some_slots: Reserve) -> None:
    """A host of 90 devices would serve fewer with each program that listens somewhere among their ports."""
    numbers = some_slots(2)
    slots = PortSlots(LOG, numbers)
    own = ports_of(numbers[0])["android"]
    first, last = own["appium:systemPort"]
    with contextlib.closing(slots), ExitStack() as stack, capture_logs() as said:
        with ExitStack() as for_a_while:
            listening(for_a_while, first + 2)
            found = slots.of(android("a"))
            assert (found.number, found.ports["android"]) == (
                numbers[0],
                own | {"appium:systemPort": [first + 3, last]},
            )
            assert found.ports["ios"] == ports_of(numbers[0])["ios"]
            listening(for_a_while, last)
            for _ in range(2):
                assert slots.of(android("a")).ports["android"]["appium:systemPort"] == [first + 3, last - 1]
        assert slots.of(android("a")).ports["android"] == own
        listening(stack, ports_of(numbers[1])["ios"]["appium:wdaLocalPort"][0])
        other = slots.of(replace(android("i"), platform="ios"))
        assert (other.number, other.ports["ios"]["appium:wdaLocalPort"][0]) == (numbers[1], 21_201 + 10 * numbers[1])
    assert [(line["event"], line["device_id"], line["port"], line["ports"]) for line in said] == [
        ("appium_port_taken", "a", first + 2, [first + 2]),
        ("appium_port_taken", "a", last, [last]),
        ("appium_port_taken", "i", 21_200 + 10 * numbers[1], [21_200 + 10 * numbers[1]]),
    ]
    assert all(str(os.getpid()) in line["by"] for line in said)


def test_a_device_without_ports_of_a_kind_gets_another_slot_but_where_webdriveragent_may_have_them(
    some_slots: Reserve,
) -> None:
    numbers = some_slots(3)
    phone, iphone = android("a"), replace(android("i"), platform="ios")
    slots = PortSlots(LOG, numbers)
    with contextlib.closing(slots), ExitStack() as stack, capture_logs() as said:
        assert [slots.of(device).number for device in (phone, iphone)] == numbers[:2]
        for number, places in ((numbers[0], (1, 3, 5, 7, 8)), (numbers[1], range(27, 36))):
            for at in places:
                listening(stack, sessions_ports(number)[at])
        assert [slots.of(device).number for device in (phone, iphone)] == [numbers[2], numbers[1]]
    (line,) = said
    assert (line["event"], line["device_id"], line["log_level"]) == ("appium_port_taken", "a", "warning")
    assert (line["port"], line["ports"]) == (
        sessions_ports(numbers[0])[1],
        [sessions_ports(numbers[0])[at] for at in (1, 3, 5, 7, 8)],
    )


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ((), [10, 18]),
        ((10,), [11, 18]),
        ((18,), [10, 17]),
        ((14,), [10, 13]),
        ((12, 15), [16, 18]),
        ((11, 13, 15, 17), None),
        (range(12, 19), [10, 11]),
        (range(10, 19), None),
    ],
)
def test_the_longest_row_of_free_ports_is_used(taken: Collection[int], left: list[int] | None) -> None:
    other = {"b": [30, 38]}
    assert free_of({"a": [10, 18]} | other, taken, 2) == (None if left is None else {"a": left} | other)


class Host:
    """Agents whose runner has a stand-in for node, with one Appium."""

    def __init__(self, folder: Path, appium_url: str, numbers: list[int]) -> None:
        self._folder = folder
        self._appium_url = appium_url
        self.gate = folder / "gate"
        self.numbers = numbers
        self.runners: list[AppwrightRunner] = []
        self.benches: list[Bench] = []

    def agent(self) -> Bench:
        folder = self._folder / f"agent-{len(self.benches)}"
        (folder / "suite").mkdir(parents=True)
        bench = Bench(folder)
        bench.suite, bench.appium_url = suite(folder / "tests"), self._appium_url
        self.benches.append(bench)
        return bench

    def runner(self, bench: Bench) -> AppwrightRunner:
        runner = bench.runner(PortSlots(LOG, self.numbers))
        self.runners.append(runner)
        return runner

    def begin(self, bench: Bench, runner: AppwrightRunner, token: str, device: DeviceFacts = DEVICE) -> None:
        runner.start(device, [bench.job(token, json.dumps({"until": str(self.gate)}))])

    async def end(self, runner: AppwrightRunner) -> None:
        """An agent ends; its supervisors go on."""
        self.runners.remove(runner)
        await runner.close()

    async def ports(self, bench: Bench, count: int = 1) -> list[int]:
        """The first ports of the runs of an agent that are under way."""

        def plans() -> list[Path]:
            found = list(bench.folder.glob(f"runs/*/{PLAN_FILE}"))
            begun = sum(1 for path in found if (path.parent / "started").exists())
            return found if begun == count else []

        found = await until(plans, f"{count} runs are not under way")
        return [json.loads(path.read_text())["ports"]["android"]["appium:systemPort"][0] for path in found]


@pytest.fixture
async def host(tmp_path: Path, some_slots: Reserve) -> AsyncIterator[Host]:
    server = Server()
    found = Host(tmp_path, f"http://127.0.0.1:{await server.start()}", some_slots(5))
    yield found
    found.gate.touch()
    for runner in found.runners:
        for token in list(runner._attempts):
            runner.kill(token, DeathCause.SHUTDOWN, 0.0)
        await idle(runner)
    await server.stop()


async def test_two_agents_of_one_host_run_tests_of_two_devices_each_on_ports_of_their_own(host: Host) -> None:
    used = []
    for bench in (host.agent(), host.agent()):
        runner = host.runner(bench)
        for token, device in (("a", DEVICE), ("b", replace(DEVICE, device_id="d2", udid="emulator-5556"))):
            host.begin(bench, runner, token, device)
        used += await host.ports(bench, 2)
    assert len(set(used)) == 4


async def test_a_test_that_outlives_its_agent_keeps_its_ports_until_it_ends(host: Host) -> None:
    bench, other = host.agent(), host.agent()
    runner = host.runner(bench)
    host.begin(bench, runner, "a")
    (first,) = await host.ports(bench)
    process = runner._lines["d1"][0].execution.process
    assert process is not None
    await host.end(runner)
    supervisor = psutil.Process(process.pid)
    assert [each.laddr.port for each in supervisor.net_connections("tcp")] == [first + 9]
    assert [tree.net_connections("tcp") for tree in supervisor.children(recursive=True)] == [[]], "its tree has it not"
    host.begin(other, host.runner(other), "b")
    (second,) = await host.ports(other)
    assert second != first

    runner = host.runner(bench)
    await runner.recover(set())
    host.begin(bench, runner, "c")
    host.gate.touch()
    assert await bench.outcomes("a", "c") == [(Outcome.PASSED, ""), (Outcome.PASSED, "")]
    assert process.wait() == 0
    await idle(runner)
    host.runners.remove(runner)
    with contextlib.closing(PortSlots(LOG, host.numbers[:1])) as theirs:
        assert theirs.of(android("d")).number == host.numbers[0]


async def test_a_device_that_goes_frees_its_ports(host: Host) -> None:
    bench = host.agent()
    runner = host.runner(bench)
    host.gate.touch()
    host.begin(bench, runner, "a")
    await bench.outcomes("a")
    await until(lambda: not any(runner._lines.values()), "the end of the run, and of its supervisor")
    with contextlib.closing(PortSlots(LOG, host.numbers)) as theirs:
        assert theirs.of(android("x")).number == host.numbers[1]
        runner.lost("d1")
        assert theirs.of(android("y")).number == host.numbers[0]
        host.begin(bench, runner, "b")  # it comes back
        assert await bench.outcomes("b") == [(Outcome.PASSED, "")]
        assert theirs.of(android("z")).number == host.numbers[3]


async def test_no_ports_end_the_attempt_and_say_why(host: Host) -> None:
    bench = host.agent()
    with contextlib.closing(PortSlots(LOG, host.numbers)) as theirs:
        for number in host.numbers:
            theirs.of(android(f"theirs-{number}"))
        runner = host.runner(bench)
        host.begin(bench, runner, "a")
        ((outcome, why),) = await bench.outcomes("a")
    assert (outcome, "no ports are left for the sessions of d1" in why) == (Outcome.DEVICE_ERROR, True)
