"""What a diagnosis costs when many ask for one, and when the store is slow."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx2
import pytest
from redis import Redis

from qgjob_coordinator.errors import ForbiddenError
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.diagnosis.facts import StoreFacts
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.service.views import diagnosis
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.servers import Answers
from tests.fakes import scenes
from tests.fakes.damage import BAD_SIGNATURES, DAMAGED, queue_named, unusable
from tests.fakes.jobs import overflowing, spec
from tests.fakes.one_org_away import AWAY, OTHER, away


async def test_those_who_ask_at_once_or_soon_after_share_a_run(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = services.store.look

    async def counted(seconds: float) -> Answers[StoreFacts]:
        looks.append(1)
        return await look(seconds)

    monkeypatch.setattr(services.store, "look", counted)
    answers = await asyncio.gather(*(services.doctor.diagnose(LOCAL_ADMIN) for _ in range(50)))
    answers.append(await services.doctor.diagnose(LOCAL_ADMIN))
    assert len(looks) == 1
    assert all(each is answers[0] for each in answers)
    await services.doctor.diagnose(replace(LOCAL_ADMIN, org_id="acme"))
    assert len(looks) == 2, "one who sees less gets an answer of his own"
    with pytest.raises(ForbiddenError):
        await services.doctor.diagnose(Principal("ann", Role.MEMBER, "acme"))
    monkeypatch.setattr(diagnosis, "SHARED_SECONDS", 0.0)
    await services.doctor.diagnose(LOCAL_ADMIN)
    assert len(looks) == 3


async def test_scopes_are_forgotten(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "SCOPES_MOST", 2)
    for n in range(4):
        await services.doctor.diagnose(replace(LOCAL_ADMIN, org_id=f"org-{n}"))
    assert list(services.doctor._runs) == ["org-2", "org-3"]


async def test_a_fleet_that_is_not_read_in_time_is_a_finding(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs() -> list[object]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(services.reader, "agents", hangs)
    monkeypatch.setattr(diagnosis, "FLEET_SECONDS", 0.05)
    async with asyncio.timeout(2):
        found = await services.doctor.diagnose(LOCAL_ADMIN)
    (told,) = [f for f in found.findings if f.check == "store.reads"]
    assert told.found == "the fleet and the queue could not be read within 0.05 s"


async def test_an_org_that_can_not_be_read_keeps_nobody_from_judging_the_fleet(
    services: Services, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the queue nothing is said then: without that org its figures would be wrong."""
    for org_id in (AWAY, OTHER):
        await scenes.submit(services.store, spec(1, org_id))
    await scenes.open_session(services.store)
    monkeypatch.setattr(services.store.reads, "counters", away(services.store.reads.counters))
    found = await services.doctor.diagnose(LOCAL_ADMIN)
    (told,) = [f for f in found.findings if f.check == "store.reads"]
    assert told.found == "the queue could not be read: its slot moves"
    checks = {f.check for f in found.findings}
    assert any(check.startswith("agents.") for check in checks)
    assert not any(check.startswith("queue.") for check in checks)
    scraped = (await http.get("/metrics")).text
    assert 'qgjob_agents{state="online"} 1.0' in scraped
    assert "qgjob_jobs{" not in scraped
    assert "qgjob_oldest_queued_age_seconds" not in scraped


async def _queue_findings(services: Services) -> dict[str, list[str]]:
    """Of which orgs something is found, by check: what nothing could serve, what can't be used, what was not read."""
    found = (await services.doctor.diagnose(LOCAL_ADMIN)).findings
    checks = ("queue.unserved", "orgs.data", "store.reads")
    return {check: [f.subject for f in found if f.check == check] for check in checks}


@pytest.mark.parametrize("signature", BAD_SIGNATURES)
async def test_a_queue_whose_name_is_no_requirements_leaves_the_findings_of_other_orgs(
    services: Services, raw: Redis, signature: str
) -> None:
    for org_id in (DAMAGED, OTHER):
        await scenes.submit(services.store, spec(1, org_id))
        await services.store.mark_active(org_id)
    with queue_named(raw, group_id("v1", Target.EMULATOR), signature, spec(9).ulid):
        found = await _queue_findings(services)
    assert (found["orgs.data"], found["store.reads"]) == ([DAMAGED], [])
    assert found["queue.unserved"] == [OTHER]


async def test_a_damaged_job_that_may_go_to_a_second_target_leaves_the_findings_of_other_orgs(
    services: Services, raw: Redis
) -> None:
    await scenes.submit(services.store, overflowing(1, org_id=DAMAGED))
    await scenes.submit(services.store, spec(1, OTHER))
    for org_id in (DAMAGED, OTHER):
        await services.store.mark_active(org_id)
    with unusable(raw, "lacks a field", {spec(1).ulid}):
        found = await _queue_findings(services)
    assert found == {"queue.unserved": [OTHER], "orgs.data": [DAMAGED], "store.reads": []}
