"""The HTTP application in this process, over the session's store, without agents and loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.http.api import create_app
from qgjob_coordinator.http.services import Services
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.operating import FleetService
from qgjob_coordinator.service.calls.submission import Defaults
from qgjob_coordinator.service.calls.submitting import Submitter
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.diagnosis import Doctor, Self
from qgjob_coordinator.service.views.kept_builds import KeptBuilds
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.service.views.readiness import Readiness
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry, alone

ORIGIN = "https://ci.example"
TIMES = Times(5_000, 15_000, 60_000, 10_000, 1_800_000, 300_000)
ME = Self("test:1", "1.2.3", "127.0.0.1", False, "redis://store", "blobs", "everysec", 5.0, 15.0, 60.0)


@dataclass(slots=True)
class Switch:
    """Whether the coordinator is stopping."""

    draining: bool = False


def compose(store: Store, switch: Switch, blobs: str) -> Services:
    """The services as the composition root makes them."""
    telemetry, hub = Telemetry(), Hub()
    reader = FleetReader(store)
    sessions = Sessions(store, hub, telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry))

    pending = Pending(store, reader, None, faults=OrgFaults())
    jobs = JobService(store, hub, telemetry, pending, sessions.revoke, log_transitions=False)
    overview = Overview(store, reader, alone(telemetry), faults=OrgFaults())
    readiness = Readiness(store.check, lambda: switch.draining)
    return Services(
        submitter=Submitter(store, hub, telemetry, pending, Defaults(), log_transitions=False),
        jobs=jobs,
        fleet=FleetService(store, reader, sessions, hub),
        reader=reader,
        overview=overview,
        store=store,
        totals=alone(telemetry),
        readiness=readiness,
        doctor=Doctor(
            ME,
            store,
            readiness,
            reader,
            overview,
            sessions,
            telemetry,
            KeptBuilds(store, BlobStore(blobs), faults=OrgFaults()),
            faults=OrgFaults(telemetry),
        ),
        allowed_origins=(ORIGIN,),
    )


@pytest.fixture
def switch() -> Switch:
    return Switch()


@pytest.fixture
def services(store: Store, switch: Switch, tmp_path: Path) -> Services:
    return compose(store, switch, str(tmp_path / "blobs"))


@pytest.fixture
def app(services: Services) -> FastAPI:
    return create_app(services)


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as client:
        yield client
