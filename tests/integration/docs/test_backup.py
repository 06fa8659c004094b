"""The commands of docs/operations.md, "Backup and restore", typed in as they stand: under load, into a new store."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from qgjob import AsyncClient, JobStatus, NotFoundError, Outcome
from tests.fakes import history
from tests.fakes.flow import Flow
from tests.fakes.stack import AgentPlan, Stack, Times
from tests.fakes.store_audit import audit
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running

PAGE = (Path(__file__).parents[3] / "docs/operations.md").read_text(encoding="utf-8")
AGENTS = (AgentPlan("sim-1", 3, "emulator"), AgentPlan("cmd-1", 2, "device", runner="command"))
COMMAND_SECONDS = 30
WAYS = {"rdb": (0, 3), "aof": (2, 4)}
"""Which of the page's blocks make a backup, and which restores it."""

pytestmark = pytest.mark.skipif(
    not (shutil.which("redis-cli") and shutil.which("redis-server")),
    reason="the page's commands need redis-cli and redis-server: apt install redis-server",
)


def blocks() -> list[str]:
    part = PAGE.partition("\n#### Backup and restore\n")[2].partition("\n#### ")[0]
    return re.findall(r"```sh\n(.*?)```", part, re.DOTALL)


async def type_in(block: str, **variables: object) -> None:
    environ = {"PATH": os.environ["PATH"]} | {name: str(value) for name, value in variables.items()}
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        block,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(COMMAND_SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, f"{block}\n{said.decode()}"


def test_the_page_has_the_blocks_that_are_tried_here() -> None:
    assert len(blocks()) == 5
    assert [("SHUTDOWN" in block, "appendonlydir" in block) for block in blocks()] == [
        (False, False),
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    ]


async def test_a_snapshot_that_the_store_writes_itself_has_what_there_was(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "data", "--dbfilename", "dump.rdb")
    restored = StoreProcess(tmp_path / "new")
    store.start()
    try:
        with store.client() as raw:
            raw.set("qg:f:{fleet}:schema", "5")
        (tmp_path / "backup").mkdir()
        await type_in(blocks()[1], REDIS_URL=store.url, DATA=tmp_path / "data", BACKUP=tmp_path / "backup")
        (tmp_path / "new").mkdir()
        shutil.copy(tmp_path / "backup/qgjob.rdb", tmp_path / "new/dump.rdb")
        restored.start()
        with restored.client() as raw:
            assert raw.keys() == ["qg:f:{fleet}:schema"]
    finally:
        store.kill()
        restored.kill()


async def test_a_snapshot_is_not_an_older_one_because_the_store_was_busy(tmp_path: Path) -> None:
    """While it rewrites its append-only file it refuses to save; what lies there is of another time."""
    store = StoreProcess(tmp_path / "data", "--dbfilename", "dump.rdb", "--appendonly", "yes")
    store.start()
    try:
        with store.client() as raw:
            raw.save()
            raw.config_set("rdb-key-save-delay", 2_000)  # us a key: what it writes takes a second
            pipe = raw.pipeline()
            for n in range(500):
                pipe.set(f"qg:f:{{fleet}}:{n}", "5")
            pipe.execute()
            raw.bgrewriteaof()
            (tmp_path / "backup").mkdir()
            await type_in(blocks()[1], REDIS_URL=store.url, DATA=tmp_path / "data", BACKUP=tmp_path / "backup")
        assert b"fleet" in (tmp_path / "backup/qgjob.rdb").read_bytes()
    finally:
        store.kill()


async def test_the_address_that_the_page_gives_a_store_with_a_password_is_one_for_redis_cli_too(tmp_path: Path) -> None:
    """It takes a password without a user for that of a user without a name."""
    (told,) = re.findall(r"^\| the store needs a password \|.*\| `(redis://\S+)`", PAGE, re.MULTILINE)
    store = StoreProcess(tmp_path / "data")
    store.start()
    try:
        with store.client() as raw:
            raw.config_set("requirepass", "s3cret")
        url = told.replace("PASSWORD", "s3cret").replace("HOST:PORT", f"127.0.0.1:{store.port}")
        await type_in(blocks()[0], REDIS_URL=url, BACKUP=tmp_path)
        assert (tmp_path / "qgjob.rdb").read_bytes().startswith(b"REDIS")
    finally:
        store.kill()


@pytest.mark.parametrize("way", WAYS)
async def test_a_backup_made_under_load_is_restored_and_no_result_is_lost_silently(tmp_path: Path, way: str) -> None:
    backup, restore = (blocks()[i] for i in WAYS[way])
    stack = Stack(tmp_path / "stack", coordinators=1, agents=AGENTS, times=Times(lease=30.0))
    port = 0
    try:
        await stack.start()
        port = stack.store.port
        folders = {"DATA": tmp_path / "stack/store", "BACKUP": tmp_path / "backup", "NEW": tmp_path / "new"}
        for name in ("BACKUP", "NEW"):
            folders[name].mkdir()
        variables = folders | {"REDIS_URL": stack.store.url, "STORE_PORT": port}
        async with stack.client() as client:
            flow = Flow(client, "acme", 0.1)
            (tmp_path / "early").mkdir()
            (early,) = await client.submit_many(
                [command("acme", holding(tmp_path / "early"), requirements=pinned("cmd-1-1"))]
            )
            await running(client, early.job_id)
            await flow.reach(20)
            before = list(flow.acknowledged)
            await type_in(backup, **variables)
            await flow.reach(20)
            (tmp_path / "late").mkdir()
            (late,) = await client.submit_many(
                [command("acme", holding(tmp_path / "late"), requirements=pinned("cmd-1-2"))]
            )
            await running(client, late.job_id)
            await pids(tmp_path / "late")
            acknowledged = await flow.end()
        await stack.coordinators[0].end()
        # Both end with nobody to tell it to: their results wait in the agent's spool.
        for name in ("early", "late"):
            (tmp_path / name / "go").touch()
        agent = stack.agents["cmd-1"]
        spool = agent.folder / "state/spool.journal"
        # One line each, or both in one where they end together.
        await until(
            lambda: spool.exists() and spool.read_text().count('"finished"') == 2, "the results are not spooled"
        )

        await type_in(restore, **variables)
        stack.coordinators[0].start()
        await stack.serving(0)
        await stack.online(*stack.agents)
        async with stack.client() as client:
            done = await client.wait([early.job_id, *before], timeout_seconds=60)
            assert {job.outcome for job in done} == {Outcome.PASSED}
            told = await agent.says("result_not_taken", job_id=late.job_id)
            assert told["outcome"] == "passed"
            await stack.coordinators[0].says("result_not_taken", job_id=late.job_id, job_status="unknown")
            assert not agent.events("result_not_taken", job_id=early.job_id), "the older state knew its lease"
            (first,) = [job for job in done if job.job_id == early.job_id]
            assert len(first.attempts) == 1
            await lost_or_known(client, acknowledged)
            with pytest.raises(NotFoundError):
                await client.get(late.job_id)
            again = (await client.submit_many([command("acme", "true")]))[0]
            await reach(client, again.job_id, JobStatus.COMPLETED)
            with Redis(port=port, decode_responses=True, protocol=2) as raw:
                await history.check(client, raw, ["acme"])
                assert audit(raw) == []
                assert raw.info("persistence")["aof_enabled"] == 1, "the new store writes its log"
    finally:
        if port:
            with Redis(port=port) as raw, suppress(RedisConnectionError):
                raw.shutdown(nosave=True)
        await stack.stop()


async def lost_or_known(client: AsyncClient, job_ids: list[str]) -> None:
    """A job of after the backup is gone, and said to be; what is there is sound."""
    for job_id in job_ids:
        with suppress(NotFoundError):
            await client.wait(job_id, timeout_seconds=30)
