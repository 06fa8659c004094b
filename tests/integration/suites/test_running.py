"""`run --suite` from a folder to verdicts: command line, coordinator, agent and tests are processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from qgjob import AsyncClient, ErrorClass, JobSpec, JobStatus, Outcome
from tests.fakes import command_line
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

PACKAGE = {"package.json": '{"dependencies": {"x": "1"}}', "package-lock.json": '{"packages": {}}'}


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[tuple[CoordinatorProcess, AgentProcess]]:
    """A coordinator and an agent with the command runner, whose npm installs a word once it may."""
    store = StoreProcess(tmp_path / "store")
    store.start()
    coordinator = CoordinatorProcess(tmp_path / "coordinator", store.url)
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\necho $$ >> ../../../npm-runs\nwhile test -e ../../../slow; do sleep 0.1; done\n"
        "mkdir -p node_modules && echo installed > node_modules/word\n"
    )
    npm.chmod(0o755)
    settings = {"RUNNER": "command", "COMMAND_ARGV": '["sh", "{test_path}"]', "SUITES_NPM": npm}
    try:
        coordinator.start()
        async with AgentProcess(tmp_path, QGJOB_COORDINATOR=coordinator.target, **settings) as agent:
            yield coordinator, agent
    finally:
        coordinator.stop()
        store.stop()


async def qgjob(served: CoordinatorProcess, folder: Path, *arguments: str) -> command_line.Done:
    return await command_line.qgjob(folder, *arguments, QGJOB_COORDINATOR=served.target, QGJOB_ORG_ID="acme")


async def test_tests_run_in_the_suite_that_came_with_them(
    lab: tuple[CoordinatorProcess, AgentProcess], tmp_path: Path
) -> None:
    served, agent = lab
    suite, cache = tmp_path / "e2e", tmp_path / "state" / "suites"
    (suite / "tests").mkdir(parents=True)
    for name, text in {**PACKAGE, "tests/a.sh": "cat node_modules/word", "tests/b.sh": "exit 3"}.items():
        (suite / name).write_text(text)
    run = ("run", "--app-version-id=v1", "--max-retries=0", "--timeout=60s", "-o", "json")
    code, out, err = await qgjob(served, tmp_path, *run, "--suite=e2e", "--test=tests/*.sh")
    jobs = {job["test_path"]: job for job in json.loads(out)["jobs"]}
    assert code == 10, err
    assert {path: job["outcome"] for path, job in jobs.items()} == {
        "tests/a.sh": "passed",
        "tests/b.sh": "test_failed",
    }
    _, log, _ = await qgjob(served, tmp_path, "logs", jobs["tests/a.sh"]["job_id"])
    assert "installed" in log
    # Another state of the tests is another suite; what their lock file names is there already.
    (suite / "tests" / "b.sh").write_text("cat node_modules/word")
    code, out, err = await qgjob(served, tmp_path, *run, "--suite=e2e", "--test=tests/b.sh")
    assert code == 0, err
    assert runs_of_npm(cache) == 1
    # A suite whose bytes are gone fails the job at once, and what it says is what to do.
    (suite / "tests" / "c.sh").write_text("exit 0")
    code, out, err = await qgjob(served, tmp_path, "suites", "push", "e2e", "-o", "json")
    digest = json.loads(out)["suite"]["digest"]
    (found,) = (tmp_path / "coordinator").rglob(digest)
    found.unlink()
    async with AsyncClient(served.target) as client:
        submitted = await client.submit(JobSpec("acme", "v1", "tests/c.sh", suite_digest=digest))
        (job,) = await client.wait([submitted.job_id], timeout_seconds=60)
        assert (job.outcome, len(job.attempts)) == (Outcome.PROVIDER_ERROR, 1)
        assert job.error is not None
        assert job.error.error_class is ErrorClass.BUILD
        assert "qgjob suites push DIR --org-id=acme" in job.error.message
        # An agent that dies while a suite is made ready costs the job nothing: it is tried again.
        (cache / "slow").touch()
        (suite / "package-lock.json").write_text('{"packages": {"": {}}}')
        pushed = (await client.push_suite("acme", suite)).suite
        submitted = await client.submit(JobSpec("acme", "v1", "tests/a.sh", suite_digest=pushed.digest, max_retries=0))
        await until(lambda: runs_of_npm(cache) == 2, "npm was not started")
        assert (await client.get(submitted.job_id)).status is JobStatus.SCHEDULED
        npm = int((cache / "npm-runs").read_text().split()[-1])
        await agent.kill()
        assert psutil.pid_exists(npm)
        await agent.start()
        await until(lambda: not psutil.pid_exists(npm), "npm of the dead agent lives")
        (cache / "slow").unlink()
        (job,) = await client.wait([submitted.job_id], timeout_seconds=60)
        assert (job.outcome, job.retry_count) == (Outcome.PASSED, 0)
        assert len(list((cache / "kept").glob("packages-*.note"))) == 2


def runs_of_npm(cache: Path) -> int:
    return len((cache / "npm-runs").read_text().splitlines())
