"""The agent's Appium as a process of its own: begun once, kept, found again, and never taken for another's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import structlog

from bench.processes import free_port
from qgjob_agent.hub_address import Address
from qgjob_agent.runners.appwright import appium as appium_module
from qgjob_agent.runners.appwright import hub as hub_module
from qgjob_agent.runners.appwright.appium import Appium, AppiumError
from qgjob_agent.runners.appwright.appium_log import Mark, readable
from qgjob_agent.runners.appwright.appium_settings import AppiumSettings, check_words
from qgjob_agent.runners.appwright.hub import answers, forget_sessions
from tests.fakes.appium.server import Server
from tests.fakes.small_disk import small_disk
from tests.fakes.waiting import until

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "tests.fakes.appium", "--port", "{port}")

Make = Callable[..., Appium]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Appium] = []

    def one(argv: tuple[str, ...] = COMMAND, *, url: str | None = None, keep: bool = True, **more: str) -> Appium:
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | more
        settings = AppiumSettings(argv, environ, tmp_path / "state", tmp_path, url, keep=keep)
        made.append(Appium(settings, structlog.get_logger()))
        return made[-1]

    yield one
    for appium in made:
        await appium._stop()
        await appium.beside._stop()


def pid_of(tmp_path: Path) -> int:
    return int(json.loads((tmp_path / "state" / "appium.json").read_text())["pid"])


async def test_it_is_begun_once_for_all_that_ask_and_kept_for_the_next_daemon(make: Make, tmp_path: Path) -> None:
    first = make()
    addresses = await asyncio.gather(*(first.ready() for _ in range(4)))
    assert (len(set(addresses)), first.starts) == (1, 1)
    await first.close()
    second = make()
    assert (await second.ready(), second.starts) == (addresses[0], 0)


async def test_one_that_was_started_with_other_settings_goes_when_no_test_has_it(make: Make, tmp_path: Path) -> None:
    """As when ANDROID_HOME was missing, or a word of appwright.appium."""
    earlier = make()
    address = await earlier.ready()
    with structlog.testing.capture_logs() as log:
        later = make(ANDROID_HOME="/sdk")
        for _ in range(2):
            assert (await later.ready(used=lambda: True), later.starts) == (address, 0)
        pid = pid_of(tmp_path)
        mended = await later.ready()
        assert (await later.ready(used=lambda: True), later.starts) == (mended, 1)
    assert (mended != address, await answers(address), await answers(mended)) == (True, False, True)
    told = [(each["event"], each["pid"]) for each in log if "pid" in each and each["event"] != "appium_started"]
    assert told == [("appium_outdated", pid), ("appium_replaced", pid)]


async def test_one_that_hangs_is_waited_for_while_tests_have_it(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is short of breath is no reason to end the sessions of all its devices."""
    monkeypatch.setattr(hub_module, "_READY_SECONDS", 0.2)
    monkeypatch.setattr(appium_module, "_STOP_SECONDS", 0.1)
    appium = make()
    address = await appium.ready()
    process = psutil.Process(pid_of(tmp_path))
    process.suspend()
    asked: list[bool] = []

    def used() -> bool:
        asked.append(True)
        return True

    waiting = asyncio.create_task(appium.ready(used=used))
    await until(lambda: len(asked) >= 3 or waiting.done(), "several questions")
    assert not waiting.done()
    process.resume()
    assert (await waiting, appium.starts) == (address, 1)
    process.suspend()
    with structlog.testing.capture_logs() as log:
        assert (await appium.ready() != address, appium.starts) == (True, 2)  # nobody has it
        psutil.Process(pid_of(tmp_path)).suspend()
        monkeypatch.setattr(appium_module, "BUSY_SECONDS", 0.0)
        await appium.ready(used=used)
    assert appium.starts == 3
    assert [each["event"] for each in log if each["event"] != "appium_started"] == ["appium_hung"] * 2


async def test_a_pipe_in_place_of_what_it_remembers_holds_nobody_up(make: Make, tmp_path: Path) -> None:
    """A test of the same user can put one there: the agent would wait for who never writes."""
    (tmp_path / "state").mkdir()
    os.mkfifo(tmp_path / "state" / "appium.json")
    appium = make()
    assert (await answers(await appium.ready()), appium.starts) == (True, 1)


async def test_its_log_begins_anew_when_it_is_long(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appium_module, "LOG_MOST_BYTES", 1_000)
    appium, log = make(), tmp_path / "state" / "appium.log"
    address = await appium.ready()
    with log.open("ab") as file:
        file.write(b"x" * 2_000)
    assert (await appium.ready(), appium.starts) == (address, 1)
    assert log.stat().st_size < 1_000
    flags = Path(f"/proc/{pid_of(tmp_path)}/fdinfo/1").read_text().split("flags:")[1].split()[0]
    assert int(flags, 8) & os.O_APPEND, "else what it writes next would be as far behind as before"


async def test_one_that_died_is_begun_again(make: Make, tmp_path: Path) -> None:
    appium = make()
    log = appium.log_of(await appium.ready())
    assert log is not None
    since = Mark(log.stat().st_ino, log.stat().st_size)
    with log.open("ab") as file:
        file.write(b"the last that it said\n")
    psutil.Process(pid_of(tmp_path)).kill()
    assert await answers(await appium.ready())
    assert appium.starts == 2
    part = appium.told.part(since, None)
    assert readable(part).startswith(b"the last that it said\n[Appium] Appium REST http interface"), "both are seen"


async def test_a_process_that_has_its_number_now_is_left_alone(make: Make, tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "state").mkdir()
        told = {"pid": other.pid, "created": 1.0, "port": 1}
        (tmp_path / "state" / "appium.json").write_text(json.dumps(told))
        appium = make()
        await appium.ready()
        assert appium.starts == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_where_the_disk_does_not_take_whose_it_is_it_ends(make: Make, tmp_path: Path) -> None:
    """The next daemon would begin another one beside it."""
    (tmp_path / "state" / "appium.json.draft").mkdir(parents=True)
    appium = make()
    with pytest.raises(AppiumError, match=r"appium\.json can't be written: "):
        await appium.ready()
    assert appium._process is not None
    assert appium._process.poll() is not None


async def test_of_whose_it_is_a_full_disk_has_all_or_nothing(make: Make, tmp_path: Path) -> None:
    """Half of it would be taken for one that nobody knows."""
    with small_disk(tmp_path / "state") as disk:
        appium = make()
        disk.fill()
        with pytest.raises(AppiumError, match=r"appium\.json can't be written: No space left"):
            await appium.ready()
        assert not (disk.path / "appium.json").exists()
        disk.clear()
        await appium.ready()
        assert psutil.pid_exists(pid_of(tmp_path))
        await appium._stop()


async def test_it_may_end_with_the_agent(make: Make, tmp_path: Path) -> None:
    appium = make(keep=False)
    address = await appium.ready()
    await appium.close()
    assert not await answers(address)


async def test_one_that_ends_as_it_begins_is_told_with_its_last_words(make: Make, tmp_path: Path) -> None:
    with pytest.raises(AppiumError, match=r"ended as it began \(exit code 3\): no driver"):
        await make(("sh", "-c", "echo no driver; exit 3", "{port}")).ready()
    with pytest.raises(AppiumError, match=r"can't be started: no-such-appium: No such file.*appwright\.appium"):
        await make(("no-such-appium", "{port}")).ready()
    gone = make()
    gone._settings = replace(gone._settings, suite=tmp_path / "gone")
    with pytest.raises(AppiumError, match=r"can't be started: .*/gone: No such file"):
        await gone.ready()


async def test_another_program_where_plain_appwright_looks_is_named_and_not_taken_for_ours(make: Make) -> None:
    other = Server()
    port = await other.start()
    appium = make()
    words = rf"looks for Appium on port {port}, and .*\(process {os.getpid()}\) has it; .*set appwright\.appium_url"
    with pytest.raises(AppiumError, match=words):
        await appium.ready(port)
    assert appium.starts == 0
    await other.stop()
    assert (await appium.ready(port)).port == port


async def test_a_plain_run_takes_no_appium_from_the_tests_that_have_it(make: Make, tmp_path: Path) -> None:
    """Suites of two kinds on one agent: the sessions of the fast ones are on a port that plain AppWright never asks."""
    appium, port = make(), free_port()
    fast = await appium.ready()
    plain = await appium.ready(port, used=lambda: True)
    assert (plain.port, await answers(fast), await answers(plain)) == (port, True, True)
    logs = [tmp_path / "state" / each for each in ("appium.log", "plain/appium.log")]
    assert [appium.log_of(each) for each in (fast, plain)] == logs
    for each in (appium, make()):  # the next daemon finds both
        assert await each.ready(port) == plain
        assert await each.ready(used=lambda: True) == fast
    assert (appium.starts, appium.beside.starts) == (1, 1)
    psutil.Process(pid_of(tmp_path)).kill()
    await until(lambda: appium._remembered() is None, "its death")
    assert await appium.ready(port) == plain
    assert await answers(await appium.ready())
    assert (appium.starts, appium.beside.starts) == (2, 1)


async def test_a_port_that_another_program_has_costs_no_session(make: Make) -> None:
    other, appium = Server(), make(keep=False)
    port = await other.start()
    fast = await appium.ready()
    for used in (True, False):
        with pytest.raises(AppiumError, match=rf"port {port}, and .* has it"):
            await appium.ready(port, used=lambda used=used: used)
        assert await answers(fast)
    await other.stop()
    plain = await appium.ready(port, used=lambda: True)
    await appium.close()
    assert [await answers(each) for each in (fast, plain)] == [False, False]


async def test_one_of_somebody_else_is_used_and_never_ended(make: Make) -> None:
    server = Server()
    port = await server.start()
    appium = make(url=f"http://127.0.0.1:{port}/", keep=False)
    address = await appium.ready()
    assert (address.port, appium.log_of(address)) == (port, None)
    with pytest.raises(AppiumError, match="looks for Appium on port 4723"):
        await appium.ready(4723)
    await appium.close()
    assert await answers(Address("http", "127.0.0.1", port))
    await server.stop()
    with pytest.raises(AppiumError, match="does not answer"):
        await appium.ready()


async def test_only_the_sessions_of_one_device_are_forgotten() -> None:
    server = Server()
    address = Address("http", "127.0.0.1", await server.start())
    for udid in ("a", "b"):
        server.hub.open({"capabilities": {"alwaysMatch": {"appium:udid": udid}}})
    assert await forget_sessions(address, "a") == 1
    assert await forget_sessions(address, "a") == 0
    assert [session.udid for session in server.hub.sessions.values()] == ["b"]
    await server.stop()
    assert await forget_sessions(address, "b") is None


async def test_an_answer_that_nobody_can_read_is_none() -> None:
    """The address stands in a file that a test may write."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = Address("http", "127.0.0.1", server.sockets[0].getsockname()[1])
        assert await forget_sessions(address, "a") is None


async def test_what_is_no_appium_does_not_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert not await answers(Address("http", "127.0.0.1", closed.getsockname()[1]))


@pytest.mark.parametrize(
    ("argv", "why"),
    [((), "no word"), (("a", "{prot}"), "unknown placeholder {prot}"), (("a",), "put {port} where it belongs")],
)
def test_a_command_that_can_not_be_one(argv: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_words(argv)


@pytest.mark.parametrize("url", ["127.0.0.1:4723", "ftp://host/", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="is no http"):
        Address.of_url(url)


def test_an_address_with_a_path() -> None:
    assert Address.of_url("https://hub.example/wd/hub") == Address("https", "hub.example", 443, "/wd/hub/")


@pytest.mark.parametrize(
    "changed",
    [
        {"protocol": "file"},
        {"hostname": 7},
        {"hostname": "x" * 70},
        {"port": 1 << 20},
        {"port": "1"},
        {"path": "/ x\r\n"},
    ],
)
async def test_an_address_that_a_test_has_changed_is_not_asked(changed: dict[str, object]) -> None:
    options = Address("http", "127.0.0.1", 1).options() | changed
    with contextlib.suppress(ValueError):
        assert await forget_sessions(Address.of_options(options), "emulator-5554") is None
