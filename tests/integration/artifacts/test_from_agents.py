"""Evidence from the test to the person: an agent and a coordinator as processes, and whatever goes wrong on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

from qgjob import ArtifactKind, AsyncClient, Job, JobSpec, Outcome
from tests.fakes import command_line
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.store_process import StoreProcess

TEST = """
echo "this is attempt $QGJOB_ATTEMPT"
cd "$QGJOB_OUTPUT_DIR"
mkdir shots
echo png > shots/end.png
cat > junit.xml <<X
<testsuite name="login"><testcase name="opens"/>
<testcase name="logs in"><failure message="no button"/></testcase></testsuite>
X
ln -s /etc/hostname link
[ "$QGJOB_ATTEMPT" = 2 ]
"""


async def verdict(client: AsyncClient, spec: JobSpec) -> Job:
    job = await client.submit(spec)
    async for known in client.follow([job.job_id]):
        job = known
    return job


async def names(client: AsyncClient, job: Job) -> list[tuple[int, str, str]]:
    page = await client.artifacts_page([job.job_id])
    return [(a.attempt, a.name, a.kind.value) for a in page.artifacts]


async def text(client: AsyncClient, job: Job, attempt: int, name: str) -> str:
    return b"".join([piece async for piece in client.fetch_artifact(job.job_id, attempt, name)]).decode()


async def qgjob(folder: Path, target: str, *arguments: str, **environ: str) -> command_line.Done:
    return await command_line.qgjob(folder, *arguments, f"--coordinator={target}", **environ)


async def reported_by_the_command_line(target: str, folder: Path) -> None:
    """A run with all that it can leave: evidence, a JUnit report, and what GitHub shows. Then its report alone."""
    files, first, summary = folder / "files", folder / "first.xml", folder / "summary.md"
    tests = ("--test=login.sh", "--test=cart.sh", "--env=KEY=hunter2-hunter2", "--max-retries=1")
    where = (f"--artifacts={files}", f"--junit={first}", "--ci=github")
    run = ("--org-id=acme", "--run-id=nightly")
    run_tests = ("run", *run, "--app-version-id=v1", *tests, *where, "-o", "json")
    code, out, err = await qgjob(folder, target, *run_tests, GITHUB_STEP_SUMMARY=str(summary))
    assert (code, json.loads(out)["count"]) == (0, 2), err
    assert [line.partition("::")[0] + line[2:9] for line in err.splitlines() if line.startswith("::")] == [
        "warning"
    ] * 2
    assert "2 flaky" in summary.read_text()
    assert "hunter2" not in summary.read_text()
    for job in json.loads(out)["jobs"]:
        kept = sorted(
            each.relative_to(files / job["job_id"]).as_posix() for each in (files / job["job_id"]).rglob("*.*")
        )
        assert kept == [f"{n}/{name}" for n in (1, 2) for name in ("junit.xml", "log.txt", "shots/end.png")]
    cases = [(case.get("name"), [each.tag for each in case]) for case in ET.parse(first).iter("testcase")]  # noqa: S314
    # Its single tests end alike in both attempts, and the verdict is another: that has a line of its own.
    assert sorted(cases) == sorted(
        [("opens", []), ("logs in", ["failure", "rerunFailure"])] * 2
        + [(test, ["flakyFailure"]) for test in ("login.sh", "cart.sh")]
    )
    code, out, err = await qgjob(folder, target, "report", *run, f"--junit={folder / 'second.xml'}", "-o", "json")
    told = json.loads(out)
    assert (code, [test["end"] for test in told["tests"]]) == (0, ["flaky", "flaky"])
    assert sorted((folder / "second.xml").read_text()) == sorted(first.read_text())
    code, out, err = await qgjob(folder, target, "report", "--org-id=acme", "--run-id=none")
    assert (code, out, "org acme has no jobs in run none" in err) == (5, "", True)


async def test_what_a_test_leaves_comes_after_its_verdict_whatever_happens_meanwhile(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store")
    store.start()
    coordinator = CoordinatorProcess(tmp_path / "coordinator", store.url)
    blobs = coordinator.folder / ".qgjob" / "blobs"
    blobs.parent.mkdir(parents=True)
    blobs.write_text("")  # no folder can be there: the blob store is away
    settings = {
        "QGJOB_COORDINATOR": coordinator.target,
        "RUNNER": "command",
        "COMMAND_ARGV": json.dumps(["sh", "-c", TEST]),
        "EVIDENCE_MAX_FILES": 3,
    }
    agent = AgentProcess(tmp_path, **settings)
    try:
        coordinator.start()
        await agent.start()
        async with AsyncClient(coordinator.target) as client:
            job = await verdict(client, JobSpec("acme", "v1", "login.sh", max_retries=1))
            assert job.outcome is Outcome.FLAKY  # nothing of it waited for the blob store
            result = job.attempts[0].result
            assert result is not None
            assert (result.passed, result.failed, result.summary) == (1, 1, "1 of 2 passed; failed: logs in")
            await agent.says("evidence_waits")
            assert await names(client, job) == []
            assert len(list((agent.state_dir / "evidence").iterdir())) == 2

            await agent.kill()
            blobs.unlink()
            await agent.start()
            await agent.says("evidence_sent", times=2)
            each = [("junit.xml", "junit"), ("log.txt", "log"), ("shots/end.png", "screenshot")]
            assert await names(client, job) == [(n, *file) for n in (1, 2) for file in each]
            assert await text(client, job, 1, "log.txt") == "this is attempt 1\n"
            assert await text(client, job, 2, "log.txt") == "this is attempt 2\n"
            omissions = (await client.artifacts_page([job.job_id])).omissions
            assert [(o.attempt, o.files, o.reason) for o in omissions] == [
                (n, 1, "they are links or no plain files, or can't be read") for n in (1, 2)
            ]
            assert list((agent.state_dir / "evidence").iterdir()) == []
            assert {a.kind for a in (await client.artifacts_page([job.job_id], attempt=2)).artifacts} == {
                ArtifactKind.JUNIT, ArtifactKind.LOG, ArtifactKind.SCREENSHOT
            }  # fmt: skip

            with store.client() as raw:  # as after an hour
                raw.delete(*raw.keys("qg:o:*}:lg:*"))
            code, out, err = await qgjob(tmp_path, coordinator.target, "logs", job.job_id)
            assert (code, out, "attempt 2, from its evidence" in err) == (0, "this is attempt 2\n", True)

            # Another life of the coordinator, whose blob store was emptied.
            coordinator.stop()
            shutil.rmtree(blobs)
            coordinator.start()
            await reported_by_the_command_line(coordinator.target, tmp_path)
    finally:
        await agent.kill()
        coordinator.stop()
        store.stop()
