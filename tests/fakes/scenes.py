"""Short ways to bring a store into a state that a test begins with."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.model.jobs import Job, JobSpec
from qgjob_coordinator.store import names
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.claims import Claimed, DeviceClaim
from qgjob_coordinator.store.types.submissions import Submitted, SubmitWord
from tests.fakes.jobs import NOW, spec

AGENT = "agent-1"
TOKEN = "t1"  # noqa: S105 - a lease's, not a person's
DEVICE = "emulator-1"


async def submit(store: Store, *specs: JobSpec, now: int = NOW, own: bool = True) -> list[Submitted]:
    """Submits to the org of the specs; an answer for each."""
    known = await store.jobs.submit(specs[0].org_id, specs, [own] * len(specs), now)
    return [known.get(i, Submitted(SubmitWord.NEW, s.ulid)) for i, s in enumerate(specs)]


async def open_session(store: Store, agent_id: str = AGENT, epoch: int = 1, orgs: Sequence[str] = ("acme",)) -> None:
    """A session that may claim in the orgs."""
    opened = await store.sessions.open(agent_id, f"{agent_id}-life", epoch, {}, "c-1", [], NOW + epoch)
    assert opened.word == "OPENED"
    assert await store.sessions.admit(agent_id, epoch, orgs)


def device_claim(job: JobSpec, *tokens: tuple[str, str], **changes: object) -> DeviceClaim:
    """A batch of the job's group for a warm device: (ulid, token) pairs, the job itself with token "t1" by default."""
    values: dict[str, object] = {
        "agent_id": AGENT,
        "epoch": 1,
        "device_id": DEVICE,
        "gid": names.group_id(job.app_version_id, job.target),
        "serving_seen": None,
        "jobs": list(tokens) or [(job.ulid, "t1")],
    }
    return DeviceClaim(**values | changes)  # type: ignore[arg-type]


async def claim(
    store: Store,
    job: JobSpec,
    *tokens: tuple[str, str],
    now: int = NOW,
    quota: int | None = None,
    cap: int | None = None,
    **changes: object,
) -> Claimed:
    """Claims a batch for one device."""
    return (await store.leases.claim(job.org_id, [device_claim(job, *tokens, **changes)], now, quota, cap))[0]


async def running(store: Store, job: JobSpec | None = None, token: str = TOKEN, **changes: object) -> JobSpec:
    """A job that is submitted, claimed and started."""
    job = job or spec()
    await submit(store, job)
    assert (await claim(store, job, (job.ulid, token), **changes)).grants
    assert await store.leases.start(job.org_id, [(job.ulid, token, NOW)], NOW) == ["APPLIED"]
    return job


async def sweep(store: Store, org_id: str, agent_id: str = AGENT, epoch: int = 1) -> list[str]:
    """Releases what a closed session holds in an org; its jobs' ULIDs."""
    return [row.ulid for row in await store.leases.sweep(org_id, agent_id, epoch, NOW, 0.0)]


async def get(store: Store, job: JobSpec) -> Job:
    """The job as its readers see it."""
    found = (await store.reads.get(job.org_id, [job.ulid]))[0]
    assert found is not None
    return found
