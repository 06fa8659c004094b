"""A witness sees what a real store carries out, and that it goes away."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from tests.chaos.history import Write
from tests.chaos.witness import watch
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

CLAIM = """
redis.call('HMGET', KEYS[1] .. 'j:' .. ARGV[2], 's')
redis.call('HSET', KEYS[1] .. 'j:' .. ARGV[2], 's', 's', 'l', '3 ' .. ARGV[3] .. ' cmd-1 cmd-1-1 9', 'v', '2')
redis.call('HSET', KEYS[1] .. 'ct', 's', '1', 'v', '1')
"""
FINISH = """-- "Ü"\tä
redis.call('HSET', KEYS[1] .. 'j:' .. ARGV[1], 's', 'c', 'oc', 'passed 9', 'v', '3')
"""
PATIENCE_SECONDS = 10.0


@pytest.mark.asyncio
async def test_a_witness_sees_the_scripts_of_a_real_store_until_it_goes(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store")
    store.start()
    seen: asyncio.Queue[Write] = asyncio.Queue()
    names = {
        hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(): name
        for text, name in ((CLAIM, "claim"), (FINISH, "finish"))
    }
    watching = asyncio.create_task(watch(store.port, seen.put_nowait, names))
    try:
        with store.client() as redis:
            await until(lambda: "monitor" in {client["cmd"] for client in redis.client_list()}, "nobody watches")
            redis.eval(CLAIM, 1, "qg:o:{acme}:", "9", "01", "t1")
            redis.evalsha(redis.script_load(FINISH), 1, "qg:o:{acme}:", "01", "t0", 'a "quoted" \\ word\n')
        async with asyncio.timeout(PATIENCE_SECONDS):
            granted, verdict = await seen.get(), await seen.get()
    finally:
        store.stop()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await watching
    assert (granted.job_id, granted.version, granted.letter, granted.granted) == ("acme~01", 2, "s", "t1")
    assert (granted.epoch, granted.agent_id, verdict.epoch) == (3, "cmd-1", None)
    assert (verdict.job_id, verdict.version, verdict.letter, verdict.said) == ("acme~01", 3, "c", ("t0",))
    assert (granted.script, verdict.script) == ("claim", "finish")
    assert granted.at <= verdict.at
    assert seen.empty()
