"""A child's side of it: what its parent handed down, and what the two tell each other."""

from __future__ import annotations

import asyncio
import faulthandler
import itertools
import json
import select
import signal
import socket
import sys
import threading
from dataclasses import asdict, dataclass

from qgjob_coordinator.errors import ParentSilentError
from qgjob_coordinator.processes import counts
from qgjob_coordinator.processes.channel import Channel
from qgjob_coordinator.telemetry import Telemetry

ANSWER_SECONDS = 2.0
FAREWELL_SECONDS = 1.0
LAST_RESORT_BEATS = 30
"""How many beats after its parent a child ends at the latest: one that hangs has nobody left to kill it."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What a child is started with. `channel` and `http` are file descriptors that it inherits."""

    place: int
    channel: int
    http: tuple[int, ...]
    host: str
    grpc_port: int
    beat_seconds: float

    def to_argument(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_argument(cls, text: str) -> Handed:
        """What `to_argument` made."""
        values = json.loads(text)
        return cls(**values | {"http": tuple(values["http"])})


class Member:
    """One of several processes."""

    def __init__(self, handed: Handed, telemetry: Telemetry) -> None:
        self.host = handed.host
        self.grpc_port = handed.grpc_port
        self.http = [socket.socket(fileno=fd) for fd in handed.http]
        self._beat_seconds = handed.beat_seconds
        self._telemetry = telemetry
        self._socket = socket.socket(fileno=handed.channel)
        self._ready = False
        self._closed = False
        self._ending = threading.Lock()
        self._asked: dict[int, asyncio.Future[Telemetry]] = {}
        self._ids = itertools.count(1)

    @staticmethod
    def explain_itself() -> None:
        """From now on SIGUSR1 writes every thread's stack to standard error, also while the event loop hangs."""
        faulthandler.register(signal.SIGUSR1, file=sys.stderr, all_threads=True)

    async def open(self) -> None:
        """Before anything else: takes up the connection to the parent."""
        watched = self._socket.dup()
        threading.Thread(target=self._outlive, args=(watched,), name="last-resort", daemon=True).start()
        self._channel = await Channel.of(self._socket)

    async def beat(self) -> None:
        """Tells the parent that the event loop runs, for ever."""
        while True:
            self._tell()
            await asyncio.sleep(self._beat_seconds)

    async def listen(self) -> None:
        """Answers the parent; returns when it is gone."""
        async for message in self._channel.messages():
            if message["say"] == "tell":
                self._tell()
            elif message["say"] == "sum":
                waiting = self._asked.pop(message["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(counts.load(message["counts"]))

    def serves(self) -> None:
        """Tells the parent that it serves."""
        self._ready = True
        self._tell()

    async def totals(self) -> Telemetry:
        """What all processes have counted together. Raises ParentSilentError."""
        number = next(self._ids)
        answer: asyncio.Future[Telemetry] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.send("ask", id=number, counts=counts.dump(self._telemetry))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            raise ParentSilentError(
                f"the parent of the coordinator's processes did not answer within {ANSWER_SECONDS:g} s; "
                "ask again, and look at that process when it stays so"
            ) from None
        finally:
            self._asked.pop(number, None)

    async def close(self) -> None:
        """Tells what was counted to the end."""
        self._tell()
        await self._channel.close(FAREWELL_SECONDS)
        with self._ending:
            self._closed = True
            faulthandler.cancel_dump_traceback_later()

    def _outlive(self, watched: socket.socket) -> None:
        """Waits in a thread, which the event loop can't hold up, until the parent is gone: from then on time is short.

        While the parent lives nothing is counted: time that a whole machine or container stood still is nobody's fault.
        """
        with watched:
            gone = select.poll()
            gone.register(watched, 0)  # only the end of the other side
            gone.poll()
        with self._ending:
            if not self._closed:
                faulthandler.dump_traceback_later(LAST_RESORT_BEATS * self._beat_seconds, exit=True)

    def _tell(self) -> None:
        self._channel.send("beat", ready=self._ready, counts=counts.dump(self._telemetry))
