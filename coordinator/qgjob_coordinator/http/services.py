"""What the HTTP side needs from the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version

from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.operating import FleetService
from qgjob_coordinator.service.calls.submitting import Submitter
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.diagnosis import Doctor
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.readiness import Readiness
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Totals

DISTRIBUTION = "qgjob"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a route may use."""

    submitter: Submitter
    jobs: JobService
    fleet: FleetService
    reader: FleetReader
    overview: Overview
    store: Store
    totals: Totals
    readiness: Readiness
    doctor: Doctor
    faults: OrgFaults = field(default_factory=OrgFaults)
    allowed_origins: tuple[str, ...] = ()
    version: str = field(default_factory=lambda: version(DISTRIBUTION))
