"""The whole stack on one machine: store, coordinator and two simulated agents, started and ended in order."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qgjob._errors import ConfigError
from qgjob.cli import exit_codes
from qgjob.cli.children import Child, keep_last_logs
from qgjob.cli.dotenv import read_environment
from qgjob.cli.parent import until_gone
from qgjob.cli.programs import load_main
from qgjob.cli.roll import Roll
from qgjob.cli.runner import tell, tell_strays
from qgjob.cli.store_choice import StoreChoice, choose
from qgjob.cli.store_data import read_writer
from qgjob.cli.up_agents import Agents
from qgjob.cli.up_ready import wait_ready, welcome
from qgjob.cli.up_settings import (
    AGENTS,
    Options,
    PortTakenError,
    StackSettings,
    agent_environment,
    check_agent_config,
    check_ports,
    coordinator_environment,
    stack_settings,
)
from qgjob.cli.up_store import StackError, start_store

POLL_SECONDS = 0.1
# An agent kills what it runs within KILL_GRACE_SECONDS (10); a coordinator lets calls under way end.
AGENT_GRACE_SECONDS = 20.0
COORDINATOR_GRACE_SECONDS = 15.0
STORE_GRACE_SECONDS = 10.0


def run_stack(options: Options) -> int:
    """Run until a signal (0 for TERM, 130 for INT).

    Raises QgjobError (1) when it can't start, and when a part dies that is not started again.
    """
    cwd = Path.cwd()
    environment = read_environment(os.environ, cwd)
    tell_strays(bare=True)
    settings = stack_settings(environment, cwd)
    if options.agent_config is not None and not options.agent_config.is_file():
        raise ConfigError(f"--agent-config: {options.agent_config} is no file")
    check_agent_config(options, environment)
    agent_environment({}, settings, options, AGENTS[0], os.getpid())  # a wrong option is told before anything starts
    if settings.data.exists() and not settings.data.is_dir():
        raise _no_data(settings.data, "it is a file")
    roll = Roll(settings.data / "processes")
    try:
        settings = check_ports(settings, environment)
    except PortTakenError as error:
        raise PortTakenError(f"{error.message}{_of_this_folder(roll)}") from None
    with _ended_by_term():
        check_programs(agent_environment(os.environ, settings, options, AGENTS[0], os.getpid()))
    stores = choose(settings.redis_url, read_writer(settings.store))
    with _sole_user(settings.data, roll) as lock:
        with _writing(settings.data):
            roll.begin()
        return asyncio.run(_Stack(options, settings, stores, lock, roll).run())


def _of_this_folder(roll: Roll) -> str:
    """What may hold a port, or the data; nothing where nothing is known to."""
    alive = roll.alive()
    return f". Of a `qgjob up` in this folder there run: {', '.join(alive)}" if alive else ""


def check_programs(agent: Mapping[str, str]) -> None:
    """What the programs say of their settings before any of them is started.

    Raises ConfigError with their line, QgjobError where packages are missing that they need.
    """
    checks = [("qgjob_agent", agent), ("qgjob_coordinator", os.environ)]
    running: list[subprocess.Popen[str]] = []
    try:
        for module, environment in checks:
            with _uninterrupted():  # one that was begun and not yet noted would be left
                running.append(_check(module, environment))
        said = [program.communicate()[1] for program in running]
    finally:  # an interrupt may come in between
        for program in running:
            program.kill()  # nothing where it has ended
            with program:
                pass
    for (module, _), program, text in zip(checks, running, said, strict=True):
        if program.returncode == exit_codes.USAGE:
            raise ConfigError(text.strip().removeprefix("error: "))
        if program.returncode != exit_codes.OK:
            load_main(module, "`qgjob up`", "all")
            # Any other failure ends the program when it is started, and its log is shown.


def _check(module: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - programs of ours
        [sys.executable, "-m", module, "--check"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """An interrupt comes at the end of the block. What is started in it knows of none: it takes SIGKILL to end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _ended_by_term() -> Iterator[None]:
    """SIGTERM leaves the block as Ctrl-C does, so that nothing it started stays; with the exit code that TERM has."""

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(exit_codes.OK)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _sole_user(data: Path, roll: Roll) -> Iterator[int]:
    """The lock on the data folder: two stacks would write the same files.

    Raises StackError when it is in use, ConfigError where there can be none.

    The store inherits the lock, so that one whose stack was killed is not joined by a second one.
    """
    with _writing(data):
        data.mkdir(parents=True, exist_ok=True)
        (data / ".gitignore").write_text("*\n")
    with (data / "up.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"another `qgjob up`, or the store of one that was killed, uses {data} (lsof {lock.name}); "
                f"end that, or start this one in another folder{_of_this_folder(roll)}"
            ) from None
        yield lock.fileno()


@contextmanager
def _writing(data: Path) -> Iterator[None]:
    """Writing in the folder of the data. Raises ConfigError where that is refused."""
    try:
        yield
    except OSError as error:
        raise _no_data(data, str(error.strerror)) from error


def _no_data(data: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{data}: can't be the folder of the stack's data ({why}); move what is there away, or start in another folder"
    )


class _Stack:
    """The processes, in the order in which they were started."""

    def __init__(
        self, options: Options, settings: StackSettings, stores: Sequence[StoreChoice], lock: int, roll: Roll
    ) -> None:
        self._options = options
        self._roll = roll
        self._lock = lock
        self._settings = settings
        self._stores = stores
        self._children: list[Child] = []
        self._agents = Agents(lambda agent_id: self._start_agent(agent_id, goes_on=True))
        self._ready = False

    @property
    def _logs(self) -> Path:
        return self._settings.data / "logs"

    async def run(self) -> int:
        """See run_stack."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Any] = loop.create_future()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _set_once, told, number)
        parent: asyncio.Future[Any] = loop.create_task(self._watch_parent(told))
        work: asyncio.Future[Any] = loop.create_task(self._start_and_watch())
        try:
            tell("qgjob up: a stack for development on this machine; nothing of it is meant for production")
            await asyncio.wait([told, work], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for task in (work, parent):
                task.cancel()
            await asyncio.gather(work, parent, return_exceptions=True)
            await self._stop()
        return exit_codes.INTERRUPTED if told.result() == signal.SIGINT else exit_codes.OK

    async def _watch_parent(self, told: asyncio.Future[int]) -> None:
        """Where the stack belongs to another process, its end is as good as TERM."""
        pid = self._settings.parent_pid
        if pid is not None:
            await until_gone(pid)
            tell(f"process {pid}, to which this stack belongs, has gone")
            _set_once(told, signal.SIGTERM)

    async def _start_and_watch(self) -> None:
        """Returns never; raises StackError when a part dies, but for an agent of a stack that was ready."""
        logs = self._logs
        with _writing(self._settings.data):
            logs.mkdir(parents=True, exist_ok=True)
            keep_last_logs(logs)
        tell(f"logs: {logs}")
        starting = asyncio.create_task(self._start())
        try:
            while True:
                if starting.done():
                    starting.result()
                for child in [each for each in self._children if each.ended]:
                    self._mourn(child)
                await asyncio.sleep(POLL_SECONDS)
        finally:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)

    def _mourn(self, child: Child) -> None:
        """One has ended: an agent gets its next life when that is due. Raises StackError."""
        if not self._ready:
            raise StackError(child.obituary())
        if child.name not in AGENTS:
            raise StackError(self._lasting(child.obituary()))
        try:
            again = self._agents.revive(child)
        except StackError as error:
            raise StackError(self._lasting(error.message)) from None
        if again is not None:
            self._children.remove(child)
            self._enter(again)

    def _lasting(self, said: str) -> str:
        return f"{said}\nwhat was accepted is kept; `qgjob up` in {self._settings.data.parent} goes on with it"

    async def _start(self) -> None:
        settings, logs = self._settings, self._logs
        store = self._stores[0]
        redis_url = store.url
        if redis_url is None:
            child, redis_url, store = await start_store(self._stores, settings, logs, self._lock)
            self._enter(child)
        tell(f"store: {_without_password(redis_url)} ({store.why})")
        command = [sys.executable, "-m", "qgjob_coordinator"]
        environment = coordinator_environment(os.environ, settings, redis_url, os.getpid())
        self._enter(Child("coordinator", command, environment=environment, logs=logs))
        for agent_id in AGENTS:
            self._enter(self._start_agent(agent_id))
        await wait_ready(settings, [child for child in self._children if child.name in AGENTS])
        self._ready = True
        tell(welcome(settings, self._options.agent_config))

    def _start_agent(self, agent_id: str, *, goes_on: bool = False) -> Child:
        command = [sys.executable, "-m", "qgjob_agent"]
        environment = agent_environment(os.environ, self._settings, self._options, agent_id, os.getpid())
        return Child(agent_id, command, environment=environment, logs=self._logs, goes_on=goes_on)

    def _enter(self, child: Child) -> None:
        self._children.append(child)
        with _writing(self._settings.data):
            self._roll.add(child.name, child.pid)

    async def _stop(self) -> None:
        """Agents first, so that they can report, then the coordinator, then the store."""
        if self._children:
            tell("ending the stack")
        agents = [child for child in self._children if child.name in AGENTS]
        await asyncio.gather(*[child.stop(AGENT_GRACE_SECONDS) for child in agents])
        for child in self._children:
            if child.name == "coordinator":
                await child.stop(COORDINATOR_GRACE_SECONDS)
        for child in self._children:
            await child.stop(STORE_GRACE_SECONDS)
        with suppress(OSError):  # those that are still on it are known to be over by their times
            self._roll.clear()


def _set_once(told: asyncio.Future[int], number: int) -> None:
    if not told.done():
        told.set_result(number)


def _without_password(url: str) -> str:
    """The url as it may be shown."""
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url
