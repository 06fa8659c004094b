"""Which device a job may have: labels from `agent.toml` and from people, what nothing could ever serve, a matrix.

By command line, gRPC and REST, against two coordinators; the agent is at home at the first.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from qgjob import AsyncClient, ErrorClass, JobSpec, JobStatus, Outcome, PendingCode, Requirements
from tests.fakes import command_line
from tests.fakes.plain_http import NO_TLS
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.integration.stack.specs import reach, simulated

AGENT = """
[[devices]]
udid = "a"
target = "emulator"
device_id = "pixel-a"
platform = "android"
os_version = "14.1"
model = "Pixel 8"
labels = { rack = "1" }

[[devices]]
udid = "b"
target = "emulator"
device_id = "pixel-b"
platform = "android"
os_version = "13"
model = "Pixel 7"
labels = { rack = "2" }

[[devices]]
udid = "c"
target = "device"
device_id = "iphone-c"
platform = "ios"
os_version = "17.4"
labels = { rack = "2" }
"""


@dataclass(frozen=True)
class Lab:
    """The stack, and a command line for it."""

    stack: Stack
    folder: Path

    async def qgjob(self, *arguments: str, code: int = 0, at: int = 0) -> str:
        """What a command printed; it must exit with `code`."""
        settings = {"QGJOB_COORDINATOR": self.stack.address(at), "QGJOB_ORG_ID": "acme"}
        done = await command_line.qgjob(self.folder, *arguments, **settings)
        assert done.code == code, f"{arguments}: {done.out}{done.err}"
        return done.out

    async def json(self, *arguments: str, code: int = 0, at: int = 0) -> Any:
        """The same as JSON."""
        return json.loads(await self.qgjob(*arguments, "-o", "json", code=code, at=at))

    async def label(self, device_id: str, *labels: str, at: int = 0) -> None:
        """Sets, or without any clears, what people say of a device."""
        await self.qgjob("devices", "label", device_id, *(labels or ["--clear"]), at=at)

    async def rest(self) -> httpx2.AsyncClient:
        """A client of the first coordinator's REST API."""
        port = (await self.stack.coordinators[0].says("coordinator_ready"))["port"]
        return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """One agent with two Android emulators on two racks and an iPhone."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "agent.toml").write_text(AGENT, encoding="utf-8")
    settings = {"QGJOB_AGENT_CONFIG": folder / "agent.toml"}
    stack = Stack(folder, agents=[AgentPlan("lab", 0, "emulator", settings=settings)], times=PATIENT)
    try:
        await stack.start()
        yield Lab(stack, folder)
    finally:
        await stack.stop()


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[AsyncClient]:
    """Of the first coordinator; nothing is labelled or held before."""
    async with lab.stack.client(0) as client:
        for device_id in ("pixel-a", "pixel-b", "iphone-c"):
            await client.set_labels(device_id, {})
            await client.resume(device_id=device_id)
        yield client
        await lab.stack.quiet("acme")


COMMON = ("--app-version-id=v1", "--timeout=20s")


async def test_labels_of_the_agents_configuration_restrict(lab: Lab, client: AsyncClient) -> None:
    tests = [f"--test=rack/{n}.js" for n in range(4)]
    jobs = (await lab.json("run", *COMMON, *tests, "--require=rack=2"))["jobs"]
    assert {job["device_id"] for job in jobs} == {"pixel-b"}
    assert jobs[0]["requirements"]["labels"] == {"rack": "2"}


async def test_labels_of_people_restrict_beside_them(lab: Lab, client: AsyncClient) -> None:
    await lab.label("pixel-a", "floor=3", at=1)
    await lab.label("pixel-b", "floor=3", at=0)
    assert (await lab.json("devices", "show", "pixel-a"))["labels"] == {"floor": "3", "rack": "1"}
    jobs = (await lab.json("run", *COMMON, "--test=both.js", "--require=floor=3", "--require=rack=1", at=1))["jobs"]
    assert [job["device_id"] for job in jobs] == ["pixel-a"]


@pytest.mark.parametrize("at", [0, 1])
async def test_a_job_that_waits_for_a_label_runs_when_it_is_set(lab: Lab, client: AsyncClient, at: int) -> None:
    needs = Requirements(labels={"cable": f"new{at}"})
    job = await client.submit(simulated("acme", requirements=needs)[0])
    assert job.pending_reason is not None
    assert job.pending_reason.code is PendingCode.NO_RESOURCE
    await lab.label("pixel-b", f"cable=new{at}", at=at)
    done = await reach(client, job.job_id, "completed")
    assert done.device_id == "pixel-b"


@pytest.mark.parametrize("at", [0, 1])
async def test_a_job_whose_label_is_taken_away_says_so(lab: Lab, client: AsyncClient, at: int) -> None:
    await lab.label("pixel-a", "sim=esim")
    await client.drain(device_id="pixel-a", reason="new battery")
    job = await client.submit(simulated("acme", requirements=Requirements(labels={"sim": "esim"}))[0])
    explained = await client.explain(job.job_id)
    assert explained.job.pending_reason is not None
    assert explained.job.pending_reason.code is PendingCode.DRAINING
    assert explained.summary == (
        "1 of 3 devices could serve it: 1 is draining; 1 is without sim=esim, 1 is not of target emulator"
    )
    await lab.label("pixel-a", at=at)
    async with lab.stack.client(at) as other:
        explained = await other.explain(job.job_id)
        assert explained.job.pending_reason is not None
        assert explained.job.pending_reason.code is PendingCode.NO_RESOURCE
        assert not [device for device in explained.devices if device.feasible]
    await client.resume(device_id="pixel-a")
    assert (await client.get(job.job_id)).status is JobStatus.QUEUED


async def test_a_label_is_known_to_the_submission_after_it(lab: Lab, client: AsyncClient) -> None:
    needs = Requirements(labels={"fresh": "1"})
    await client.submit(simulated("acme", requirements=needs)[0])  # which has the fleet read
    await lab.label("pixel-a", "fresh=1", at=0)
    job = await client.submit(simulated("acme", requirements=needs)[0])
    assert job.pending_reason is None or job.pending_reason.code is not PendingCode.NO_RESOURCE


NOWHERE = Requirements(os_version="99", labels={"rack": "2"})


def code_of(job: dict[str, Any]) -> str:
    return str(job["pending_reason"]["code"])


async def test_what_nothing_could_serve_says_so_at_once_by_grpc(lab: Lab, client: AsyncClient) -> None:
    one = await client.submit(JobSpec("acme", "v1", "never.js", requirements=NOWHERE))
    many = await client.submit_many([JobSpec("acme", "v1", f"never/{n}.js", requirements=NOWHERE) for n in range(2)])
    listed = [job async for job in client.list("acme", status="queued")]
    explained = await client.explain(one.job_id)
    for job in (one, *many, await client.get(one.job_id), *listed, explained.job):
        assert job.pending_reason is not None
        assert job.pending_reason.code is PendingCode.NO_RESOURCE
    assert len(listed) == 3
    assert {device.device_id: device.unmet for device in explained.devices} == {
        "iphone-c": ("target", "os_version"),
        "pixel-a": ("os_version", "labels.rack"),
        "pixel-b": ("os_version",),
    }
    assert explained.summary == (
        "none of 3 devices could ever serve it: 1 is not of os_version 99, 1 is not of target emulator, "
        "1 is not of os_version 99 and without rack=2; nearest is pixel-b: os_version is 13, not 99"
    )


async def test_what_nothing_could_serve_says_so_at_once_by_rest(lab: Lab, client: AsyncClient) -> None:
    async with await lab.rest() as rest:
        common = {"org_id": "acme", "app_version_id": "v1", "requirements": {"platform": "ios"}}
        one = (await rest.post("/api/jobs", json={**common, "test_path": "never.js"})).json()
        many = (await rest.post("/api/jobs", json={"jobs": [{**common, "test_path": "never/2.js"}]})).json()["jobs"]
        read = (await rest.get(f"/api/jobs/{one['job_id']}")).json()
        listed = (await rest.get("/api/jobs", params={"org_id": "acme", "status": "queued"})).json()["jobs"]
    assert [code_of(job) for job in (one, *many, read, *listed)] == ["no_resource"] * 5


async def test_what_nothing_could_serve_says_so_at_once_by_command_line(lab: Lab, client: AsyncClient) -> None:
    submitted = await lab.json("submit", "--app-version-id=v1", "--test=never.js", "--require=device_model=Pixel 9")
    (job,) = submitted["jobs"]
    job_id = job["job_id"]
    explained = await lab.json("explain", job_id)
    listed = (await lab.json("list"))["jobs"]
    waits = [each for each in listed if each["status"] == "queued"]
    assert [code_of(each) for each in (job, await lab.json("status", job_id), *waits, explained)] == ["no_resource"] * 4
    text = await lab.qgjob("explain", job_id)
    assert "none of 3 devices could ever serve it" in text
    assert "model is Pixel 8, not Pixel 9" in text


async def test_it_expires_as_no_resource_and_what_a_device_could_serve_as_queue_timeout(
    lab: Lab, client: AsyncClient
) -> None:
    await client.drain(device_id="iphone-c", reason="screen")
    options = ("--app-version-id=v1", "--test=t.js", "--queue-timeout=1s")
    (never,) = (await lab.json("run", *options, "--require=platform=ios", code=18))["jobs"]
    (drained,) = (await lab.json("run", *options, "--target=device", "--require=platform=ios", code=20))["jobs"]
    assert [(job["status"], job["outcome"]) for job in (never, drained)] == [("failed", "expired")] * 2
    assert [job["error"]["class"] for job in (never, drained)] == ["no_resource", "queue_timeout"]
    assert "no device known to the fleet has target emulator" in never["error"]["message"]
    assert "are draining" in drained["error"]["message"]
    async with await lab.rest() as rest:
        by_rest = (await rest.get(f"/api/jobs/{never['job_id']}")).json()
    assert (by_rest["outcome"], by_rest["error"], by_rest["pending_reason"]) == ("expired", never["error"], None)


async def test_a_job_for_later_has_its_time_in_the_queue_from_then_on(lab: Lab, client: AsyncClient) -> None:
    later = (await client.stats()).timestamp + timedelta(seconds=2)
    never, could = await client.submit_many(
        [
            JobSpec("acme", "v1", "l.js", requirements=needs, not_before=later, queue_timeout_seconds=1)
            for needs in (NOWHERE, Requirements())
        ]
    )
    assert never.pending_reason is not None
    assert never.pending_reason.code is PendingCode.RETRY_WAIT
    never, could = await client.wait([never.job_id, could.job_id], timeout_seconds=20)
    assert (never.outcome, could.outcome) == (Outcome.EXPIRED, Outcome.PASSED)
    assert never.error is not None
    assert never.error.error_class is ErrorClass.NO_RESOURCE
    assert never.completed_at is not None
    assert never.completed_at >= later + timedelta(seconds=1)


async def test_an_explanation_says_when_the_job_expires(lab: Lab, client: AsyncClient) -> None:
    job = await client.submit(JobSpec("acme", "v1", "x.js", requirements=NOWHERE, queue_timeout_seconds=600))
    explained = await client.explain(job.job_id)
    assert job.created_at is not None
    assert explained.expires_at is not None
    assert 599 <= (explained.expires_at - job.created_at).total_seconds() <= 601


async def test_a_matrix_runs_each_test_on_each_of_its_devices(lab: Lab, client: AsyncClient) -> None:
    sets = [{"os_version": "14"}, {"labels": {"rack": "2"}}, {"target": "device", "device_id": "iphone-c"}]
    (lab.folder / "m.json").write_text(json.dumps({"matrix": sets}), encoding="utf-8")
    jobs = (await lab.json("run", *COMMON, "--test=a.js", "--test=b.js", "--matrix=m.json"))["jobs"]
    found = [(job["test_path"], job["device_id"], job["outcome"]) for job in jobs]
    devices = ("pixel-a", "pixel-b", "iphone-c")
    assert found == [(path, device, "passed") for path in ("a.js", "b.js") for device in devices]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--require=platform=beos"],
        ["--require=rack="],
        ["--require=rack=1", "--require=rack=2"],
        ["--matrix=nope.json"],
    ],
)
async def test_wrong_requirements_are_wrong_use(lab: Lab, client: AsyncClient, arguments: list[str]) -> None:
    assert await lab.qgjob("submit", "--app-version-id=v1", "--test=wrong.js", *arguments, code=2) == ""
    assert not [job async for job in client.list("acme") if job.test_path == "wrong.js"]
