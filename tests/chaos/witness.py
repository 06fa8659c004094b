"""Sees what the store carries out (MONITOR): which lease a claim granted, by which report a job changed, and sessions.

The event stream names attempt, device and agent of a verdict, and two leases may have all three in common. The tokens
tell them apart, and only here is seen both what a call said and what came of it: a job's record has the token that the
store believed, whoever reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise

from qgjob_coordinator.store.scripts import LUA, script
from tests.chaos.history import SHOWS, Opened, Write

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')
_CALLS = ('"EVALSHA"', '"EVAL"')
_OF_SCRIPT = '[0 lua] "HSET" "qg:'
_OF_JOB = f"{_OF_SCRIPT}o:{{"
_OF_AGENT = f"{_OF_SCRIPT}f:{{fleet}}:ag:"
_JOB_KEY = re.compile(r"qg:o:\{([^}]+)\}:j:(\w+)")
SHOWN_BY = 8
"""Which of its arguments is the agent."""
LINE_BYTES = 64 * 1024 * 1024
"""The longest line: a call with a thousand jobs is one."""


class Scripts:
    """Makes of the lines of MONITOR what scripts did to jobs and sessions. Pure.

    `at` is as the store has it (s since 1970). `names`: of scripts, by their SHA-1; the product's when left out.
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._call = ""
        self._said: list[str] | None = None
        self._names = _product() if names is None else names

    def read(self, line: str) -> Write | Opened | None:
        """What this line changed of a job's status, or which session it opened; None when nothing."""
        if line.find(_OF_AGENT, 0, 70) >= 0:
            return _opened(line)
        if line.find(_OF_JOB, 0, 60) < 0:
            if any(word in line[:80] for word in _CALLS):
                self._call, self._said = line, None
            return None
        _, key, *words = _WORD.findall(line)
        job = _JOB_KEY.fullmatch(key)
        fields = dict(zip(words[::2], words[1::2], strict=False))
        if job is None or not {"s", "v"} <= fields.keys():
            return None
        if self._said is None:
            self._said = _WORD.findall(self._call)
        said = self._said
        lease = fields.get("l", "").split(" ")  # epoch, token, agent, device, time
        granted = fields["s"] == "s" and len(lease) > 2
        name = self._names.get(_sha(*said[:2]))
        return Write(
            at=float(line.split(" ", 1)[0]),
            job_id=f"{job[1]}~{job[2]}",
            version=int(fields["v"]),
            letter=fields["s"],
            granted=lease[1] if granted else None,
            said=tuple(b for a, b in pairwise(said) if a == job[2]),
            script=name,
            epoch=int(lease[0]) if granted else None,
            agent_id=lease[2] if granted else _argument(said, SHOWN_BY) if name == SHOWS else None,
        )


def _argument(said: Sequence[str], number: int) -> str:
    """ARGV of a call: behind command, script, the number of its keys, and these."""
    return said[2 + int(said[2]) + number]


def _opened(line: str) -> Opened | None:
    """Of all that is written of an agent only a Connect names its epoch."""
    _, key, *words = _WORD.findall(line)
    fields = dict(zip(words[::2], words[1::2], strict=False))
    if "epoch" not in fields:
        return None
    return Opened(float(line.split(" ", 1)[0]), key.rpartition(":")[2], int(fields["epoch"]))


@cache
def _product() -> Mapping[str, str]:
    return {script(file.stem).sha: file.stem for file in LUA.glob("*.lua")}


@cache
def _sha(command: str, called: str) -> str:
    """By which the store knows the script: EVALSHA names it, EVAL brings the text."""
    if command == "EVALSHA":
        return called
    text = called.encode("latin-1").decode("unicode_escape").encode("latin-1")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


async def watch(port: int, write: Callable[[Write | Opened], None], names: Mapping[str, str] | None = None) -> None:
    """Reads on until the store goes away; `names` as for Scripts. Raises OSError when it is not there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LINE_BYTES)
    try:
        writer.write(b"MONITOR\r\n")
        await writer.drain()
        scripts = Scripts(names)
        while line := await reader.readline():
            if (found := scripts.read(line.decode(errors="replace").lstrip("+"))) is not None:
                write(found)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
