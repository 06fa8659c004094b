"""What each field of /openapi.json means: the comments of the wire contract, and a few words for what only REST has."""

from __future__ import annotations

from typing import Any

from qgjob_proto.v1.field_comments import FIELD_COMMENTS

# The message whose fields a schema has.
MESSAGES = {
    "AttemptShape": "Attempt",
    "DeviceCountsShape": "DeviceCounts",
    "DeviceListShape": "ListDevicesResponse",
    "DeviceShape": "Device",
    "FindingShape": "Finding",
    "GroupListShape": "ListGroupsResponse",
    "GroupShape": "Group",
    "JobErrorShape": "JobError",
    "JobListShape": "ListJobsResponse",
    "JobShape": "Job",
    "OverflowShape": "Overflow",
    "PendingReasonShape": "PendingReason",
    "QueueShape": "QueueStats",
    "RequirementsBody": "Requirements",
    "RequirementsShape": "Requirements",
    "ResultShape": "TestResult",
    "RetryBody": "RetryJobRequest",
    "SchedulerShape": "SchedulerStats",
    "StatsShape": "Stats",
    "SubmitBody": "SubmitJobRequest",
    "SubmitManyBody": "SubmitJobsRequest",
    "SubmittedListShape": "SubmitJobsResponse",
    "SubmittedShape": "Job",
}
_RENAMED = {"JobErrorShape.class": "JobError.error_class"}
_READY = "Why calls should go elsewhere, for people; empty when they should not."
_PROBE = {
    "status": "Whether calls should be sent here.",
    "timestamp": "When this was answered.",
    "version": "Version of the coordinator.",
    "error": "Why not, in a short word for programs.",
    "message": "Why not, and what to do, for people.",
}
OWN: dict[str, dict[str, str]] = {
    "ErrorShape": {
        "error": "A short word for programs.",
        "message": "What is wrong and what to do, for people. The words may change.",
        "field": "Path of the field that is to blame, such as `jobs[3].test_path`. Unset: none alone.",
    },
    "SubmittedListShape": {"count": "Jobs of this answer.", "jobs": "In the order of the request."},
    "HealthShape": _PROBE,
    "UnhealthyShape": _PROBE,
    "StoreHealthShape": {
        "status": "Whether it answers and takes writes.",
        "message": "What is wrong with it, and what to do. Unset: nothing.",
        "version": "Version of its program. Unset while it is down.",
        "latency_ms": "How long the question took, in milliseconds. Unset while it is down.",
    },
    "DetailedHealthShape": {
        **_PROBE,
        "uptime_seconds": "How long this coordinator has served, in seconds.",
        "reasons": _READY,
        "store": "The store as this coordinator sees it.",
        "queue": "Jobs of all orgs. Unset while the store is away.",
        "scheduler": "Fleet and scheduling. Unset while the store is away.",
        "level": "How bad the worst finding is.",
        "findings": "What the checks of the doctor found.",
    },
    "ReadyShape": {**_PROBE, "reasons": _READY},
    "NotReadyShape": {**_PROBE, "reasons": _READY},
    "LiveShape": {**_PROBE, "status": "The process turns, whatever the store does."},
}


def describe(page: dict[str, Any]) -> None:
    """Gives each field of the page's schemas its description, unless it has one."""
    for schema, content in page["components"]["schemas"].items():
        for name, field in content.get("properties", {}).items():
            said = meaning(schema, name)
            if said:
                field.setdefault("description", said)


def meaning(schema: str, name: str) -> str | None:
    """What a field means."""
    own = OWN.get(schema, {}).get(name)
    wired = _RENAMED.get(f"{schema}.{name}", f"{MESSAGES.get(schema)}.{name}")
    return own or FIELD_COMMENTS.get(wired)
