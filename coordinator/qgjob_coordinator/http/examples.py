"""Bodies that /docs sends as they are, by "Try it out"."""

from __future__ import annotations

from fastapi.openapi.models import Example

SUBMIT = {
    "org_id": "qualgent",
    "app_version_id": "xyz123",
    "test_path": "tests/onboarding.spec.js",
    "priority": "high",
    "target": "emulator",
}
"""The one that the README sends with curl."""

SUBMISSIONS: dict[str, Example] = {
    "one": {"summary": "One job", "value": SUBMIT},
    "many": {
        "summary": "Several jobs of a run, all or none",
        "value": {
            "jobs": [
                {**SUBMIT, "test_path": f"tests/{name}.spec.js", "run_id": "nightly-1"} for name in ("login", "cart")
            ]
        },
    },
    "device": {
        "summary": "On one device, for at most 10 minutes in the queue",
        "value": {
            **SUBMIT,
            "target": "device",
            "requirements": {"device_id": "device-1"},
            "queue_timeout_seconds": 600,
        },
    },
}
RETRIES: dict[str, Example] = {
    "current": {"summary": "Whatever the last verdict was", "value": {}},
    "round": {
        "summary": "The verdict of the first round, and no other; may be repeated",
        "value": {"round": 1, "operation_id": "retry-1"},
    },
}
