"""Loads the Lua files and runs them.

`--!include lib/x` in a script is replaced by that file, so that what several scripts do stands in one place.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004 - redis's own
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    TimeoutError,  # noqa: A004 - redis's own
    TryAgainError,
)

from qgjob_coordinator.errors import StoreRightsError, StoreUnavailableError
from qgjob_coordinator.store.exchange import Command
from qgjob_coordinator.store.faults import own_words, why_away, why_it_refuses, why_refused
from qgjob_coordinator.store.rights import Rights, missing

LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"^--!include (\S+)$", re.MULTILINE)
# Error words of a store that is there and can't serve now.
_REFUSED = (OutOfMemoryError, ClusterDownError, MasterDownError, TryAgainError)  # redis-py cuts off their words
_UNAVAILABLE = ("OOM", "MISCONF", "LOADING", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "BUSY", "READONLY")

Reply = Any
Send = Callable[[Sequence[Command]], Awaitable[list[Reply]]]
"""See Topology.exchange."""
Arg = str | int | float | bytes


@dataclass(frozen=True, slots=True)
class Script:
    """One Lua file with its includes resolved."""

    name: str
    text: str
    sha: str


@dataclass(frozen=True, slots=True)
class Step:
    """One part of a batch: a script with its prefix, or (script None) a plain command."""

    script: str | None
    prefix: str
    args: Sequence[Arg]


@cache
def script(name: str) -> Script:
    """The script `lua/<name>.lua`. Raises FileNotFoundError when there is none."""
    text = _INCLUDE.sub(lambda m: (LUA / f"{m[1]}.lua").read_text(), (LUA / f"{name}.lua").read_text())
    # Redis names a script by its SHA-1; nothing here depends on its strength.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def unavailable(error: RedisError) -> StoreUnavailableError | None:
    """The caller's view of a store error that passes by itself, or when the store is mended; None for a bug of ours."""
    if isinstance(error, AuthenticationError):
        return StoreUnavailableError(f"{why_refused(error)}; repeat the call later")
    if isinstance(error, (BusyLoadingError, ReadOnlyError)):
        return StoreUnavailableError(f"the store is away ({type(error).__name__}); repeat the call later")
    if isinstance(error, (ConnectionError, TimeoutError)):
        return StoreUnavailableError(f"the store is away ({why_away(error)}); repeat the call later")
    rule = missing(error)
    if rule is not None:
        return StoreRightsError([rule])
    if isinstance(error, _REFUSED) or own_words(error).split(" ", 1)[0] in _UNAVAILABLE:
        return StoreUnavailableError(f"the store refuses writes now ({why_it_refuses(error)}); repeat the call later")
    return None


class Door:
    """Whether anything may be sent; `shut` says why not. A store of another schema must not be guessed at.

    A refusal for want of `rights` shuts it too: what a script wrote before it was refused the next command stays, so
    nothing more is begun until all is allowed. One that is `always_open` is for what finds out about such things.
    """

    def __init__(self, rights: Rights | None = None, *, always_open: bool = False) -> None:
        self.shut: str | None = None
        self._rights = rights or Rights()
        self._always_open = always_open

    def told(self, error: RedisError) -> Exception:
        """What to raise for an error that the store answered with."""
        found = unavailable(error)
        if isinstance(found, StoreRightsError):
            self._rights.refused(found)
            self.shut = None if self._always_open else found.message
        return found or error

    def check(self) -> None:
        """Raises StoreUnavailableError when it is shut."""
        if self.shut is not None:
            raise StoreUnavailableError(self.shut)


class ScriptRunner:
    """Runs scripts by hash, loads what a new store does not know, and times every call.

    All scripts may be run twice with the same arguments, so a call whose reply was lost is repeated once, at once.
    """

    def __init__(self, exchange: Send, observe: Callable[[str, float], None], door: Door) -> None:
        self._exchange = exchange
        self._door = door
        self._observe = observe

    async def run(self, name: str, prefix: str, args: Sequence[Arg]) -> Reply:
        """One script on one tag. Raises StoreUnavailableError."""
        self._door.check()
        s = script(name)
        begun = time.perf_counter()
        try:
            return await self._evaluate(s, prefix, args)
        finally:
            self._observe(name, time.perf_counter() - begun)

    async def batch(self, steps: Sequence[Step]) -> list[Reply]:
        """Several scripts and commands in one round trip, in order, each atomic by itself.

        From the first script that the store does not know, the batch is repeated one by one: all may be run twice, and
        what came before keeps its first answer. Raises StoreUnavailableError.
        """
        self._door.check()
        begun = time.perf_counter()
        try:
            replies = await self._exchange([_command(step) for step in steps])
        except RedisError as e:
            raise self._door.told(e) from e
        finally:
            self._observe(next((s.script for s in steps if s.script), "command"), time.perf_counter() - begun)
        for i, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                return [*replies[:i], *[await self._step(step) for step in steps[i:]]]
            if isinstance(reply, RedisError):
                raise self._door.told(reply)
        return replies

    async def _step(self, step: Step) -> Reply:
        if step.script is not None:
            return await self._evaluate(script(step.script), step.prefix, step.args)
        try:
            return await self._ask(*step.args)
        except RedisError as e:
            raise self._door.told(e) from e

    async def _evaluate(self, s: Script, prefix: str, args: Sequence[Arg]) -> Reply:
        for attempt in (1, 2):
            try:
                return await self._ask("EVALSHA", s.sha, 1, prefix, *args)
            except NoScriptError:
                return await self._load_and_run(s, prefix, args)
            except ConnectionError as e:
                if attempt == 2:
                    raise cast(StoreUnavailableError, unavailable(e)) from e
            except RedisError as e:
                raise self._door.told(e) from e
        raise AssertionError("unreachable")

    async def _load_and_run(self, s: Script, prefix: str, args: Sequence[Arg]) -> Reply:
        try:
            return await self._ask("EVAL", s.text, 1, prefix, *args)
        except RedisError as e:
            raise self._door.told(e) from e

    async def _ask(self, *command: Arg) -> Reply:
        """One command. Raises RedisError."""
        (reply,) = await self._exchange([command])
        if isinstance(reply, RedisError):
            raise reply
        return reply


def _command(step: Step) -> Sequence[Arg]:
    if step.script is None:
        return step.args
    return ("EVALSHA", script(step.script).sha, 1, step.prefix, *step.args)
