"""Client library and CLI of qgjob.

    from qgjob import Client, JobSpec

    with Client() as client:
        job = client.submit(JobSpec(org_id="acme", app_version_id="1.4.2", test_path="tests/login.spec.js"))
        [job] = client.wait([job.job_id])
        print(job.outcome)

`AsyncClient` is the same with `await`. The clients are imported at their first use, so that what needs only the models
(the CLI's `--help`, say) does not pay for gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob._artifacts import Artifact, ArtifactOmission, ArtifactPage
from qgjob._builds import Build, BuildPage, PushedBuild
from qgjob._diagnosis import Diagnosis, Finding
from qgjob._enums import (
    FINAL_STATUSES,
    AgentState,
    ArtifactKind,
    DeviceHealth,
    DeviceState,
    ErrorClass,
    FindingLevel,
    JobStatus,
    Outcome,
    PendingCode,
    Priority,
    PushOutcome,
    Target,
    WatchEventKind,
)
from qgjob._errors import (
    ConfigError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InvalidError,
    NotAuthenticatedError,
    NotFoundError,
    ProtocolError,
    QgjobError,
    QuotaError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
    WaitTimeoutError,
)
from qgjob._fleet import (
    Agent,
    AgentPage,
    Device,
    DeviceCounts,
    DevicePage,
    Group,
    GroupPage,
    Health,
    QueueStats,
    Run,
    SchedulerStats,
    Stats,
)
from qgjob._models import (
    Attempt,
    Bond,
    ConsideredDevice,
    Explanation,
    Job,
    JobError,
    JobPage,
    JobRef,
    JobSelection,
    JobSpec,
    LogChunk,
    Overflow,
    PendingReason,
    Requirements,
    TestResult,
    WatchEvent,
)
from qgjob._suites import PushedSuite, Suite, SuitePage

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._sync import Client

__all__ = [
    "FINAL_STATUSES",
    "Agent",
    "AgentPage",
    "AgentState",
    "Artifact",
    "ArtifactKind",
    "ArtifactOmission",
    "ArtifactPage",
    "AsyncClient",
    "Attempt",
    "Bond",
    "Build",
    "BuildPage",
    "Client",
    "ConfigError",
    "ConflictError",
    "ConsideredDevice",
    "DeadlineError",
    "Device",
    "DeviceCounts",
    "DeviceHealth",
    "DevicePage",
    "DeviceState",
    "Diagnosis",
    "ErrorClass",
    "Explanation",
    "Finding",
    "FindingLevel",
    "ForbiddenError",
    "Group",
    "GroupPage",
    "Health",
    "InvalidError",
    "Job",
    "JobError",
    "JobPage",
    "JobRef",
    "JobSelection",
    "JobSpec",
    "JobStatus",
    "LogChunk",
    "NotAuthenticatedError",
    "NotFoundError",
    "Outcome",
    "Overflow",
    "PendingCode",
    "PendingReason",
    "Priority",
    "ProtocolError",
    "PushOutcome",
    "PushedBuild",
    "PushedSuite",
    "QgjobError",
    "QueueStats",
    "QuotaError",
    "Requirements",
    "Run",
    "SchedulerStats",
    "Stats",
    "Suite",
    "SuitePage",
    "Target",
    "TestResult",
    "TooLargeError",
    "UnavailableError",
    "UnsupportedError",
    "WaitTimeoutError",
    "WatchEvent",
    "WatchEventKind",
]

_CLIENTS = {"AsyncClient": "qgjob._client", "Client": "qgjob._sync"}


def __getattr__(name: str) -> Any:
    if name not in _CLIENTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - paid only by who uses a client

    return getattr(import_module(_CLIENTS[name]), name)
