"""The parent of several coordinators on one port: starts, watches, replaces and ends them.

It serves nothing itself and imports no gRPC, which does not survive a fork; its children are fresh interpreters.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from qgjob_coordinator.config import Settings
from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.parent import until_gone
from qgjob_coordinator.port_wait import when_free
from qgjob_coordinator.processes import counts, ports
from qgjob_coordinator.processes.channel import Channel
from qgjob_coordinator.processes.instructions import End, Instruction, Kill, Say, ShowStack, Start, Terminate
from qgjob_coordinator.processes.ledger import Ledger
from qgjob_coordinator.processes.member import Handed
from qgjob_coordinator.processes.supervision import EXIT_FAILED, EXIT_OK, Rules, Supervision

LOOK_SECONDS = 0.1
FRESH_SECONDS = 0.25
"""How long a scrape waits for what other processes counted last; of those that do not say it, what they said before."""
FAREWELL_SECONDS = 1.0
FIXED = ("host", "port", "grpc_port")
"""Settings that only the parent uses: a restart of the children does not change them."""

log = structlog.get_logger(__name__)


def on_terminal() -> bool:
    """Whether a terminal reads or shows what this program does: its end is told by SIGHUP, too."""
    return any(file is not None and file.isatty() for file in (sys.stdin, sys.stderr))


class _Child:
    """One life of a process. `following` reads what it says, until it says no more."""

    def __init__(self, start: Start, process: subprocess.Popen[bytes], following: asyncio.Task[None]) -> None:
        self.life = start.life
        self.place = start.place
        self.process = process
        self.following = following
        self.channel: Channel | None = None

    def send(self, say: str, **values: object) -> None:
        """Says something, if it can be heard yet."""
        if self.channel is not None:
            self.channel.send(say, **values)


class Parent:
    """`run` returns the exit code when the last child has ended."""

    def __init__(self, settings: Settings, processes: int) -> None:
        self._settings = settings
        self._rules = Rules.of(processes, settings.session_timeout_seconds)
        self._supervision = Supervision(self._rules)
        self._ledger = Ledger()
        self._children: dict[int, _Child] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._wake.set()  # the first look is at once
        self._code: int | None = None
        self._ports = ports.Ports((), ())
        self._where: dict[str, object] = {}

    async def run(self) -> int:
        """Serves until a signal, or until the children can't be started. Raises ConfigError."""
        s, rules = self._settings, self._rules
        loop = asyncio.get_running_loop()
        if not await self._take_ports(loop):
            self._ports.close()
            return EXIT_OK
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        # Asked now: a terminal that is gone is none any more.
        loop.add_signal_handler(signal.SIGHUP, self._stop if on_terminal() else self._restart)
        loop.add_signal_handler(signal.SIGCHLD, self._wake.set)
        watch = asyncio.create_task(self._watch_parent(s.parent_pid))
        self._where = {"host": s.host, "port": self._ports.http_port, "grpc_port": self._ports.grpc_port}
        log.info("parent_started", processes=rules.processes, **self._where)
        try:
            while self._code is None:
                await self._step()
        finally:
            watch.cancel()
            for child in self._children.values():  # none, but after a fault in this program: they serve, and drain
                child.process.terminate()
            self._ports.close()
        log.info("parent_stopped", exit_code=self._code)
        return self._code

    async def _take_ports(self, loop: asyncio.AbstractEventLoop) -> bool:
        """False when told to stop meanwhile. Raises ConfigError."""
        s, stop = self._settings, asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        async def take() -> None:
            self._ports = await ports.take(s.host, s.port, s.grpc_port)

        try:
            return await when_free(take, stop) and not stop.is_set()
        except ConfigError as e:
            raise s.blamed(e) from e

    # What happens.

    async def _step(self) -> None:
        """Waits for a moment, or for a child's end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        self._wake.clear()
        for child in list(self._children.values()):
            # All that it said was read, its last counts too.
            if child.following.done() and child.process.poll() is not None:
                self._ended(child)
        self._do(self._supervision.look(time.monotonic()))

    def _ended(self, child: _Child) -> None:
        self._do(self._supervision.ended(child.life, child.process.returncode, time.monotonic()))
        del self._children[child.life]
        self._ledger.retire(child.life)

    def _stop(self) -> None:
        self._do(self._supervision.stop(time.monotonic()))

    def _restart(self) -> None:
        """SIGHUP. With settings that are wrong nothing is restarted, and what is started later has those of before."""
        try:
            found = Settings.load_to_hand_down()
        except ConfigError as e:
            log.warning("restart_refused", error=e.message, note="what serves goes on with the settings that it has")
            return
        ignored = [name.upper() for name in FIXED if getattr(found, name) != getattr(self._settings, name)]
        if ignored:
            log.warning("restart_ignores", settings=ignored, note="they change when the parent is started again")
        self._rules = Rules.of(self._rules.processes, found.session_timeout_seconds)
        self._do(self._supervision.restart(time.monotonic(), self._rules))

    async def _watch_parent(self, pid: int | None) -> None:
        if pid is not None:
            await until_gone(pid)
            log.warning("parent_gone", parent_pid=pid)
            self._stop()

    async def _follow(self, start: Start, sock: socket.socket) -> None:
        """Hears what a child says until it has gone. One that can't be understood is told to end: nobody watches it."""
        child = self._children[start.life]
        try:
            child.channel = await Channel.of(sock)
            async for message in child.channel.messages():
                self._heard(child, message)
        except Exception:
            log.exception("process_not_understood", process=child.place, pid=child.process.pid)
            child.process.terminate()
        finally:
            if child.channel is None:
                sock.close()
            else:
                await child.channel.close(FAREWELL_SECONDS)
            self._wake.set()

    def _heard(self, child: _Child, message: Mapping[str, Any]) -> None:
        self._ledger.heard(child.life, message["counts"])
        self._news.set()
        self._news = asyncio.Event()
        if message["say"] == "ask":
            task = asyncio.create_task(self._answer(child, message["id"]), name="answer")
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._do(self._supervision.beat(child.life, time.monotonic(), ready=message["ready"]))

    async def _answer(self, child: _Child, number: int) -> None:
        """What all have counted until now: the others are asked first, and waited for if they listen."""
        before = {x.life: self._ledger.times(x.life) for x in self._children.values() if x is not child}
        for life in before:
            self._children[life].send("tell")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FRESH_SECONDS):
                while any(self._ledger.times(life) == n for life, n in before.items() if life in self._children):
                    await self._news.wait()
        look = self._supervision
        ends = {how.value: n for how, n in look.ends.items()}
        total = self._ledger.total(ends, look.states(), max(0.0, look.silence() - self._rules.beat_seconds))
        child.send("sum", id=number, counts=counts.dump(total))

    # What is to be done.

    def _do(self, todo: Sequence[Instruction]) -> None:
        for each in todo:
            match each:
                case Start(life, place):
                    try:
                        self._start(each)
                    except (OSError, subprocess.SubprocessError) as e:
                        log.error("process_not_started", process=place, error=str(e))  # noqa: TRY400 - expected
                        self._do(self._supervision.ended(life, EXIT_FAILED, time.monotonic()))
                case Terminate(life):
                    self._children[life].process.send_signal(signal.SIGTERM)
                case ShowStack(life):
                    self._children[life].process.send_signal(signal.SIGUSR1)
                case Kill(life):
                    self._children[life].process.kill()
                case Say():
                    self._say(each)
                case End(exit_code):
                    self._code = exit_code
                    self._wake.set()

    def _start(self, start: Start) -> None:
        """Raises OSError, SubprocessError: then there is no such child."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo, theirs:
            undo.callback(ours.close)
            http = tuple(each.fileno() for each in self._ports.http)
            handed = Handed(
                place=start.place,
                channel=theirs.fileno(),
                http=http,
                host=self._settings.host,
                grpc_port=self._ports.grpc_port,
                beat_seconds=self._rules.beat_seconds,
            )
            process = subprocess.Popen(  # noqa: S603 - this program
                [sys.executable, "-m", "qgjob_coordinator", "--child", handed.to_argument()],
                stdin=subprocess.DEVNULL,
                pass_fds=(handed.channel, *http),
                start_new_session=True,  # Ctrl-C in a terminal is for the parent
            )
            undo.pop_all()
        following = asyncio.create_task(self._follow(start, ours), name=f"process-{start.place}")
        self._children[start.life] = _Child(start, process, following)
        log.info("process_started", process=start.place, pid=process.pid)

    def _say(self, what: Say) -> None:
        who: dict[str, object] = self._where
        if what.life is not None:
            child = self._children.get(what.life)  # none of what could not be started
            who = {"process": what.place}
            if child is not None:
                who["pid"] = child.process.pid
        getattr(log, what.level)(what.event, **who, **dict(what.fields))
