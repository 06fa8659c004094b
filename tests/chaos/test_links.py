"""The lab's own tools: links that hold, delay, eat and repeat, and the truth that tests write down."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from tests.chaos.links import Link
from tests.chaos.repeats import RespRepeats, frame_end
from tests.chaos.truth import Truth, parse
from tests.fakes.program import end_leftovers
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Link, list[bytes]]]:
    """A link to a server that answers each line with itself, and the lines that it got."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            lines.append(line)
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server, Link() as link:
        link.to(server.sockets[0].getsockname()[1])
        yield link, lines


async def test_what_a_link_holds_arrives_afterwards_in_order() -> None:
    async with echo() as (link, lines):
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        writer.write(b"1\n")
        assert await reader.readline() == b"1\n"
        link.hold(down=True)
        writer.write(b"2\n")
        await until(lambda: len(lines) == 2, "what goes up is held too")
        writer.write(b"3\n")
        link.heal()
        assert [await reader.readline(), await reader.readline()] == [b"2\n", b"3\n"]
        link.hold(up=True)
        writer.write(b"4\n")
        answer = asyncio.create_task(reader.readline())
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done
        assert lines[-1] == b"3\n"
        link.heal()
        assert await answer == b"4\n"
        writer.close()


async def test_what_a_link_eats_has_its_effect_and_breaks_the_connection_afterwards() -> None:
    async with echo() as (link, lines):
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        link.eat()
        writer.write(b"1\n")
        await until(lambda: lines == [b"1\n"] and link.down.eaten == 2, "it is not eaten")
        link.heal()
        await until(lambda: reader.at_eof() or reader.exception() is not None, "the connection is not broken")
        again, another = await asyncio.open_connection("127.0.0.1", link.port)
        another.write(b"2\n")
        assert await again.readline() == b"2\n"
        writer.close()
        another.close()


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


ANSWERS = (
    b"+OK\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"$2\r\nab\r\n",
    b"*2\r\n:1\r\n*1\r\n$1\r\na\r\n",
    b"%1\r\n+a\r\n:2\r\n",
    b"*-1\r\n",
)


@given(st.lists(st.sampled_from(ANSWERS)), st.integers(1, 7))
def test_answers_are_taken_apart_wherever_they_are_cut(answers: list[bytes], step: int) -> None:
    data, at, found = b"".join(answers), 0, []
    while at < len(data):
        end = frame_end(data, at)
        found.append(data[at:end])
        at = end
    assert found == answers
    repeats = RespRepeats()
    pieces = [data[i : i + step] for i in range(0, len(data), step)]
    assert b"".join(repeats.down(piece) for piece in pieces) == data


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(ANSWERS)), max_size=20), st.integers(1, 9))
def test_scripts_go_up_twice_and_come_down_once(calls: list[tuple[bool, bytes]], step: int) -> None:
    script, other = command(b"EVALSHA", b"sha", b"1", b"k"), command(b"HGET", b"k", b"f")
    data = b"".join(script if is_script else other for is_script, _ in calls)
    repeats = RespRepeats()
    up = b"".join(repeats.up(data[i : i + step], twice=True) for i in range(0, len(data), step))
    assert up == b"".join(script * 2 if is_script else other for is_script, _ in calls)
    down = b"".join(answer + (b"-second\r\n" if is_script else b"") for is_script, answer in calls)
    got = b"".join(repeats.down(down[i : i + step]) for i in range(0, len(down), step))
    assert got == b"".join(answer for _, answer in calls)


async def test_a_store_runs_each_script_of_such_a_link_twice(store_process: StoreProcess, raw: Redis) -> None:
    async with Link(RespRepeats) as link:
        link.to(store_process.port)
        link.twice = True

        def ask() -> object:
            with Redis(port=link.port, protocol=2, decode_responses=True) as client:
                return client.eval("return redis.call('INCR', KEYS[1])", 1, "n")

        assert await asyncio.to_thread(ask) == 1
        assert raw.get("n") == "2"


async def test_a_test_that_finds_another_one_alive_on_its_device_or_of_its_job_says_so(tmp_path: Path) -> None:
    truth = Truth(tmp_path / "truth")
    environ = {
        "PATH": "/usr/bin:/bin",
        "QGJOB_DEVICE_ID": "cmd-1-1",
        "QGJOB_JOB_ID": "acme~01",
        "QGJOB_ORG_ID": "acme",
        "KEY": "acme-1.spec.js",
        "SECONDS_LONG": "0.01",
        "MARK": str(tmp_path),
    }

    def start(attempt: int, does: str) -> subprocess.Popen[bytes]:
        more = {"QGJOB_ATTEMPT": str(attempt), "QGJOB_EXECUTION": f"x{attempt}", "DOES": does}
        return subprocess.Popen(
            ["sh", str(tmp_path / "truth" / "test.sh"), str(tmp_path / "truth")],
            env=environ | more,
        )

    assert start(1, "fail").wait(10) == 1
    assert start(2, "tree").wait(10) == 0  # its child lives on
    assert start(3, "pass").wait(10) == 0
    assert await end_leftovers(tmp_path, patience_seconds=0)
    while await end_leftovers(tmp_path, patience_seconds=0):  # a shell whose sleep was killed had begun the next one
        pass
    assert start(4, "pass").wait(10) == 0
    runs = truth.runs()
    assert [(run.attempt, run.alone, run.only, run.code) for run in runs] == [
        (1, True, True, 1),
        (2, True, True, 0),
        (3, False, False, 0),
        (4, True, True, 0),
    ]
    with pytest.raises(ValueError, match="a line that no test writes"):
        parse("B x")
