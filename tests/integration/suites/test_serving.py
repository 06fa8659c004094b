"""Suites as callers see them: the client, the command line, REST and an agent, with a coordinator that is a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from qgjob import AsyncClient, Client, ConflictError, InvalidError, JobSpec
from qgjob.cli.app import run
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.plain_http import NO_TLS
from tests.fakes.raw_agent import RawAgent
from tests.fakes.reply_eater import ReplyEater
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

NOWHERE = {"device_id": "nowhere"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    store = StoreProcess(tmp_path_factory.mktemp("store"))
    store.start()
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"), store.url, SUITE_MAX_MB=1)
    try:
        process.start()
        yield process
    finally:
        process.stop()
        store.stop()


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "e2e"
    for path in ("package.json", "tests/a.spec.ts", "tests/b.spec.ts", "node_modules/x/index.js"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)
    return folder


async def test_jobs_are_equal_with_the_same_suite_only(served: CoordinatorProcess, suite: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.js").write_text("")
    async with AsyncClient(served.target) as client:
        told: list[int] = []
        pushed = await client.push_suite("alike", suite, on_progress=lambda sent, _: told.append(sent))
        assert (pushed.uploaded, pushed.suite.name, pushed.suite.file_count) == (True, "e2e", 3)
        assert told[-1] == pushed.suite.size_bytes
        assert not (await client.push_suite("alike", suite)).uploaded
        other = (await client.push_suite("alike", tmp_path / "other")).suite
        assert [each async for each in client.list_suites("alike")] == [other, pushed.suite]
        plain = JobSpec("alike", "v1", "tests/a.spec.ts", requirements=NOWHERE)
        specs = [replace(plain, suite_digest=digest) for digest in (None, pushed.suite.digest, other.digest)]
        jobs = await client.submit_many(specs)
        assert [job.suite_digest for job in jobs] == [spec.suite_digest for spec in specs]
        assert len({job.job_id for job in jobs}) == 3
        again = [await client.submit(spec) for spec in specs]
        assert [job.job_id for job in again] == [job.job_id for job in jobs]
        assert all(job.deduplicated for job in again)
        assert (await client.get(jobs[1].job_id)).suite_digest == pushed.suite.digest
        keyed = replace(specs[1], idempotency_key="once")
        await client.submit(keyed)
        with pytest.raises(ConflictError, match="idempotency_key"):
            await client.submit(replace(keyed, suite_digest=other.digest))


async def test_a_suite_that_is_not_there_is_refused_with_what_to_push(served: CoordinatorProcess) -> None:
    missing = "ab" * 32
    body = {"org_id": "none", "app_version_id": "v1", "test_path": "a.js", "suite_digest": missing}
    async with AsyncClient(served.target) as client:
        job = JobSpec("none", "v1", "a.js", suite_digest=missing)
        with pytest.raises(InvalidError, match="qgjob suites push DIR --org-id=none") as raised:
            await client.submit_many([replace(job, suite_digest=None), job])
        assert raised.value.field == "jobs[1].suite_digest"
        assert [each async for each in client.list("none")] == []
    async with httpx2.AsyncClient(base_url=served.url, verify=NO_TLS) as http:
        answer = await http.post("/api/jobs", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, "suite_digest")
        answer = await http.post("/api/jobs", json=body | {"suite_digest": "x"})
        assert (answer.status_code, answer.json()["field"]) == (400, "suite_digest")
        answer = await http.post("/api/jobs", json=body | {"suite_digest": None})
        assert (answer.status_code, answer.json()["suite_digest"]) == (201, None)


async def test_a_push_of_a_suite_whose_answer_was_lost_is_repeated(served: CoordinatorProcess, suite: Path) -> None:
    sent = asyncio.Event()
    async with ReplyEater(served.grpc_port) as proxy, AsyncClient(f"127.0.0.1:{proxy.port}") as client:

        def progress(at: int, size: int) -> None:
            if at == size and not sent.is_set():
                proxy.eat()
                sent.set()

        pushing = asyncio.create_task(client.push_suite("lost", suite, on_progress=progress))
        await sent.wait()
        async with AsyncClient(served.target) as other:

            async def kept() -> list[str]:
                return [each.digest async for each in other.list_suites("lost")]

            await until(kept, "the push had no effect")
        proxy.cut()
        assert not (await pushing).uploaded


async def test_an_agent_is_told_which_suite_and_how_large(served: CoordinatorProcess, suite: Path) -> None:
    async with AsyncClient(served.target) as client, RawAgent(served.target, "suite-raw") as agent:
        pushed = (await client.push_suite("told", suite)).suite
        await agent.hello()
        needs = {"device_id": agent.device_ids[0]}
        plain = JobSpec("told", "v1", "tests/a.spec.ts", target="browserstack", requirements=needs)
        for count, digest in enumerate((pushed.digest, None), 1):
            await client.submit(replace(plain, suite_digest=digest))
            a = (await agent.assigned(count))[-1]
            assert (a.suite_digest or None, a.HasField("suite_digest")) == (digest, digest is not None)
            assert a.suite_size_bytes == (pushed.size_bytes if digest else 0)
            await agent.verdict(await agent.start(a))
            await agent.verdict(await agent.finish(a))
        assert agent.target == types.TARGET_BROWSERSTACK


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def qgjob(
    served: CoordinatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Run a command line in this process; its exit code, and what it printed."""
    monkeypatch.setenv("QGJOB_COORDINATOR", served.target)
    monkeypatch.setenv("QGJOB_ORG_ID", "cli")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        return run(arguments), *capfd.readouterr()

    return command


def test_the_command_line_packs_pushes_and_expands(qgjob: Command, suite: Path) -> None:
    submit = ("submit", "--app-version-id=v1", "--device-id=nowhere", "--suite=e2e", "-o", "json")
    code, out, err = qgjob(*submit, "--test=tests/*.spec.ts", "--test=tests/b.spec.ts")
    assert code == 0, err
    assert "suite e2e: 3 files" in err
    jobs = json.loads(out)["jobs"]
    assert [job["test_path"] for job in jobs] == ["tests/a.spec.ts", "tests/b.spec.ts"]
    code, out, err = qgjob("suites", "push", "e2e", "-o", "json")
    assert (code, json.loads(out)["uploaded"]) == (0, False)
    assert {job["suite_digest"] for job in jobs} == {json.loads(out)["suite"]["digest"]}
    (suite / "tests" / "a.spec.ts").write_text("changed, and never sent")
    code, out, err = qgjob(*submit, "--test=tests/c*")
    assert (code, out) == (3, "")
    assert err.startswith("error: --test: 'tests/c*' matches none of the 3 files of the suite e2e; ")
    code, out, err = qgjob("suites", "ls", "-o", "json")
    assert (code, json.loads(out)["count"]) == (0, 1)
    code, out, err = qgjob("suites", "ls")
    assert (code, "e2e" in out) == (0, True)
    code, _, err = qgjob(*submit[:3], "--suite=none", "--test=a")
    assert (code, err) == (2, "error: --suite: 'none' is not there; name the folder of the test project\n")
    late = ("run", *submit[1:3], "--suite=e2e", "--test=tests/b.spec.ts", "--timeout=0.001s")
    code, _, err = qgjob(*late)
    assert (code, err) == (124, "error: --timeout: is over before the suite was sent; nothing was submitted\n")
    (suite / "large.bin").write_bytes(bytes(1_000_001))
    code, _, err = qgjob("suites", "push", "e2e")
    assert code == 1
    assert err.startswith("error: DIR: the suite has 10")
    assert "SUITE_MAX_MB" in err
    code, _, err = qgjob(*submit[:3], "--test=tests/*.ts")
    assert (code, "is known with --suite only" in err) == (0, True)


def test_a_path_that_no_job_may_have_is_told_before_the_suite_is_sent(qgjob: Command, suite: Path) -> None:
    deep = suite / ("d" * 250) / ("e" * 250)
    deep.mkdir(parents=True)
    fits, long = (deep / f"{'f' * length}.ts" for length in (7, 8))
    for each in (fits, long):
        each.touch()
    there = qgjob("suites", "ls", "-o", "json")
    submit = ("submit", "--app-version-id=v1", "--device-id=nowhere", "--suite=e2e")
    for test in ("**/*.ts", long.relative_to(suite).as_posix()):
        code, out, err = qgjob(*submit, f"--test={test}")
        assert (code, out) == (2, "")
        assert err.startswith("error: --test: 'dddd")
        assert err.endswith("' has 513 bytes, and a test's path may have 512; give its folders shorter names\n")
    assert qgjob("suites", "ls", "-o", "json") == there
    code, _, err = qgjob(*submit, "--test=d*/*/fffffff.ts")
    assert code == 0, err


async def test_the_blocking_client_does_the_same(served: CoordinatorProcess, suite: Path) -> None:
    def work() -> None:
        with Client(served.target) as client:
            pushed = client.push_suite("blocking", suite)
            assert list(client.list_suites("blocking")) == [pushed.suite]
            assert client.suites_page("blocking").suites == (pushed.suite,)

    await asyncio.to_thread(work)
